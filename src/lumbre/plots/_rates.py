"""Learning rates ahead of a run."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lumbre.base import import_extra
from lumbre.plots._given import see_that_it_is
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    from plotnine import ggplot


def plot_rates(rates: Sequence[float]) -> "ggplot":
    """The learning rate of each batch as a line.

    Args:
        rates: one for each batch.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    see_that_it_is(Sequence, rates, "a list of rates", "recipe.plot_lr(data, epochs=10)")
    return (
        p9.ggplot(pd.DataFrame({"step": range(len(rates)), "lr": rates}), p9.aes("step", "lr"))
        + p9.geom_step(colour=look.train, size=1)
        + p9.labs(x="batch", y="learning rate")
        + look.theme(figure_size=(6, 3.5))
    )
