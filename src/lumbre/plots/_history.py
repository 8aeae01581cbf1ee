"""Loss and metrics by epoch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lumbre.base import DataError, import_extra
from lumbre.core import History
from lumbre.plots._given import see_that_it_is
from lumbre.plots._text import literal
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_MOST_MARKED = 50  # epochs: the marks of more would run into a band


def plot_history(history: History, constant: Mapping[str, float] | None = None) -> "ggplot":
    """Each metric in a panel of its own, training and validation as lines over the epochs; of one epoch as points.

    Args:
        history: the records of a run.
        constant: the loss of the best prediction that looks at no input, of "train" and "valid": a dashed line.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there is nothing to draw.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    see_that_it_is(History, history, "the records of a run", "fitted.plot()")
    records = history.drawn()
    named = [name for name in dict.fromkeys(record[0] for record in records) if name.startswith("valid_")]
    frame = pd.DataFrame(records, columns=["set", "metric", "epoch", "value"])
    of_sets = [look.valid, *look.palette[2:]]
    colours = {"train": look.train, "valid": look.valid}
    colours |= {name: of_sets[number % len(of_sets)] for number, name in enumerate(named)}
    if frame.empty:
        raise DataError("a history without a number", "at least one epoch", "fit() for an epoch or more first")
    frame["metric"] = pd.Categorical(frame["metric"], categories=list(dict.fromkeys(frame["metric"])))
    # A line wants two points: plotnine warns of one that stands alone.
    guessed = (constant or {}).get("valid", (constant or {}).get("train"))
    guess = [] if guessed is None else [pd.DataFrame({"metric": ["loss"], "value": [guessed]})]
    if guess and "loss" in set(frame["metric"]):
        guess[0]["metric"] = pd.Categorical(guess[0]["metric"], categories=frame["metric"].cat.categories)
    else:
        guess = []
    joined = frame[frame.duplicated(["metric", "set"], keep=False)]
    epochs = history.epochs
    marked = frame if epochs <= _MOST_MARKED else frame.drop(joined.index)
    panels = frame["metric"].nunique()
    return (
        p9.ggplot(frame, p9.aes("epoch", "value", colour="set", shape="set"))
        + (p9.geom_line(p9.aes(group="set"), data=joined, size=0.9) if len(joined) else [])
        + (p9.geom_point(size=1.8, data=marked) if len(marked) else [])
        + [p9.geom_hline(p9.aes(yintercept="value"), data=one, linetype="dashed", colour=look.rule) for one in guess]
        + p9.facet_wrap("metric", scales="free_y", labeller=literal)
        + p9.scale_colour_manual(values=colours)
        + p9.scale_x_continuous(breaks=_breaks(epochs))
        + p9.labs(x="epoch", y="", colour="", shape="", caption="dashed: the best constant prediction" if guess else "")
        + look.theme(
            figure_size=(2 + 3.5 * min(panels, 3), 3.2 * -(-panels // 3)),
            legend_position="top",
            legend_justification="left",
        )
    )


def _breaks(epochs: int) -> list[int]:
    """At most some ten ticks of an axis of epochs, an even step apart; the first epoch where the step leaves space."""
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(step for step in steps if epochs <= 10 * step)
    return [*([1] if step >= 5 else []), *range(step, epochs + 1, step)]
