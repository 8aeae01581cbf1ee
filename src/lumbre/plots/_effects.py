"""What features do to the prediction."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lumbre.base import import_extra
from lumbre.plots._text import literal, literals
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_CURVES = ("partial dependence", "accumulated local effects")


def plot_effects(
    curves: Any,
    individual: Any = None,
    *,
    feature: str = "feature",
    response: str = "prediction",
    shared: bool = True,
) -> "ggplot":
    """The prediction along one feature: on average, and of single rows; of a category at each level.

    Args:
        curves: with the columns kind, value, response and perhaps output, as `Effects.curves`.
        individual: with the columns row, value, response and perhaps output, as `Effects.individual`; or None.
        feature: its name, for the axis.
        response: what is predicted, for the axis.
        shared: whether several outputs have one unit, and so one axis; probabilities have.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    levels = list(dict.fromkeys(curves["value"])) if isinstance(curves["value"].iloc[0], str) else None
    kinds = [kind for kind in _CURVES if kind in set(curves["kind"])]
    table = curves.assign(kind=pd.Categorical(curves["kind"], categories=kinds))
    rows = individual if individual is not None and len(individual) else None
    if levels is not None:
        table = table.assign(value=pd.Categorical(table["value"], categories=levels))
        rows = None if rows is None else rows.assign(value=pd.Categorical(rows["value"], categories=levels))
    chart = p9.ggplot(table, p9.aes("value", "response"))
    if rows is not None:
        chart += p9.geom_line(p9.aes(group="row"), data=rows, colour=look.context, alpha=0.35, size=0.35)
    if levels is None:
        chart += p9.geom_line(p9.aes(colour="kind", linetype="kind"), size=1.2)
    else:
        chart += p9.geom_point(p9.aes(colour="kind"), size=3.5)
        chart += p9.scale_x_discrete(labels=literals)
    single = "" if rows is None else f"; grey: {rows['row'].nunique()} single rows"
    chart = (
        chart
        + p9.scale_colour_manual([look.train, look.valid], name=" ", breaks=kinds)
        + p9.scale_linetype_manual(["solid", "dashed"], name=" ", breaks=kinds)
        + p9.labs(x=literal(feature), y=literal(response), subtitle=f"average over all rows{single}")
        + look.theme(figure_size=(5.6, 4.2), legend_position="bottom" if len(kinds) > 1 else "none")
    )
    return chart + _panels(p9, table, "fixed" if shared else "free_y") if "output" in table else chart


def plot_effect_surface(surface: Any, *, response: str = "prediction", shared: bool = True) -> "ggplot":
    """The prediction over two features, on average over the rows.

    Args:
        surface: with a column for each feature, response and perhaps output, as `Effects.surface`.
        response: what is predicted, for the legend.
        shared: whether several outputs have one unit, and so one scale; else each has its own, from 0 to 1.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    x, y = [name for name in surface.columns if name not in ("output", "response")]
    table = surface.rename(columns={x: "x", y: "y"})
    for name in ("x", "y"):
        if isinstance(table[name].iloc[0], str):
            table[name] = pd.Categorical(table[name], categories=list(dict.fromkeys(table[name])))
    words = literal(response)
    if "output" in table and not shared:
        found = table.groupby("output", sort=False)["response"]
        low, high = found.transform("min"), found.transform("max")
        table["response"] = (table["response"] - low) / (high - low).where(high > low, 1.0)
        words = f"{words}, from the\nlowest (0) to the\nhighest (1)"
    smooth = _is_even(table)
    chart = (
        p9.ggplot(table if smooth else _tiles(table), p9.aes("x", "y", fill="response"))
        + (p9.geom_raster(interpolation="bilinear") if smooth else p9.geom_tile(p9.aes(width="width", height="height")))
        + [
            getattr(p9, f"scale_{name}_continuous")(expand=(0, 0))
            for name in ("x", "y")
            if table[name].dtype.kind in "iuf"
        ]
        + p9.scale_fill_cmap("cividis")
        + p9.labs(x=literal(x), y=literal(y), fill=words, subtitle="partial dependence")
        + look.theme(figure_size=(5.8, 4.2), panel_grid=p9.element_blank())
    )
    return chart + _panels(p9, table, "fixed") if "output" in table else chart


def plot_slopes(
    slopes: Any,
    spreads: Mapping[Any, float],
    *,
    response: str = "prediction",
    lines: str = "90 % of the rows",
    shared: bool = True,
) -> "ggplot":
    """Average slopes, each for one standard deviation of its feature, so that they can be compared.

    Args:
        slopes: with the columns feature, slope, low, high and perhaps output, as `Effects.frame()`.
        spreads: the standard deviation of each feature; differences of categories have none.
        response: what is predicted, for the axis.
        lines: what low and high are, for the subtitle.
        shared: whether several outputs have one unit, and so one axis; probabilities have.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    factor = slopes["feature"].map(lambda name: spreads.get(name, 1.0)).astype(float)
    table = slopes.assign(**{name: slopes[name] * factor for name in ("slope", "low", "high")})
    names = list(dict.fromkeys(map(str, table["feature"])))
    table["feature"] = pd.Categorical(table["feature"].astype(str), categories=names[::-1])
    chart = (
        p9.ggplot(table, p9.aes("slope", "feature"))
        + p9.geom_vline(xintercept=0, linetype="dashed", colour=look.rule)
        + p9.geom_segment(p9.aes(x="low", xend="high", yend="feature"), colour=look.train, size=0.9)
        + p9.geom_point(colour=look.train, size=2.6)
        + p9.scale_y_discrete(labels=literals)
        + p9.scale_x_continuous(breaks=_few)
        + p9.labs(
            x=f"change of the {literal(response)}",
            y="",
            subtitle=f"for one standard deviation more, or another level;\nlines: {lines}",
        )
        + look.theme(
            figure_size=(6.4, 1.6 + 0.3 * len(names)),
            panel_grid_major_y=p9.element_blank(),
            panel_grid_minor=p9.element_blank(),
        )
    )
    if "output" not in table:
        return chart
    count = table["output"].nunique()
    across = min(count, 3)
    size = (2.2 + 2.3 * across, 1.3 + (0.8 + 0.27 * len(names)) * -(-count // across))
    panels = p9.facet_wrap("output", ncol=across, labeller=literal, scales="fixed" if shared else "free_x")
    return chart + panels + p9.theme(figure_size=size)


def _is_even(table: Any) -> bool:
    """Whether both features are numbers whose values lie evenly, so that there is something between them."""
    places = [np.unique(table[name]) for name in ("x", "y") if table[name].dtype.kind in "iuf"]
    return len(places) == 2 and all(len(one) > 2 and np.allclose(np.diff(one, 2), 0) for one in places)


def _tiles(table: Any) -> Any:
    """The places as centres of tiles that touch: between numbers the border lies in the middle; categories take 1."""
    found = table.assign(width=1.0, height=1.0)
    for name, size in (("x", "width"), ("y", "height")):
        if table[name].dtype.kind not in "iuf":
            continue
        places = np.unique(table[name]).astype(float)
        if len(places) < 2:
            continue
        middles = (places[1:] + places[:-1]) / 2
        edges = np.concatenate([[2 * places[0] - middles[0]], middles, [2 * places[-1] - middles[-1]]])
        number = np.searchsorted(places, table[name].astype(float))
        found[name], found[size] = ((edges[:-1] + edges[1:]) / 2)[number], np.diff(edges)[number]
    return found


def _few(limits: Any) -> list[float]:
    """Three ticks: zero, and one on each side where the axis reaches; more would touch those of the next panel."""
    reach = max(abs(limits[0]), abs(limits[1])) or 1.0
    size = 10 ** np.floor(np.log10(reach))
    far = size * next(step for step in (5, 2, 1) if step * size <= reach)
    return [tick for tick in (-far, 0.0, far) if limits[0] <= tick <= limits[1]]


def _panels(p9: Any, table: Any, scales: str) -> list[Any]:
    count = table["output"].nunique()
    across = min(count, 3)
    return [
        p9.facet_wrap("output", ncol=across, labeller=literal, scales=scales),
        p9.theme(figure_size=(1.4 + 2.4 * across, 1.5 + 2.4 * -(-count // across))),
    ]
