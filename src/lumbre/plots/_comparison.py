"""Truth and prediction as a frame, whether a fitted model and data are given or the frame itself."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor, nn

from lumbre.base import DataError, Nested, OptionError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_PREFIX = "probability_"


class Examples(Protocol):
    """Some rows of data: what the module gets, and truth beside prediction."""

    @property
    def input(self) -> Nested: ...

    @property
    def frame(self) -> "pd.DataFrame": ...


class FittedModel(Protocol):
    """What the plots ask of a trained model: a `lumbre.Fitted`, or anything that answers alike."""

    @property
    def model(self) -> nn.Module: ...

    def predict(self, data: Any, *, batch_size: int | None = None) -> Nested: ...

    def predict_response(self, data: Any, *, batch_size: int | None = None) -> Nested: ...

    def predict_probabilities(self, data: Any, *, batch_size: int | None = None) -> Tensor: ...

    def compare(self, data: Any) -> "pd.DataFrame": ...

    def examples(self, data: Any, n: int = 16, *, choose: str = "random") -> Examples: ...


def comparison(fitted: Any, data: Any, columns: Sequence[str]) -> "pd.DataFrame":
    """`fitted.compare(data)`; or `fitted` itself where it is a frame, with the columns it must have.

    Raises:
        OptionError: a model without data, data beside a frame, or something else.
        DataError: a column is missing, or no row is left after those without truth.
    """
    if hasattr(fitted, "compare") and hasattr(fitted, "predict"):
        if data is None:
            raise OptionError("a fitted model without data", "data with targets", "pass the data as second argument")
        frame = fitted.compare(data)
    else:
        frame = _pandas(fitted)
        if data is not None:
            raise OptionError(
                "a frame of truth and prediction, and data beside it",
                "the frame alone, or a fitted model and data",
                "leave the data out",
            )
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"truth and prediction with the columns {', '.join(map(str, frame.columns))}",
            f"the columns {', '.join(columns)}; missing: {', '.join(missing)}",
            f"{did_you_mean(missing[0], map(str, frame.columns))}Rename them, or pass a fitted model and data",
        )
    frame = frame.dropna(subset=list(columns))
    weights = row_weights(frame)
    frame = frame if weights is None else frame.iloc[np.flatnonzero(weights > 0)]
    if frame.empty:
        raise DataError("truth and prediction without rows", "at least one row", "pass some data")
    return frame


def row_weights(frame: "pd.DataFrame") -> "np.ndarray[Any, np.dtype[np.float64]] | None":
    """The weights of rows, which `Fitted.compare()` has in a column weight where there are any."""
    if "weight" not in frame or getattr(frame["weight"].dtype, "kind", "O") not in "iuf":
        return None
    return frame["weight"].to_numpy(dtype=np.float64)


def _pandas(frame: Any) -> "pd.DataFrame":
    import narwhals as nw

    if not nw.dependencies.is_into_dataframe(frame):
        raise OptionError(
            f"a {type(frame).__name__}",
            "a fitted model and data, or a frame of truth and prediction",
            "plots.confusion(fitted, test), for example",
        )
    return nw.from_native(frame, eager_only=True).to_pandas()


def class_names(*columns: Any) -> list[Any]:
    """The classes in order: the categories of the first categorical column, else all values, sorted."""
    for column in columns:
        if hasattr(column, "cat"):
            return list(column.cat.categories)
    values = {value for column in columns for value in column.unique()}
    try:
        return sorted(values)
    except TypeError:
        return sorted(values, key=str)


def truth_and_probabilities(
    fitted: Any, data: Any
) -> tuple[list[str], "np.ndarray[Any, Any]", "np.ndarray[Any, Any]", "np.ndarray[Any, Any] | None"]:
    """Names of the classes, each row's true class by number, the probabilities (rows, classes), and weights or None.

    Raises:
        DataError: there are no probabilities, or a true class has none.
    """
    import pandas as pd

    frame = comparison(fitted, data, ["truth"])
    names = [str(name).removeprefix(_PREFIX) for name in frame.columns if str(name).startswith(_PREFIX)]
    if len(names) < 2:
        raise DataError(
            f"truth and prediction with the columns {', '.join(map(str, frame.columns))}",
            f"a column {_PREFIX}<class> for each of two classes or more",
            "fitted.compare(data) of a classifier gives them",
        )
    truth = pd.Index(names).get_indexer(pd.Index(frame["truth"].astype(str)))
    if (truth < 0).any():
        stranger = frame["truth"].iloc[int(np.argmax(truth < 0))]
        raise DataError(
            f"the true class {stranger!r}", f"one of {', '.join(names)}", f"add a column {_PREFIX}{stranger}"
        )
    return names, truth, frame[[_PREFIX + name for name in names]].to_numpy(dtype=float), row_weights(frame)
