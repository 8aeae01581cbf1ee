"""Nets for data that is there: a strong default for tables, and pretrained ones for images, with what goes with them.

Used by the root modules. Nothing here knows how a run goes on: it names module, loss, optimizer and metrics.
"""

from lumbre.nets._prepared import Prepared
from lumbre.nets._tabular import Tabular, tabular
from lumbre.nets._vision import Vision, vision

__all__ = ["Prepared", "Tabular", "Vision", "tabular", "vision"]
__dir__ = __all__.copy  # names for dir() and tab completion
