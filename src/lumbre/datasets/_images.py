"""Images in files: decoded when they are asked for, an item at a time."""

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lumbre.base import DataError, as_path, import_extra
from lumbre.data import as_html, as_text, facts_of, first_pictures

_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".ppm", ".pgm"}
# What a file is, whatever its name says. Not all that pillow knows: for EPS it would start another program. A phone's
# MPO counts as a JPEG there.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF")

_CACHE_BYTES = 1 << 30


def to_float(images: Tensor) -> Tensor:
    """Images of bytes as float32 in [0, 1], same shape."""
    return images.to(torch.float32).div_(255)


class ImageFiles(Dataset[Any]):
    """Images in files, decoded when asked for, with a class or a mask each. A map-style torch dataset.

    An item is (image, target), or the image alone where there are no targets: the image a uint8 tensor of shape
    (3, height, width) put through the transform, the class an int64 tensor of shape (), the mask one of shape
    (height, width), with class numbers from 0 on. Transparency is left out; of files with several pictures (animated,
    pages of a TIFF) the first is taken.

    Args:
        paths: the image files.
        targets: class numbers, an int64 tensor of shape (n,); or as many mask files, whose pixels are class numbers
            from 1 on (grey values, or places in a palette whatever its colours); or None.
        size: images (and masks) become `size` x `size`: the shorter side scaled, the middle of the longer one kept.
            None leaves each its own size, and then only images of one size fit into one batch.
        transform: applied to each image.
        classes: names of the classes, by number.
        cache: keep each image (and mask) in memory as bytes once it is decoded, before the transform; workers share
            them. True does so whatever they take, False never, None where images take at most 1 GiB (masks, too).
            Without `size`, images of another size than the first are decoded each time.
        exif: turn images as their EXIF notes say, as viewers do; masks are never turned.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        targets: Tensor | Sequence[Path] | None,
        *,
        size: int | None,
        transform: Callable[[Any], Any] | None,
        classes: Sequence[str] | None,
        cache: bool | None = None,
        exif: bool = False,
    ) -> None:
        # They are read for as long as a run lasts, and a callback may change the working directory.
        self.paths = tuple(path.absolute() for path in paths)
        if targets is not None and not isinstance(targets, Tensor):
            targets = [path.absolute() for path in targets]
        self.targets = targets
        self.size = size
        self.transform = transform
        self.classes = None if classes is None else tuple(classes)
        self.cache = cache
        self.exif = exif
        self._kept: dict[str, _Kept | None] = {}
        if size is not None:  # else the first file has to be read to know how much room they take
            self._make_room("RGB")
            self._make_room("mask")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Any:
        row = range(len(self.paths))[row]
        image: Any = self.pictures([row])[0]
        if self.transform is not None:
            image = self.transform(image)
        if self.targets is None:
            return image
        target = self.targets[row]
        if isinstance(target, Path):
            # The file numbers the classes from 1.
            target = torch.from_numpy(self._decoded(row, target, "mask").astype(np.int64) - 1)
        return image, target

    def pictures(self, rows: Sequence[int]) -> list[Tensor]:
        """The images of some rows before the transform, uint8 tensors of shape (3, height, width).

        Raises:
            DataError: one of the files is no image.
            MissingExtraError: pillow is not installed.
        """
        found = [self._decoded(row, self.paths[row], "RGB") for row in rows]
        # NumPy turns them in half the time that torch takes; always a copy, so that what is kept cannot be changed.
        return [torch.from_numpy(np.array(pixels.transpose(2, 0, 1), order="C")) for pixels in found]

    def __repr__(self) -> str:
        return as_text(*self._said())

    def _repr_html_(self) -> str:
        return as_html(*self._said(), first_pictures(self))

    def _said(self) -> tuple[str, list[tuple[str, str]]]:
        size = "of their own size" if self.size is None else f"{self.size} x {self.size}"
        masks = [] if self.targets is None or isinstance(self.targets, Tensor) else [("target", "a mask for each")]
        facts = [fact for fact in facts_of(self) if not masks or fact[0] != "target"]
        return f"ImageFiles of {len(self):,} images", [("size", size), *masks, *facts]

    def _decoded(self, row: int, path: Path, mode: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        if mode not in self._kept:
            self._make_room(mode)
        kept = self._kept[mode]
        if kept is None:
            return decoded(path, mode, self.size, exif=self.exif and mode == "RGB")
        if kept.done[row]:
            return kept.images[row]
        image = decoded(path, mode, self.size, exif=self.exif and mode == "RGB")
        if image.shape == kept.images.shape[1:]:
            kept.images[row] = image
            kept.done[row] = 1
        return image

    def _make_room(self, mode: str) -> None:
        self._kept[mode] = None
        masks = () if self.targets is None or isinstance(self.targets, Tensor) else self.targets
        files = self.paths if mode == "RGB" else masks
        if self.cache is False or not files:
            return
        turned = self.exif and mode == "RGB"
        shape = (self.size, self.size) if self.size else decoded(files[0], mode, None, exif=turned).shape[:2]
        shape = (len(files), *shape, 3) if mode == "RGB" else (len(files), *shape)
        if self.cache or math.prod(shape) <= _CACHE_BYTES:
            self._kept[mode] = _Kept(_shared(shape), _shared((len(files),)))

    def __getstate__(self) -> dict[str, Any]:
        # Shared memory is inherited by a forked process; one that is started afresh makes its own.
        return {**self.__dict__, "_kept": {}}


@dataclass(frozen=True, slots=True)
class _Kept:
    """Images in memory that forked processes share. Two that decode the same one write the same bytes.

    Attributes:
        images: uint8 of shape (n, height, width, 3) or (n, height, width).
        done: uint8 of shape (n,), 1 where an image is there.
    """

    images: "np.ndarray[Any, np.dtype[np.uint8]]"
    done: "np.ndarray[Any, np.dtype[np.uint8]]"


def _shared(shape: tuple[int, ...]) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """Zeros that take memory page by page as they are written, and that no limit of /dev/shm concerns."""
    return np.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=np.uint8).reshape(shape)


def decoded(
    source: Path | bytes, mode: str, size: int | None, *, exif: bool = False
) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """An image as bytes: (height, width, 3) in mode "RGB", (height, width) in modes "L" and "mask".

    Grey values of 9 to 16 bits are scaled to 8 bits, floats from [0, 1] to them; in mode "mask" numbers stay.

    Args:
        source: the file, or its bytes.
        mode: "RGB", "L" or "mask".
        size: make it so high and wide.
        exif: turn it as its EXIF notes say.

    Raises:
        DataError: it is no image, a damaged one, or has values that bytes cannot hold.
    """
    image_module: Any = import_extra("PIL.Image", "data", "read images")
    try:
        # A file that is open: given a path, Pillow 13 maps plain TIFFs into memory, and mixes up rows to be turned.
        file = BytesIO(source) if isinstance(source, bytes) else source.open("rb")
        # The values of PPM are scaled when they are read, so that those of a mask are no class numbers any more.
        formats = _FORMATS if mode == "mask" else (*_FORMATS, "PPM")
        with file, image_module.open(file, formats=formats) as image:
            if size is not None and mode == "RGB":
                # A JPEG can be decoded at half, a quarter or an eighth of its size, which is much faster.
                image.draft(mode, (size, size))
            if exif:
                import_extra("PIL.ImageOps", "data", "read images").exif_transpose(image, in_place=True)
            plain = image if image.mode[:1] not in "IF" else _eight_bits(image, mode)
            if mode == "mask":
                converted = _numbered(plain)
            else:
                converted = plain if plain.mode == mode else plain.convert(mode)
            return np.array(converted if size is None else _squared(converted, size), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, image_module.DecompressionBombError) as error:
        name = "an image in an archive" if isinstance(source, bytes) else str(source)
        raise DataError(
            f"{name}, which cannot be read: {error}", "a whole image file", "fetch or export it again, or remove it"
        ) from error


def _eight_bits(image: Any, mode: str) -> Any:
    """An image of one channel of 16 bits or more as one of 8, scaled by its depth: Pillow would cut the values off."""
    values = np.asarray(image)
    # These have 16 bits at most, though they may come as more; Pillow scales those of PPM to that.
    deep = values.dtype.kind == "u" or image.format in ("PNG", "PPM")
    if values.dtype.kind == "f":
        wrong = mode == "mask" or not (values >= 0).all() or not (values <= 1).all()  # NaN is neither
        scaled, expected = values.astype(np.float64) * 255, "from 0 to 1, in a picture"
    elif mode == "mask":
        wrong = values.min() < 0 or values.max() > 255
        scaled, expected = values, "up to 255, in a mask or a picture of bytes"
    else:
        wrong = not deep or values.min() < 0 or values.max() > 65535
        scaled, expected = _of_depth(image, values), "of 8 or 16 bits without a sign"
    if wrong:
        raise ValueError(
            f"its values are of mode {image.mode!r}, from {values.min():g} to {values.max():g}, not {expected}"
        )
    return import_extra("PIL.Image", "data", "read images").fromarray(np.rint(scaled).astype(np.uint8))


def _numbered(mask: Any) -> Any:
    """The class numbers of a mask: places in a palette, bits or grey values; colours are none."""
    values = np.asarray(mask)
    if mask.mode in ("LA", "RGB", "RGBA"):
        colours = values[..., : 1 if mask.mode == "LA" else 3]
        if (colours != colours[..., :1]).any():
            raise ValueError("it has colours and no palette, so that its pixels are no class numbers")
        values = colours[..., 0]
    elif mask.mode not in ("1", "L", "P"):
        raise ValueError(f"it is of mode {mask.mode!r}, not a mask of grey values or with a palette")
    return import_extra("PIL.Image", "data", "read images").fromarray(values.astype(np.uint8, order="C"))


_BITS, _MEANING, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF, and what the second may say


def _of_depth(image: Any, values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Grey values as numbers up to 255, by depth and meaning that a TIFF says they have; Pillow heeds neither."""
    tags: Any = getattr(image, "tag_v2", {})
    bits = tags.get(_BITS, (16,))[0]
    scaled = values * (255 / (2 ** (bits if 8 < bits < 16 else 16) - 1))
    return 255 - scaled if tags.get(_MEANING) == _WHITE_IS_ZERO else scaled


def _squared(image: Any, size: int) -> Any:
    """Scaled and cut to `size` x `size`; a mask, of mode "L", takes nearest neighbours, for its values are classes."""
    ops: Any = import_extra("PIL.ImageOps", "data", "read images")
    resampling: Any = import_extra("PIL.Image", "data", "read images").Resampling
    return ops.fit(image, (size, size), method=resampling.NEAREST if image.mode == "L" else resampling.BILINEAR)


def image_folder(
    root: str | Path,
    *,
    size: int | None = None,
    transform: Callable[[Any], Any] | None = to_float,
    cache: bool | None = None,
    exif: bool = True,
) -> ImageFiles:
    """A folder of images with a folder for each class.

    Classes are numbered from 0 in the sorted order of their folders' names, images sorted by path. Files that are no
    images (jpg, jpeg, jfif, png, tif, tiff, bmp, webp, gif, ppm, pgm) are left aside, and so is what is hidden: its
    name, or that of a folder it is in, begins with a dot. Pictures of 16 bits, and floats from 0 to 1, are scaled to
    bytes; transparency is left out, and of files with several pictures the first is taken.

    Args:
        root: the folder that holds the classes' folders.
        size: make every image `size` x `size`: the shorter side scaled, the middle of the longer one kept. None
            leaves them as they are, and then a batch needs images of one size.
        transform: applied to each image, a uint8 tensor of shape (3, height, width); `to_float` makes float32 in
            [0, 1] of it. None leaves bytes.
        cache: keep decoded images in memory, as bytes, before the transform: True, False, or None where they take at
            most 1 GiB. A file that changes after it was read is then not read again.
        exif: turn pictures as their EXIF notes say, as viewers show them; False takes them as they are stored.

    Returns:
        A map-style dataset of (image, class), class an int64 tensor of shape (); its `classes` are the folders' names.

    Raises:
        DataError: there is no such folder, it holds no folders, or one of them holds no image.

    Example:
        `lb.datasets.image_folder("photos/train", size=224)` reads photos/train/cat/*.jpg, photos/train/dog/*.jpg, ...
    """
    where = as_path(root, "the folder that holds a folder for each class").expanduser()
    folders = sorted(path for path in where.iterdir() if _shown(path) and path.is_dir()) if where.is_dir() else []
    images = [
        sorted(path for path in folder.rglob("*") if is_image(path) and all(map(_shown, _inner(path, folder))))
        for folder in folders
    ]
    empty = [folder.name for folder, inside in zip(folders, images, strict=True) if not inside]
    if not folders or empty:
        raise DataError(
            f"{where}, where " + (f"{', '.join(empty)} hold no image" if empty else "there are no folders"),
            "a folder with a folder of images for each class",
            "root=... to the folder that holds the classes' folders",
        )
    targets = torch.repeat_interleave(torch.arange(len(folders)), torch.tensor([len(inside) for inside in images]))
    paths = [path for inside in images for path in inside]
    classes = [folder.name for folder in folders]
    return ImageFiles(paths, targets, size=size, transform=transform, classes=classes, cache=cache, exif=exif)


def _inner(path: Path, folder: Path) -> Sequence[Path]:
    """The folders between `folder` and the file."""
    return list(path.relative_to(folder).parents)[:-1]


def is_image(path: Path) -> bool:
    """Whether `path` has the name of an image and is not hidden."""
    return path.suffix.lower() in _SUFFIXES and _shown(path)


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")
