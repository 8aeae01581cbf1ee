"""Whether probabilities mean what they say."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lumbre.base import import_extra, within
from lumbre.plots._comparison import truth_and_probabilities
from lumbre.plots._text import literal
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_Z95 = 1.959964


def calibration(fitted: Any, data: Any = None, *, bins: int = 10) -> "ggplot":
    """Reliability diagram: of the rows with a probability near p, a share of p should be right (the dashed line).

    With two classes it looks at the probability of the second one; with more at that of the predicted class, which
    is right or not. The bars are 95 % intervals (Wilson, 1927) for the share; the subtitle gives the expected
    calibration error: the mean distance between the two, by rows (Guo et al., "On Calibration of Modern Neural
    Networks", 2017). A row of weight 2 counts like two rows; weights below 1 on average are brought to an average of 1.

    Args:
        fitted: a `Fitted`; or a frame with the columns truth and probability_<class>.
        data: with targets, whatever `Fitted.evaluate()` takes; nothing beside a frame.
        bins: into how many bins of equal width the probabilities are sorted, from 2 to 100.

    Returns:
        A plotnine `ggplot`. Its data has a line for each bin that has rows: probability (their mean), share, low,
        high and rows.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there are no probabilities.
        OptionError: bins is impossible.

    Example:
        >>> import lumbre as lb, pandas as pd
        >>> shares = pd.Series([0.9, 0.2, 0.7, 0.6])
        >>> frame = pd.DataFrame(
        ...     {
        ...         "truth": ["yes", "no", "no", "yes"],
        ...         "probability_no": 1 - shares,
        ...         "probability_yes": shares,
        ...     }
        ... )
        >>> lb.plots.calibration(frame, bins=2).data[["probability", "share"]].round(
        ...     2
        ... ).to_numpy().tolist()
        [[0.2, 0.0], [0.73, 0.67]]
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    within(2, 100, "bins=10", bins=bins)
    names, truth, shares, weights = truth_and_probabilities(fitted, data)
    if len(names) == 2:
        probability, right = shares[:, 1], truth == 1
        x_title, y_title = f"probability of {literal(names[1])}", f"share of {literal(names[1])}"
    else:
        probability, right = shares.max(1), shares.argmax(1) == truth
        x_title, y_title = "probability of the predicted class", "share of right predictions"
    which = np.clip((probability * bins).astype(int), 0, bins - 1)
    by = np.ones(len(which)) if weights is None else weights / min(1.0, weights.mean())
    rows = np.bincount(which, by, bins)
    filled = rows > 0
    rows = rows[filled]
    mean = np.bincount(which, by * probability, bins)[filled] / rows
    share = np.bincount(which, by * right, bins)[filled] / rows
    low, high = _wilson(share, rows)
    table = pd.DataFrame({"probability": mean, "share": share, "low": low, "high": high, "rows": rows})
    error = float(np.sum(rows * np.abs(mean - share)) / rows.sum())
    return (
        p9.ggplot(table, p9.aes("probability", "share"))
        + p9.geom_abline(slope=1, intercept=0, linetype="dashed", colour=look.rule)
        + p9.geom_errorbar(p9.aes(ymin="low", ymax="high"), width=0.015, colour=look.train)
        + p9.geom_line(colour=look.train)
        + p9.geom_point(p9.aes(size="rows"), colour=look.train)
        + p9.scale_size_continuous(range=(1.5, 7), limits=(1, max(2, rows.max())), labels=_thousands)
        + p9.coord_equal(xlim=(0, 1), ylim=(0, 1))
        + p9.labs(x=x_title, y=y_title, subtitle=f"expected calibration error {error:.3f}, {len(which):,} rows")
        + look.theme(figure_size=(5.8, 4.6))
    )


def _thousands(counts: Any) -> list[str]:
    return [f"{count:,.0f}" for count in counts]


def _wilson(share: Any, rows: Any) -> tuple[Any, Any]:
    """Wilson's 95 % interval for a share seen in so many rows."""
    middle = (share + _Z95**2 / (2 * rows)) / (1 + _Z95**2 / rows)
    half = _Z95 / (1 + _Z95**2 / rows) * np.sqrt(share * (1 - share) / rows + _Z95**2 / (4 * rows**2))
    return middle - half, middle + half
