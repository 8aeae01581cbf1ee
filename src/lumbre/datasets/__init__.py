"""Named data sets: shipped, or downloaded, verified and cached."""

from lumbre.datasets._mnist import mnist as mnist
from lumbre.datasets._penguins import penguins as penguins

__all__ = ["mnist", "penguins"]
