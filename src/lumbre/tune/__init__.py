"""Hyper-parameter search on Optuna. As an attribute of the package, `lumbre.tune` is the function.

Used by the root modules. Each trial is a plain `fit()`; nothing here trains in another way.
"""

from lumbre.tune._space import LogRange
from lumbre.tune._tune import tune
from lumbre.tune._tuned import Tuned

__all__ = ["LogRange", "Tuned", "tune"]
