"""Named data sets: shipped, drawn, or downloaded, verified and cached.

Used by the root modules. Each gives rows for `fit()`; cutting them into batches is left to `data` and `run`.
"""

from lumbre.datasets._cifar import cifar10 as cifar10
from lumbre.datasets._cifar import cifar100 as cifar100
from lumbre.datasets._correlation import guess_the_correlation as guess_the_correlation
from lumbre.datasets._digits import emnist as emnist
from lumbre.datasets._digits import fashion_mnist as fashion_mnist
from lumbre.datasets._digits import kmnist as kmnist
from lumbre.datasets._digits import mnist as mnist
from lumbre.datasets._digits import qmnist as qmnist
from lumbre.datasets._images import ImageFiles as ImageFiles
from lumbre.datasets._images import image_folder as image_folder
from lumbre.datasets._images import to_float as to_float
from lumbre.datasets._imdb import Vocabulary as Vocabulary
from lumbre.datasets._imdb import imdb as imdb
from lumbre.datasets._penguins import penguins as penguins
from lumbre.datasets._tables import bank_marketing as bank_marketing
from lumbre.datasets._tables import spam as spam
from lumbre.datasets._tiny_imagenet import tiny_imagenet as tiny_imagenet
from lumbre.datasets._trees import bird_species as bird_species
from lumbre.datasets._trees import caltech101 as caltech101
from lumbre.datasets._trees import dogs_vs_cats as dogs_vs_cats
from lumbre.datasets._trees import eurosat as eurosat
from lumbre.datasets._trees import flowers102 as flowers102
from lumbre.datasets._trees import oxford_pets as oxford_pets

__all__ = [
    "ImageFiles",
    "Vocabulary",
    "bank_marketing",
    "bird_species",
    "caltech101",
    "cifar10",
    "cifar100",
    "dogs_vs_cats",
    "emnist",
    "eurosat",
    "fashion_mnist",
    "flowers102",
    "guess_the_correlation",
    "image_folder",
    "imdb",
    "kmnist",
    "mnist",
    "oxford_pets",
    "penguins",
    "qmnist",
    "spam",
    "tiny_imagenet",
    "to_float",
]
__dir__ = __all__.copy  # names for dir() and tab completion
