"""By how much a net is better than simple models."""

from typing import TYPE_CHECKING, Any

from lumbre.base import import_extra
from lumbre.plots._given import see_that_it_is
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    from plotnine import ggplot


def plot_baselines(frame: Any, metric: str = "loss") -> "ggplot":
    """Differences to simple models with their intervals: right of the line the net is better, left of it worse.

    Args:
        frame: with the columns model, value, difference, low and high, as `Baselines.frame()` gives it.
        metric: what was measured.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    see_that_it_is(pd.DataFrame, frame, "a frame of its figures", "fitted.baselines(train, test).plot()")
    table = frame.dropna(subset=["difference"])
    names = table["model"].tolist()
    worse = table["high"] < 0
    table = table.assign(model=pd.Categorical(names, categories=names[::-1]), worse=worse)
    own = frame[frame["difference"].isna()]
    value = f"; the net: {own['value'].iloc[0]:.4g}" if len(own) else ""
    return (
        p9.ggplot(table, p9.aes("difference", "model", colour="worse"))
        + p9.geom_vline(xintercept=0, linetype="dashed", colour=look.rule)
        + p9.geom_segment(p9.aes(x="low", xend="high", yend="model"), size=0.9)
        + p9.geom_point(size=2.6)
        + p9.scale_colour_manual({True: look.valid, False: look.train}, guide=None)
        + p9.labs(x=f"the net is better by ({metric})", y="", subtitle=f"lines: 95 % intervals{value}")
        + look.theme(
            figure_size=(6.0, 1.2 + 0.35 * len(table)),
            panel_grid_major_y=p9.element_blank(),
            panel_grid_minor=p9.element_blank(),
        )
    )
