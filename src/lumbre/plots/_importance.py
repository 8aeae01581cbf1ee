"""How much a model needs each feature."""

import re
from typing import TYPE_CHECKING, Any

from lumbre.base import import_extra
from lumbre.plots._given import see_that_it_is
from lumbre.plots._text import literals
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_MOST_FEATURES = 30
_PATCH = re.compile(r"row (\d+), column (\d+)")


def plot_importance(frame: Any, metric: str = "loss") -> "ggplot":
    """Importances with their intervals, the most important feature on top; steps in their order; patches as a map.

    Args:
        frame: with the columns feature, importance, low and high, as `Importance.frame()` gives it. Of more than 30
            features the most important are drawn, and the subtitle says so.
        metric: what was measured.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> frame = pd.DataFrame({"feature": ["a", "b"], "importance": [2.0, 0.1]})
        >>> frame = frame.assign(low=[1.5, -0.1], high=[2.5, 0.3])
        >>> lb.plots.plot_importance(frame, "loss").labels.x
        'increase of the loss when shuffled'
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    see_that_it_is(pd.DataFrame, frame, "a frame of its figures", "fitted.importance(test).plot()")
    title = "increase of the loss when shuffled" if metric == "loss" else f"{metric}: how much worse when shuffled"
    places = [_PATCH.fullmatch(str(name)) for name in frame["feature"]]
    if all(places):
        numbers = [[int(number) for number in place.groups()] for place in places if place is not None]
        table = frame.assign(row=[row for row, _ in numbers], column=[column for _, column in numbers])
        return _map(p9, look, table, title)
    table = frame.sort_values("importance", ascending=False, kind="stable").head(_MOST_FEATURES)
    names = [str(name) for name in table["feature"]]
    table = table.assign(feature=pd.Categorical(names, categories=names[::-1]))
    return (
        p9.ggplot(table, p9.aes("importance", "feature"))
        + p9.geom_vline(xintercept=0, linetype="dashed", colour=look.rule)
        + p9.geom_segment(p9.aes(x="low", xend="high", yend="feature"), colour=look.train, size=0.9)
        + p9.geom_point(colour=look.train, size=2.6)
        + p9.scale_y_discrete(labels=literals)
        + p9.labs(x=title, y="", subtitle=_note(len(frame)))
        + look.theme(
            figure_size=(6.4, 1.2 + 0.27 * len(table)),
            panel_grid_major_y=p9.element_blank(),
            panel_grid_minor=p9.element_blank(),
        )
    )


def _note(count: int) -> str:
    more = f"the {_MOST_FEATURES} most important of {count} features; " if count > _MOST_FEATURES else ""
    return f"{more}lines: 95 % intervals"


def _map(p9: Any, look: Look, table: Any, title: str) -> Any:
    most = float(table["importance"].abs().max()) or 1.0
    return (
        p9.ggplot(table, p9.aes("column", "row", fill="importance"))
        + p9.geom_tile(colour=look.paper)
        + p9.scale_y_reverse(breaks=_whole)
        + p9.scale_x_continuous(breaks=_whole)
        + p9.scale_fill_gradient2(low=look.valid, mid=look.blank, high=look.train, midpoint=0, limits=(-most, most))
        + p9.coord_equal()
        + p9.labs(x="column of patches", y="row of patches", fill=title.replace(" when", "\nwhen"))
        + look.theme(figure_size=(5.6, 4.2), panel_grid=p9.element_blank())
    )


def _whole(limits: Any) -> list[int]:
    low, high = sorted(limits)
    return list(range(max(1, round(low + 0.5)), int(high + 0.5)))
