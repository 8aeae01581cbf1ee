"""Named data sets: shipped, drawn, or downloaded, verified and cached.

Used by cli and the root modules. Each gives rows for `fit()`; cutting them into batches is left to `data` and `run`.
"""

from lumbre.datasets._audio import AudioFiles, audio_folder, log_spectrogram
from lumbre.datasets._cifar import cifar10, cifar100
from lumbre.datasets._correlation import guess_the_correlation
from lumbre.datasets._digits import emnist, fashion_mnist, kmnist, mnist, qmnist
from lumbre.datasets._fetch import fetch, fetchable, stored
from lumbre.datasets._images import ImageFiles, image_folder, to_float
from lumbre.datasets._imdb import Vocabulary, imdb
from lumbre.datasets._penguins import penguins
from lumbre.datasets._tables import bank_marketing, spam
from lumbre.datasets._tiny_imagenet import tiny_imagenet
from lumbre.datasets._trees import bird_species, caltech101, dogs_vs_cats, eurosat, flowers102, oxford_pets

__all__ = [
    "AudioFiles",
    "ImageFiles",
    "Vocabulary",
    "audio_folder",
    "bank_marketing",
    "bird_species",
    "caltech101",
    "cifar10",
    "cifar100",
    "dogs_vs_cats",
    "emnist",
    "eurosat",
    "fashion_mnist",
    "fetch",
    "flowers102",
    "guess_the_correlation",
    "image_folder",
    "imdb",
    "kmnist",
    "log_spectrogram",
    "mnist",
    "oxford_pets",
    "penguins",
    "qmnist",
    "spam",
    "stored",
    "tiny_imagenet",
    "to_float",
]
__dir__ = __all__.copy  # names for dir() and tab completion
