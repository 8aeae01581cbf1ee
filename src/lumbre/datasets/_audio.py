"""Sounds in files: read, resampled and cut when they are asked for, an item at a time."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lumbre.base import DataError, as_path, import_extra, only_numbers
from lumbre.data import as_html, as_text, facts_of

_SUFFIXES = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au"}
_SOUND = "a whole WAV, FLAC, OGG, Opus, MP3, AIFF or AU file"


class AudioFiles(Dataset[Any]):
    """Sounds in files, read when asked for, with a class each. A map-style torch dataset.

    An item is (wave, class): the wave a float32 tensor of shape (channels, samples) put through the transform, in
    [-1, 1] where the file holds whole numbers; the class an int64 tensor of shape ().

    Args:
        paths: the files.
        targets: class numbers, an int64 tensor of shape (n,).
        rate: samples a second; sounds of another rate are resampled. None leaves each its own.
        seconds: how long each is: longer ones are cut at the end, shorter ones are followed by silence. None leaves
            them, and then only sounds of one length fit into one batch.
        mono: the mean of the channels; False leaves them.
        transform: applied to each wave.
        classes: names of the classes, by number.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        targets: Tensor,
        *,
        rate: int | None,
        seconds: float | None,
        mono: bool,
        transform: Callable[[Tensor], Any] | None,
        classes: Sequence[str],
    ) -> None:
        # They are read for as long as a run lasts, and a callback may change the working directory.
        self.paths = tuple(path.absolute() for path in paths)
        self.targets = targets
        self.rate = rate
        self.seconds = seconds
        self.mono = mono
        self.transform = transform
        self.classes = tuple(classes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> Any:
        row = range(len(self.paths))[row]
        wave: Any = torch.from_numpy(read_wave(self.paths[row], self.rate, self.seconds, mono=self.mono))
        return wave if self.transform is None else self.transform(wave), self.targets[row]

    def __repr__(self) -> str:
        return as_text(*self._said())

    def _repr_html_(self) -> str:
        return as_html(*self._said())

    def _said(self) -> tuple[str, list[tuple[str, str]]]:
        rate = "their own rate" if self.rate is None else f"{self.rate:,} samples a second"
        length = "their own length" if self.seconds is None else f"{self.seconds:g} s"
        return f"AudioFiles of {len(self):,} sounds", [("sounds", f"{length}, {rate}"), *facts_of(self)]


def read_wave(
    path: Path, rate: int | None, seconds: float | None, *, mono: bool
) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """A sound as float32 of shape (channels, samples). No more of the file is read than is needed.

    Raises:
        DataError: the file is damaged, empty or no sound, or holds numbers that are not finite.
        MissingExtraError: a package is missing.
    """
    soundfile: Any = import_extra("soundfile", "audio", "read sounds")
    try:
        with soundfile.SoundFile(path) as file:
            own = int(file.samplerate)
            wanted = own if rate is None else rate
            length = None if seconds is None else round(seconds * wanted)
            # The filter looks at some samples beyond the end.
            frames = -1 if length is None else math.ceil(length * own / wanted) + 20 * math.ceil(own / wanted) + 20
            wave = file.read(frames, dtype="float32", always_2d=True).T
    except (RuntimeError, OSError) as error:
        raise DataError(f"{path}, which cannot be read: {error}", _SOUND, "export it again, or remove it") from error
    if not wave.shape[1] or not np.isfinite(wave).all():
        what = "holds numbers that are not finite" if wave.shape[1] else "has no samples"
        raise DataError(f"{path}, which {what}", "a sound", "export it again, or remove it")
    if mono:
        wave = wave.mean(axis=0, keepdims=True)
    if own != wanted:
        signal: Any = import_extra("scipy.signal", "audio", "resample sounds")
        shared = math.gcd(own, wanted)
        wave = signal.resample_poly(wave, wanted // shared, own // shared, axis=1).astype(np.float32)
    if length is not None:
        wave = np.pad(wave[:, :length], ((0, 0), (0, max(0, length - wave.shape[1]))))
    return np.array(wave, dtype=np.float32, order="C")


def audio_folder(
    root: str | Path,
    *,
    rate: int | None = 16_000,
    seconds: float | None = None,
    mono: bool = True,
    transform: Callable[[Tensor], Any] | None = None,
) -> AudioFiles:
    """A folder of sounds with a folder for each class.

    Classes are numbered from 0 in the sorted order of their folders' names, sounds sorted by path. Files that are no
    sounds (wav, flac, ogg, oga, opus, mp3, aiff, aif, au) are left aside, and so is what is hidden: its name, or that
    of a folder it is in, begins with a dot.

    Args:
        root: the folder that holds the classes' folders.
        rate: samples a second; sounds of another rate are resampled (`scipy.signal.resample_poly`, which filters what
            the new rate cannot hold). None leaves each its own.
        seconds: make every sound so long: longer ones are cut at the end, shorter ones are followed by silence. None
            leaves them, and then a batch needs sounds of one length.
        mono: take the mean of the channels, so that there is one; False leaves them.
        transform: applied to each wave, a float32 tensor of shape (channels, samples), such as `log_spectrogram`.

    Returns:
        A map-style dataset of (wave, class), class an int64 tensor of shape (); its `classes` are the folders' names.

    Raises:
        DataError: there is no such folder, it holds no folders, or one of them holds no sound.
        OptionError: a rate that is no whole number above 0, or a length that is not positive.

    Example:
        `lb.datasets.audio_folder("birds/train", seconds=2.0)` reads birds/train/owl/*.wav, birds/train/wren/*.flac, ...
    """
    only_numbers("a whole number above 0", 16_000, lambda value: value > 0 and value % 1 == 0, rate=rate)
    only_numbers("a number above 0", 1.0, lambda value: value > 0, seconds=seconds)
    where = as_path(root, "the folder that holds a folder for each class").expanduser()
    folders = sorted(one for one in where.iterdir() if _shown(one) and one.is_dir()) if where.is_dir() else []
    found = [sorted(path for path in folder.rglob("*") if _is_sound(path, folder)) for folder in folders]
    empty = [folder.name for folder, inside in zip(folders, found, strict=True) if not inside]
    if not folders or empty:
        raise DataError(
            f"{where}, where " + (f"{', '.join(empty)} hold no sound" if empty else "there are no folders"),
            "a folder with a folder of sounds (wav, flac, ogg, mp3, ...) for each class",
            "root=... to the folder that holds the classes' folders",
        )
    targets = torch.repeat_interleave(torch.arange(len(folders)), torch.tensor([len(inside) for inside in found]))
    return AudioFiles(
        [path for inside in found for path in inside],
        targets,
        rate=None if rate is None else int(rate),
        seconds=seconds,
        mono=mono,
        transform=transform,
        classes=[folder.name for folder in folders],
    )


def log_spectrogram(wave: Tensor, *, window: int = 400, hop: int = 160) -> Tensor:
    """How loud which pitch is when: the logarithm of the power of short pieces, as a picture.

    Args:
        wave: float of shape (channels, samples).
        window: samples of a piece, under a Hann window.
        hop: samples from one piece to the next.

    Returns:
        Shape (channels, window // 2 + 1, pieces), the lowest pitch first, as `lb.vision`'s augmentations take it.

    Example:
        >>> import torch, lumbre as lb
        >>> lb.datasets.log_spectrogram(torch.randn(1, 16_000)).shape
        torch.Size([1, 201, 101])
    """
    pieces = torch.stft(wave, window, hop, window=torch.hann_window(window), return_complex=True)
    return (pieces.abs().square() + 1e-6).log()


def _is_sound(path: Path, folder: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES and not any(one.startswith(".") for one in path.relative_to(folder).parts)


def _shown(path: Path) -> bool:
    return not path.name.startswith(".")
