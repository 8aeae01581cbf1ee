"""Numbers predicted, beside the true ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lumbre.base import DataError, import_extra
from lumbre.plots._comparison import comparison, row_weights
from lumbre.plots._text import literal
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_MOST_POINTS = 5_000
_BINS = 60


def predicted_vs_true(fitted: Any, data: Any = None) -> "ggplot":
    """Predicted against true numbers: on the dashed line where they are equal.

    Up to 5,000 rows are points; more are counted in 60 x 60 cells, shaded by a logarithmic scale. The subtitle gives
    R2 (1 - sum of squared residuals / sum of squares around the mean) and the root mean squared error, by the weights
    of the rows where they have any. A model with several outputs gets a panel for each. After
    `Fitted.conformal()` each point has its interval, orange where the truth lies outside; with many rows
    the intervals are left out.

    Args:
        fitted: a `Fitted`; or a frame with the columns truth and predicted, and perhaps output, lower and upper.
        data: with targets, whatever `Fitted.evaluate()` takes; nothing beside a frame.

    Returns:
        A plotnine `ggplot`. Its data has the columns truth and predicted, and output where there are several; with
        cells also rows, width and height. The axes bear the name of the target, panels those of several.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: truth or prediction are no finite numbers.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> frame = pd.DataFrame({"truth": [1.0, 2.0, 3.0], "predicted": [1.0, 2.5, 2.5]})
        >>> lb.plots.predicted_vs_true(frame).labels.subtitle
        'R² 0.750, RMSE 0.408, 3 rows'
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    frame = _numbers(fitted, data)
    table = frame if len(frame) <= _MOST_POINTS else _cells(frame, "truth", "predicted")
    chart = (
        _marks(p9, look, table, "truth", "predicted", _ranges(p9, look, table))
        + p9.geom_abline(slope=1, intercept=0, linetype="dashed", colour=look.valid)
        + p9.labs(x=f"{_target(frame)}: true", y=f"{_target(frame)}: predicted", subtitle=_quality(frame))
    )
    if "output" in frame:
        return chart + _panels(p9, frame)
    seen = [name for name in ("truth", "predicted", "lower", "upper") if name in table]
    low, high = float(frame[seen].min().min()), float(frame[seen].max().max())
    return chart + p9.coord_equal(xlim=(low, high), ylim=(low, high)) + p9.theme(figure_size=(5.6, 4.8))


def residuals(fitted: Any, data: Any = None) -> "ggplot":
    """Residuals (truth minus prediction) against predictions: without a pattern where the model has found all of it.

    The line is the mean residual of neighbouring predictions: of twenty parts of the rows, or fewer, of 30 rows at
    least. Up to 5,000 rows are points, more are counted in cells. A model with several outputs gets a panel for each.

    Args:
        fitted: a `Fitted`; or a frame with the columns truth and predicted, and perhaps output.
        data: with targets, whatever `Fitted.evaluate()` takes; nothing beside a frame.

    Returns:
        A plotnine `ggplot`. Its data has the columns predicted and residual, and output where there are several; with
        cells also rows, width and height.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: truth or prediction are no finite numbers.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> frame = pd.DataFrame({"truth": [1.0, 2.0, 3.0], "predicted": [1.0, 2.5, 2.5]})
        >>> lb.plots.residuals(frame).data["residual"].tolist()
        [0.0, -0.5, 0.5]
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    frame = _numbers(fitted, data)
    frame = frame.assign(residual=frame["truth"] - frame["predicted"])
    table = frame if len(frame) <= _MOST_POINTS else _cells(frame, "predicted", "residual")
    mean, variance = _moments(frame["residual"], frame)
    trend = _trend(frame)
    chart = (
        _marks(p9, look, table, "predicted", "residual")
        + p9.geom_hline(yintercept=0, linetype="dashed", colour=look.rule)
        + (p9.geom_line(data=trend, colour=look.valid, size=1) if len(trend) else [])
        + p9.labs(
            x=f"{_target(frame)}: predicted",
            y="residual (true - predicted)",
            subtitle=_outputs(frame) or f"mean {mean:.3g}, standard deviation {variance**0.5:.3g}, {len(frame):,} rows",
        )
        + p9.theme(figure_size=(6, 4))
    )
    return chart + _panels(p9, frame) if "output" in frame else chart


def _numbers(fitted: Any, data: Any) -> Any:
    frame = comparison(fitted, data, ["truth", "predicted"])
    for name in ("truth", "predicted"):
        kind = frame[name].dtype
        if getattr(kind, "kind", "O") not in "iuf":
            raise DataError(
                f"a column {name} of type {kind}",
                "numbers in truth and predicted",
                "plots.confusion() for classes",
            )
        if not np.isfinite(frame[name]).all():
            raise DataError(
                f"a column {name} with values that are not finite",
                "finite numbers in truth and predicted",
                f"frame[numpy.isfinite(frame[{name!r}])] leaves them out; a model that gives them has diverged",
            )
    wanted = ("output", "truth", "predicted", "lower", "upper", "weight")
    return frame[[name for name in wanted if name in frame]]


def _cells(frame: Any, x: str, y: str) -> Any:
    """How many rows lie in each cell of the plane, with the middle and the size of the cell; empty ones left out."""
    import pandas as pd

    def counted(part: Any) -> Any:
        counts, across, up = np.histogram2d(part[x], part[y], bins=_BINS)
        column, row = np.nonzero(counts)
        return pd.DataFrame(
            {
                x: (across[column] + across[column + 1]) / 2,
                y: (up[row] + up[row + 1]) / 2,
                "rows": counts[column, row].astype(int),
                "width": np.diff(across)[column],
                "height": np.diff(up)[row],
            }
        )

    if "output" not in frame:
        return counted(frame)
    parts = [counted(part).assign(output=number) for number, part in frame.groupby("output")]
    return pd.concat(parts, ignore_index=True)


def _ranges(p9: Any, look: Look, table: Any) -> list[Any]:
    """The interval of each row: orange where the truth is outside."""
    if not {"lower", "upper"} <= set(table):
        return []
    inside = (table["lower"] <= table["truth"]) & (table["truth"] <= table["upper"])
    around = p9.aes(ymin="lower", ymax="upper")
    return [
        p9.geom_linerange(around, data=table[inside], colour=look.context, alpha=0.45, size=0.5),
        p9.geom_linerange(around, data=table[~inside], colour=look.valid, alpha=0.9, size=0.6),
    ]


def _marks(p9: Any, look: Look, table: Any, x: str, y: str, below: Sequence[Any] = ()) -> Any:
    chart = p9.ggplot(table, p9.aes(x, y)) + look.theme()
    for layer in below:
        chart += layer
    if "rows" not in table:
        alpha = 0.6 if len(table) <= 1_000 else 0.3
        return chart + p9.geom_point(colour=look.train, alpha=alpha, size=1.6, stroke=0)
    return (
        chart
        + p9.geom_tile(p9.aes(alpha="rows", width="width", height="height"), fill=look.deep)
        + p9.scale_alpha_continuous(
            range=(0.2, 1), trans="log10", labels=lambda counts: [f"{count:,.0f}" for count in counts]
        )
        + p9.labs(alpha="rows")
    )


def _trend(frame: Any) -> Any:
    """Mean prediction and mean residual of rows with neighbouring predictions; no lines where rows are too few."""
    import pandas as pd

    def means(part: Any) -> Any:
        parts = min(20, len(part) // 30)
        if parts < 2:
            return part[["predicted", "residual"]].head(0)
        rank = part["predicted"].rank(method="first", pct=True)
        return part.groupby(np.ceil(rank * parts))[["predicted", "residual"]].mean()

    if "output" not in frame:
        return means(frame).reset_index(drop=True)
    parts = [means(part).assign(output=number) for number, part in frame.groupby("output")]
    return pd.concat(parts, ignore_index=True)


def _panels(p9: Any, frame: Any) -> list[Any]:
    count = frame["output"].nunique()
    across = 2 if count == 4 else min(count, 3)
    names = frame.attrs.get("targets", [])
    named = {str(number): literal(name) for number, name in enumerate(names)}
    return [
        p9.facet_wrap(
            "output", scales="free", ncol=across, labeller=lambda number: named.get(number, f"output {number}")
        ),
        p9.theme(figure_size=(0.8 + 2.5 * across, 0.8 + 2.3 * -(-count // across))),
    ]


def _target(frame: Any) -> str:
    """What the numbers are, for an axis: the target column of frame data, as `Fitted.compare()` notes it."""
    names = frame.attrs.get("targets", [])
    return literal(names[0]) if len(names) == 1 else "value"


def _outputs(frame: Any) -> str:
    """How many outputs and rows there are; nothing where there is one output."""
    if "output" not in frame:
        return ""
    count = frame["output"].nunique()
    return f"{count} outputs, {len(frame) // count:,} rows"


def _moments(values: Any, frame: Any) -> tuple[float, float]:
    """Mean and variance of a column, by the weights of the rows where they have any."""
    weights = row_weights(frame)
    if weights is None:
        return float(np.mean(values)), float(values.var(ddof=0))
    mean = float(np.average(values, weights=weights))
    return mean, float(np.average((values - mean) ** 2, weights=weights))


def _quality(frame: Any) -> str:
    if "output" in frame:
        return _outputs(frame)
    covered = ""
    if "lower" in frame and "upper" in frame:
        inside = (frame["lower"] <= frame["truth"]) & (frame["truth"] <= frame["upper"])
        covered = f"; intervals cover {_moments(inside, frame)[0]:.1%}"
    error, _ = _moments((frame["truth"] - frame["predicted"]) ** 2, frame)
    _, spread = _moments(frame["truth"], frame)
    quality = f"R² {1 - error / spread:.3f}, " if spread > 0 else ""
    return f"{quality}RMSE {error**0.5:.3g}, {len(frame):,} rows{covered}"
