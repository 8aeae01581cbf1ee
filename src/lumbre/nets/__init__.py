"""Nets for data that is there: a strong default for tables, with what goes with it.

Used by the root modules. Nothing here knows how a run goes on: it names module, loss, optimizer and metrics.
"""

from lumbre.nets._prepared import Prepared
from lumbre.nets._tabular import Tabular, tabular

__all__ = ["Prepared", "Tabular", "tabular"]
__dir__ = __all__.copy  # names for dir() and tab completion
