"""Loss and metrics by epoch."""

from typing import TYPE_CHECKING

from lumbre.base import DataError, import_extra
from lumbre.core import History
from lumbre.plots._colours import TRAIN, VALID
from lumbre.plots._text import literal

if TYPE_CHECKING:
    from plotnine import ggplot

_COLOURS = {"train": TRAIN, "valid": VALID}


def plot_history(history: History) -> "ggplot":
    """Each metric in a panel of its own, training and validation as lines over the epochs; of one epoch as points.

    Args:
        history: the records of a run.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there is nothing to draw.
    """
    p9 = import_extra("plotnine", "plots", "draw charts")
    import pandas as pd

    frame = pd.DataFrame(list(history.scalars()), columns=["set", "metric", "epoch", "value"])
    if frame.empty:
        raise DataError("a history without a number", "at least one epoch", "fit() for an epoch or more first")
    frame["metric"] = pd.Categorical(frame["metric"], categories=list(dict.fromkeys(frame["metric"])))
    # A line wants two points: plotnine warns of one that stands alone.
    joined = frame[frame.duplicated(["metric", "set"], keep=False)]
    epochs = history.epochs
    step = max(1, -(-epochs // 10))
    panels = frame["metric"].nunique()
    return (
        p9.ggplot(frame, p9.aes("epoch", "value", colour="set", shape="set"))
        + (p9.geom_line(p9.aes(group="set"), data=joined) if len(joined) else [])
        + p9.geom_point(size=1.8)
        + p9.facet_wrap("metric", scales="free_y", labeller=literal)
        + p9.scale_colour_manual(values=_COLOURS)
        + p9.scale_x_continuous(breaks=sorted({1, *range(step, epochs + 1, step)}))
        + p9.labs(x="epoch", y="", colour="", shape="")
        + p9.theme_minimal()
        + p9.theme(figure_size=(2 + 3.5 * min(panels, 3), 3.2 * -(-panels // 3)), legend_position="top")
    )
