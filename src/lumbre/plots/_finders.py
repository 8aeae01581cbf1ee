"""What the finders of learning rate and batch size saw."""

from typing import TYPE_CHECKING, Any

from lumbre.base import MissingExtraError, import_extra
from lumbre.plots._theme import current_look

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
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    chart = (
        p9.ggplot(frame, p9.aes("lr"))
        + p9.geom_point(p9.aes(y="loss"), colour=look.train, alpha=0.3, size=1.5)
        + p9.geom_line(p9.aes(y="smoothed"), colour=look.train, size=1)
        + p9.scale_x_log10(labels=lambda rates: [f"{rate:g}" for rate in rates])
        + p9.coord_cartesian(ylim=(frame["loss"].min(), min(frame["loss"].max(), 2 * frame["loss"].iloc[0])))
        + p9.labs(x="learning rate", y="loss")
        + look.theme(figure_size=(6, 3.5))
    )
    if suggestion is None:
        return chart
    return (
        chart
        + p9.geom_vline(xintercept=suggestion, colour=look.valid, linetype="dashed")
        + p9.labs(subtitle=f"suggestion: {suggestion:.2g}")
    )


def plot_batch_sizes(frame: "pd.DataFrame", suggestion: int) -> "ggplot":
    """Rows a second by batch size, both on logarithmic scales.

    Args:
        frame: columns batch_size and rows_per_second, as `BatchSizes.frame()` gives them.
        suggestion: a size to mark.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    # A line needs two points: plotnine warns of one that stands alone.
    line = [p9.geom_line(colour=look.train, size=1)] if len(frame) > 1 else []
    return (
        p9.ggplot(frame, p9.aes("batch_size", "rows_per_second"))
        + p9.geom_vline(xintercept=suggestion, colour=look.valid, linetype="dashed")
        + line
        + p9.geom_point(colour=look.train, size=2)
        + p9.scale_x_log10(breaks=sorted(frame["batch_size"]), labels=lambda sizes: [f"{size:.0f}" for size in sizes])
        + p9.scale_y_log10(labels=lambda speeds: [f"{speed:,.0f}" for speed in speeds])
        + p9.labs(x="batch size", y="rows a second", subtitle=f"suggestion: {suggestion}")
        + look.theme(figure_size=(6, 3.5))
    )


def drawn_or_printed(found: Any) -> dict[str, Any] | tuple[dict[str, Any], dict[str, Any]]:
    """What a notebook shows of something with a `plot()`: the plot, or its text where plotnine is not installed."""
    try:
        drawn, options = found.plot()._repr_mimebundle_()
    except MissingExtraError:
        return {"text/plain": repr(found)}
    return {**drawn, "text/plain": repr(found)}, options
