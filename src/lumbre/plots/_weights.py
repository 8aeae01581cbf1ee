"""What values the parameters of a model have."""

import math
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from lumbre.base import DataError, OptionError, import_extra
from lumbre.plots._given import see_that_it_is
from lumbre.plots._text import literal
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_MOST_BINS = 60
_MOST_PANELS = 24


def weight_distributions(fitted: Any, parameters: str = "*weight") -> "ggplot":
    """Histograms of a model's parameters, a panel for each tensor, in the order of the layers.

    There are more bins where there are more values (Rice's rule), up to 60.

    Args:
        fitted: a `Fitted`, or a module.
        parameters: which of them, as a pattern of their names: "*" for all, "encoder.*" for a part. Of more than 24
            the largest are drawn, and the subtitle says so.

    Returns:
        A plotnine `ggplot`. Its data has the columns parameter, value (the middle of a bin), width and count.

    Raises:
        MissingExtraError: plotnine is not installed.
        OptionError: no parameter has such a name, or `fitted` has no module.
        DataError: a parameter holds values that are not finite.

    Example:
        >>> import lumbre as lb, torch
        >>> chart = lb.plots.weight_distributions(torch.nn.Linear(8, 4))
        >>> int(chart.data["count"].sum())
        32
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    chosen, note = _chosen(fitted, parameters)
    titles = {name: f"{name}\n{' x '.join(map(str, values.shape)) or 'one number'}" for name, values in chosen.items()}
    table = pd.concat([_histogram(name, values, titles[name]) for name, values in chosen.items()], ignore_index=True)
    table["parameter"] = pd.Categorical(table["parameter"], categories=list(titles.values()))
    across = min(len(chosen), 3 if len(chosen) <= 9 else 4)
    chart = (
        p9.ggplot(table, p9.aes("value", "count"))
        + p9.geom_col(p9.aes(width="width"), fill=look.train)
        + p9.geom_vline(xintercept=0, linetype="dotted", colour=look.rule)
        + p9.facet_wrap("parameter", scales="free", ncol=across, labeller=literal)
        + p9.labs(x="value", y="weights in a bin")
        + look.theme(
            figure_size=(0.8 + 2.0 * across, 0.8 + 1.7 * -(-len(chosen) // across)),
            axis_text=p9.element_text(size=7.5),
            strip_text=p9.element_text(size=9),
        )
    )
    return chart + p9.labs(subtitle=note) if note else chart


def _chosen(fitted: Any, pattern: str) -> tuple[dict[str, Tensor], str]:
    module = fitted if isinstance(fitted, nn.Module) else getattr(fitted, "model", None)
    if not isinstance(module, nn.Module):
        raise OptionError(
            f"a {type(fitted).__name__}", "a fitted model or a module", "plots.weight_distributions(fitted)"
        )
    see_that_it_is(str, pattern, "a pattern of the parameters' names", 'parameters="*weight"')
    every = dict(module.named_parameters())
    found = {name: values.detach() for name, values in every.items() if fnmatchcase(name, pattern) and values.numel()}
    if not found:
        some = ", ".join(list(every)[:8]) or "none"
        raise OptionError(
            f"parameters={pattern!r}",
            f"a pattern that fits some of the module's parameters: {some}",
            'parameters="*" for all of them',
        )
    if len(found) <= _MOST_PANELS:
        return found, ""
    largest = sorted(found, key=lambda name: found[name].numel())[-_MOST_PANELS:]
    note = f"the {_MOST_PANELS} largest of {len(found)} tensors"
    return {name: values for name, values in found.items() if name in largest}, note


def _histogram(name: str, values: Tensor, title: str) -> Any:
    import pandas as pd

    flat = values.float().reshape(-1)
    if not bool(flat.isfinite().all()):
        raise DataError(
            f"{name} with values that are not finite",
            "weights that are numbers",
            "a model from before it diverged; a smaller learning rate",
        )
    low, high = float(flat.min()), float(flat.max())
    # All alike, as the ones of a fresh normalisation are: one bar.
    if low == high:
        return pd.DataFrame(
            {"parameter": [title], "value": low, "width": max(abs(low), 1.0) / 50, "count": flat.numel()}
        )
    # Rice's rule: as many bins as the number of values bears.
    bins = min(max(5, math.ceil(2 * flat.numel() ** (1 / 3))), _MOST_BINS)
    width = (high - low) / bins
    middles = [low + (number + 0.5) * width for number in range(bins)]
    counts = flat.histc(bins, low, high).long().tolist()
    return pd.DataFrame({"parameter": title, "value": middles, "width": width, "count": counts})
