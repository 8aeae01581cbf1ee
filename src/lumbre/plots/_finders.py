"""What a learning-rate finder saw."""

from typing import TYPE_CHECKING

from lumbre.base import import_extra
from lumbre.plots._colours import TRAIN, VALID

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot


def plot_learning_rates(frame: "pd.DataFrame", suggestion: float | None = None) -> "ggplot":
    """Loss by learning rate on a logarithmic scale: each step as a point, the smoothed loss as a line.

    Args:
        frame: columns lr, loss and smoothed, as `LearningRates.frame()` gives them.
        suggestion: a rate to mark.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9 = import_extra("plotnine", "plots", "draw charts")
    chart = (
        p9.ggplot(frame, p9.aes("lr"))
        + p9.geom_point(p9.aes(y="loss"), colour=TRAIN, alpha=0.3, size=1.5)
        + p9.geom_line(p9.aes(y="smoothed"), colour=TRAIN, size=1)
        + p9.scale_x_log10(labels=lambda rates: [f"{rate:g}" for rate in rates])
        + p9.coord_cartesian(ylim=(frame["loss"].min(), min(frame["loss"].max(), 2 * frame["loss"].iloc[0])))
        + p9.labs(x="learning rate", y="loss")
        + p9.theme_minimal()
        + p9.theme(figure_size=(6, 3.5))
    )
    if suggestion is None:
        return chart
    return (
        chart
        + p9.geom_vline(xintercept=suggestion, colour=VALID, linetype="dashed")
        + p9.labs(subtitle=f"suggestion: {suggestion:.2g}")
    )
