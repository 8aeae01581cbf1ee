"""Sets of photographs in folders, decoded when an item is asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lumbre.base import DataError, one_of
from lumbre.datasets._download import check_rows, content, damaged, fetched, folder, unpacked
from lumbre.datasets._flowers import FLOWERS
from lumbre.datasets._images import ImageFiles, image_folder, is_image, to_float
from lumbre.datasets._matlab import matrices
from lumbre.datasets._table import TABLE

_Transform = Callable[[Any], Any] | None


def oxford_pets(
    *,
    train: bool = True,
    target: str = "species",
    size: int | None = 224,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> ImageFiles:
    """Oxford-IIIT Pet: photographs of cats and dogs of 37 breeds, with the outline of each animal.

    Source: O. M. Parkhi, A. Vedaldi, A. Zisserman and C. V. Jawahar, "Cats and dogs", CVPR 2012. Licence CC BY-SA 4.0.
    The archives (810 MB together) are verified by their MD5.

    Args:
        train: the 3,680 images for training and validation, or the 3,669 for testing.
        target: "species" (0 cat, 1 dog), "breed" (0 to 36), or "trimap": a class for each pixel, 0 the pet, 1 the
            background, 2 the border between them. The files count all of these from 1.
        size: images and masks become `size` x `size`: the shorter side scaled, the middle of the longer one kept. None
            leaves each its own size, and then a batch holds one image.
        root: the folder that holds (or will hold) the folder `oxford_pets`; where not given, $LUMBRE_DATA, else a
            cache of the user's.
        download: fetch what is not there (needs `pip install "lumbre[data]"`).
        transform: applied to each image, a uint8 tensor of shape (3, height, width); `to_float` makes float32 in
            [0, 1] of it. None leaves bytes.

    Returns:
        A map-style dataset of (image, target): the target an int64 tensor of shape (), or (height, width) for a trimap.

    Raises:
        DataError: there is no such target.
        DownloadError: an archive is not there and cannot be fetched, or is not the right one.
    """
    one_of("target", target, ("species", "breed", "trimap"), error=DataError)
    archives = ("images.tar.gz", "annotations.tar.gz")
    images = unpacked("oxford_pets", archives[0], beside=archives[1:], root=root, download=download) / "images"
    notes = unpacked("oxford_pets", archives[1], root=root, download=download) / "annotations"
    part = "train" if train else "test"
    # Of each line: the image, its breed of 37, its species, and its breed within the species, all from 1.
    rows = [line.split() for line in _lines(notes / ("trainval.txt" if train else "test.txt"))]
    check_rows("oxford_pets", part, len(rows), notes.parent)
    paths = _present(images.parent, [images / f"{row[0]}.jpg" for row in rows])
    if target == "trimap":
        masks = _present(notes.parent, [notes / "trimaps" / f"{row[0]}.png" for row in rows])
        return ImageFiles(paths, masks, size=size, transform=transform, classes=("pet", "background", "border"))
    if target == "species":
        classes, column = ["cat", "dog"], 2
    else:
        names = {int(row[1]): row[0].rpartition("_")[0] for row in rows}
        classes, column = [names.get(number, str(number)) for number in range(1, max(names) + 1)], 1
    targets = torch.tensor([int(row[column]) - 1 for row in rows])
    return ImageFiles(paths, targets, size=size, transform=transform, classes=classes)


def flowers102(
    *,
    split: str = "train",
    size: int | None = 224,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> ImageFiles:
    """Oxford 102 Flowers: photographs of flowers common in Britain, of 102 kinds.

    Source: M.-E. Nilsback and A. Zisserman, "Automated flower classification over a large number of classes", ICVGIP
    2008; no licence is stated. The files (345 MB) are verified by their MD5.

    Args:
        split: "train" (1,020 images, ten of each kind), "val" (1,020) or "test" (6,149).
        size: images become `size` x `size`; see `oxford_pets`.
        root: the folder that holds (or will hold) the folder `flowers102`; see `oxford_pets`.
        download: fetch what is not there.
        transform: applied to each image, a uint8 tensor of shape (3, height, width).

    Returns:
        A map-style dataset of (image, class), class an int64 tensor of shape () from 0 to 101.

    Raises:
        DataError: there is no such split.
        DownloadError: a file is not there and cannot be fetched, or is not the right one.
    """
    sets = {"train": "trnid", "val": "valid", "test": "tstid"}
    one_of("split", split, sets, error=DataError)
    files = ("imagelabels.mat", "setid.mat")
    images = unpacked("flowers102", "102flowers.tgz", beside=files, root=root, download=download) / "jpg"
    tables: list[dict[str, Any]] = []
    for path, name in zip(fetched("flowers102", files, root=root, download=download), files, strict=True):
        try:
            tables.append(matrices(content(path, TABLE["flowers102"].file(name))))
        except ValueError as error:
            raise damaged(path, f"which cannot be read: {error}", "a MATLAB file of labels") from error
    labels, ids = tables[0]["labels"], tables[1][sets[split]]
    check_rows("flowers102", split, len(ids), folder("flowers102", root))
    paths = _present(images.parent, [images / f"image_{int(number):05d}.jpg" for number in ids])
    targets = torch.tensor([int(labels[int(number) - 1]) - 1 for number in ids])
    return ImageFiles(paths, targets, size=size, transform=transform, classes=FLOWERS)


def caltech101(
    *,
    size: int | None = 224,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> ImageFiles:
    """Caltech-101: photographs of things of 101 kinds, 40 to 800 of each. It comes without a split.

    The folder BACKGROUND_Google, which is no kind of thing, is left out.

    Source: L. Fei-Fei, R. Fergus and P. Perona, "Learning generative visual models from few training examples", CVPR
    workshop 2004; data.caltech.edu/records/mzrjq-6wc02. Licence CC BY 4.0. The archive (137 MB) is verified by its MD5.

    Args:
        size: images become `size` x `size`; see `oxford_pets`.
        root: the folder that holds (or will hold) the folder `caltech101`; see `oxford_pets`.
        download: fetch what is not there.
        transform: applied to each image, a uint8 tensor of shape (3, height, width).

    Returns:
        A map-style dataset of 8,677 pairs (image, class), class an int64 tensor of shape () from 0 to 100.

    Raises:
        DownloadError: the archive is not there and cannot be fetched, or is not the right one.
    """
    where = unpacked("caltech101", "caltech-101.zip", root=root, download=download)
    things = where / "caltech-101" / "101_ObjectCategories"
    folders = [path for path in _folders(things) if path.name != "BACKGROUND_Google"]
    check_rows("caltech101", "classes", len(folders), where)
    paths = [path for each in folders for path in sorted(each.iterdir()) if is_image(path)]
    check_rows("caltech101", "all", len(paths), where)
    classes = [path.name for path in folders]
    return _by_class(paths, [path.parent.name for path in paths], classes, size, transform)


def eurosat(
    *,
    split: str = "train",
    size: int | None = None,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> ImageFiles:
    """EuroSAT: colour images of Europe from the satellite Sentinel-2, 64 x 64, of ten kinds of land.

    Source: P. Helber, B. Bischke, A. Dengel and D. Borth, "EuroSAT: a novel dataset and deep learning benchmark for
    land use and land cover classification", IEEE JSTARS 12(7), 2019; split by torchgeo. Licence MIT. The archive
    (95 MB) and the lists of the split are verified by their MD5.

    Args:
        split: "train" (16,200 images), "val" (5,400) or "test" (5,400).
        size: images become `size` x `size`; see `oxford_pets`. None leaves them 64 x 64.
        root: the folder that holds (or will hold) the folder `eurosat`; see `oxford_pets`.
        download: fetch what is not there.
        transform: applied to each image, a uint8 tensor of shape (3, 64, 64).

    Returns:
        A map-style dataset of (image, class), class an int64 tensor of shape () from 0 to 9.

    Raises:
        DataError: there is no such split.
        DownloadError: a file is not there and cannot be fetched, or is not the right one.
    """
    one_of("split", split, ("train", "val", "test"), error=DataError)
    name = f"eurosat-{split}.txt"
    where = unpacked("eurosat", "EuroSAT.zip", beside=[name], root=root, download=download)
    (path,) = fetched("eurosat", [name], root=root, download=download)
    # The lists are of the set with all bands too, whose files end otherwise.
    stems = [Path(line).stem for line in content(path, TABLE["eurosat"].file(name)).decode().split()]
    check_rows("eurosat", split, len(stems), path)
    classes = [each.name for each in _folders(where / "2750")]
    check_rows("eurosat", "classes", len(classes), where)
    labels = [stem.rpartition("_")[0] for stem in stems]
    images = [where / "2750" / label / f"{stem}.jpg" for label, stem in zip(labels, stems, strict=True)]
    return _by_class(_present(where, images), labels, classes, size, transform)


def dogs_vs_cats(
    *,
    train: bool = True,
    size: int | None = 224,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> ImageFiles:
    """Dogs vs. cats: photographs of either.

    Source: J. Elson, J. R. Douceur, J. Howell and J. Saul, "Asirra: a CAPTCHA that exploits interest-aligned manual
    image categorization", CCS 2007, as given out for https://www.kaggle.com/c/dogs-vs-cats, whose rules say what they
    may be used for. No checksum of the archive is published: that it is whole, and the number of images, are verified.

    Args:
        train: the 25,000 images with a class, or the 12,500 without one.
        size: images become `size` x `size`; see `oxford_pets`.
        root: the folder that holds (or will hold) the folder `dogs_vs_cats`; see `oxford_pets`.
        download: fetch what is not there.
        transform: applied to each image, a uint8 tensor of shape (3, height, width).

    Returns:
        A map-style dataset of (image, class), class an int64 tensor of shape (), 0 cat and 1 dog; or of images alone.

    Raises:
        DownloadError: the archive is not there and cannot be fetched, or does not hold what it should.
    """
    where = unpacked("dogs_vs_cats", "dogs-vs-cats.zip", root=root, download=download)
    inside = where / ("train" if train else "test1")
    found = [path for path in inside.iterdir() if is_image(path)] if inside.is_dir() else []
    check_rows("dogs_vs_cats", "train" if train else "test", len(found), where)
    if not train:
        paths = sorted(found, key=lambda path: int(path.stem))
        return ImageFiles(paths, None, size=size, transform=transform, classes=None)
    # cat.0.jpg, cat.1.jpg, ...
    paths = sorted(found, key=lambda path: (path.name.split(".")[0], int(path.stem.rpartition(".")[2])))
    return _by_class(paths, [path.name.split(".")[0] for path in paths], ["cat", "dog"], size, transform)


def bird_species(
    *,
    split: str = "train",
    size: int | None = 224,
    root: str | Path | None = None,
    download: bool = True,
    transform: _Transform = to_float,
) -> ImageFiles:
    """Bird species: photographs of some 450 kinds of birds.

    Source: G. Piosenka, https://www.kaggle.com/datasets/gpiosenka/100-bird-species; licence CC0 as stated there. No
    checksum of the archive is published, nor how many images this version has: that it is whole, and that the parts
    have the same kinds, is verified.

    Args:
        split: "train", "valid" or "test".
        size: images become `size` x `size`; see `oxford_pets`.
        root: the folder that holds (or will hold) the folder `bird_species`; see `oxford_pets`.
        download: fetch what is not there.
        transform: applied to each image, a uint8 tensor of shape (3, height, width).

    Returns:
        A map-style dataset of (image, class), class an int64 tensor of shape () from 0.

    Raises:
        DataError: there is no such split.
        DownloadError: the archive is not there and cannot be fetched, or does not hold what it should.
    """
    parts = ("train", "valid", "test")
    one_of("split", split, parts, error=DataError)
    where = unpacked("bird_species", "bird-species.zip", root=root, download=download)
    kinds = {part: [" ".join(path.name.upper().split()) for path in _folders(where / part)] for part in parts}
    check_rows("bird_species", "classes", len(kinds["train"]), where)
    if not kinds["train"] == kinds["valid"] == kinds["test"]:
        raise damaged(where, "whose parts are of different kinds of birds", "the same folders in each")
    return image_folder(where / split, size=size, transform=transform, exif=False)


def _folders(where: Path) -> list[Path]:
    return sorted(path for path in where.iterdir() if path.is_dir()) if where.is_dir() else []


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise damaged(path.parents[1], f"without {path.parent.name}/{path.name}", "all the files of the archive")
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def _present(where: Path, paths: Sequence[Path]) -> Sequence[Path]:
    """`paths`, if all of them are there: better now than in the middle of an epoch."""
    listed: dict[Path, set[str]] = {}
    for path in paths:
        if path.parent not in listed:
            listed[path.parent] = {each.name for each in path.parent.iterdir()} if path.parent.is_dir() else set()
        if path.name not in listed[path.parent]:
            raise damaged(where, f"without {path.relative_to(where)}", "all the files of the archive")
    return paths


def _by_class(
    paths: Sequence[Path], labels: Sequence[str], classes: Sequence[str], size: int | None, transform: _Transform
) -> ImageFiles:
    numbers = {name: number for number, name in enumerate(classes)}
    strange = sorted(set(labels) - set(numbers))
    if strange:
        raise damaged(paths[0].parent, f"with images of {strange[0]!r}", f"images of {', '.join(classes)}")
    targets = torch.tensor([numbers[label] for label in labels])
    return ImageFiles(paths, targets, size=size, transform=transform, classes=classes)
