"""Recipes as estimators of scikit-learn, which is imported when one of them is first used.

Used by the root modules. It calls the public API: `Recipe.fit`, `Fitted` and its files.
"""

from typing import TYPE_CHECKING, Any

from lumbre.base import import_extra
from lumbre.sklearn._sizes import Size

if TYPE_CHECKING:
    from lumbre.sklearn._estimators import Classifier, Regressor

__all__ = ["Classifier", "Regressor", "Size"]
__dir__ = __all__.copy  # names for dir() and tab completion


def __getattr__(name: str) -> Any:
    if name not in ("Classifier", "Regressor"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import_extra("sklearn", "sklearn", "make estimators of scikit-learn")
    from lumbre.sklearn import _estimators

    return getattr(_estimators, name)
