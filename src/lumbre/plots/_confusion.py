"""Which classes are taken for which."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lumbre.base import DataError, import_extra
from lumbre.plots._comparison import class_names, comparison, row_weights
from lumbre.plots._text import literals
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_MOST_WITH_SHARES = 12
_MOST_WITH_COUNTS = 16
_MOST_NAMES = 30


def confusion(fitted: Any, data: Any = None) -> "ggplot":
    """Confusion matrix: for each true class, how many rows were taken for which class, or their weight together.

    Each cell shows the number of rows and their share of the true class, by which it is shaded; with many classes
    only the number, or the shade. Cells without rows are left empty.

    Args:
        fitted: a `Fitted`; or a frame with the columns truth and predicted, and weight where rows have any.
        data: with targets, whatever `Fitted.evaluate()` takes; nothing beside a frame.

    Returns:
        A plotnine `ggplot`. Its data has the columns truth, predicted, count and share.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there are no classes to compare.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> frame = pd.DataFrame(
        ...     {"truth": ["cat", "cat", "dog"], "predicted": ["cat", "dog", "dog"]}
        ... )
        >>> lb.plots.confusion(frame).data[["count", "share"]].to_numpy().tolist()
        [[1.0, 0.5], [1.0, 0.5], [0.0, 0.0], [1.0, 1.0]]
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    frame = comparison(fitted, data, ["truth", "predicted"])
    if any(
        pd.api.types.is_float_dtype(frame[name]) and (frame[name] % 1 != 0).any() for name in ("truth", "predicted")
    ):
        raise DataError(
            "numbers in truth or predicted that are no whole numbers",
            "classes: their numbers or names",
            "plots.predicted_vs_true() for predicted numbers",
        )
    names = class_names(frame["truth"], frame["predicted"])
    size = len(names)
    index = pd.Index(names)
    truth, predicted = (index.get_indexer(pd.Index(np.asarray(frame[name]))) for name in ("truth", "predicted"))
    weights = row_weights(frame)
    counts = np.bincount(truth * size + predicted, weights, minlength=size * size).reshape(size, size)
    of_class = counts.sum(1, keepdims=True)
    shares = counts / np.where(of_class > 0, of_class, 1)
    texts = [str(name) for name in names]
    table = pd.DataFrame(
        {
            # The first class stands on top, so that the diagonal falls from the upper left as in a printed table.
            "truth": pd.Categorical(np.repeat(texts, size), categories=texts[::-1]),
            "predicted": pd.Categorical(np.tile(texts, size), categories=texts),
            "count": counts.ravel(),
            "share": shares.ravel(),
        }
    )
    rows = f"{len(frame):,} rows" + ("" if weights is None else ", by their weights,")
    right = f"{counts.trace() / (counts.sum() or 1):.1%} of {rows} on the diagonal"
    chart = (
        p9.ggplot(table, p9.aes("predicted", "truth"))
        + p9.geom_tile(p9.aes(alpha="share"), fill=look.deep)
        + p9.geom_tile(fill="none", colour=look.grid, size=0.4)
        + p9.scale_alpha_continuous(range=(0, 1), limits=(0, 1), labels=_percents)
        + p9.coord_equal()
        + p9.labs(x="predicted class", y="true class", alpha="share of the\ntrue class", subtitle=right)
        + look.theme(panel_grid=p9.element_blank())
        + _axes(p9, texts)
    )
    if size > _MOST_WITH_SHARES:
        side = min(1.8 + 0.36 * size, 7.2)
        chart = chart + p9.theme(figure_size=(side + 1.2, side))
    else:
        side = max(4.0, 1.6 + 0.53 * size)
        chart = (
            chart
            + p9.labs(subtitle=f"{right};\nper cent: share of the true class")
            + p9.theme(figure_size=(side + 0.4, side), legend_position="none")
        )
    return chart + _numbers(p9, look, table, size) if size <= _MOST_WITH_COUNTS else chart


def _axes(p9: Any, names: list[str]) -> list[Any]:
    """Names along both axes; of many classes every second one, or third, and so on, in smaller letters."""
    shown = names[:: -(-len(names) // _MOST_NAMES)]
    letters = 9 if len(shown) <= 12 else 7
    longest = max(map(len, names))
    turned: dict[str, Any] = {}
    if longest > (12 if len(names) <= 5 else 3):
        turned = {"rotation": 45, "ha": "right"} if len(shown) <= 12 else {"rotation": 90}
    return [
        p9.scale_x_discrete(limits=names, breaks=shown, labels=literals),
        p9.scale_y_discrete(limits=names[::-1], breaks=shown, labels=literals),
        p9.theme(axis_text_x=p9.element_text(size=letters, **turned), axis_text_y=p9.element_text(size=letters)),
    ]


def _numbers(p9: Any, look: Look, table: Any, size: int) -> list[Any]:
    with_shares = size <= _MOST_WITH_SHARES
    filled = table[table["count"] > 0].assign(
        label=lambda cells: [
            f"{_number(count)}\n{share:.1%}" if with_shares else _number(count)
            for count, share in zip(cells["count"], cells["share"], strict=True)
        ]
    )
    letters = 9 if size <= 6 else 7 if with_shares else 6
    return [
        p9.geom_text(p9.aes(label="label"), data=filled[dark], colour=colour, size=letters, show_legend=False)
        for dark, colour in ((filled["share"] > 0.5, look.paper), (filled["share"] <= 0.5, look.ink))
        if dark.any()
    ]


def _number(count: Any) -> str:
    return f"{count:,}" if isinstance(count, (int, np.integer)) else f"{count:,.4g}"


def _percents(shares: Any) -> list[str]:
    return [f"{share:.0%}" for share in shares]
