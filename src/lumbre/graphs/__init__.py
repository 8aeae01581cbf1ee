"""A training step as one graph."""

from lumbre.graphs._compile import obstacle as obstacle
from lumbre.graphs._compiled import Compiled as Compiled
