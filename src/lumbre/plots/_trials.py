"""A search for hyper-parameters: values by trial and by parameter."""

from typing import TYPE_CHECKING, Any

from lumbre.base import import_extra
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

_STATES = {"complete": "o", "pruned": "x"}
_ACROSS = 3


def plot_trials(frame: "pd.DataFrame", parameters: list[str], monitor: str, mode: str, logs: list[str]) -> Any:
    """The trials one after the other with the best value so far, and beside it the value against each parameter.

    Args:
        frame: as `Tuned.frame()` gives it.
        parameters: columns to draw.
        monitor: what the value is.
        mode: "min" or "max".
        logs: those of the parameters to draw on a logarithmic scale.

    Returns:
        A plotnine composition; `& theme(...)` changes all its panels.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    composition = import_extra("plotnine.composition", "plots", "draw charts")
    panels = [_history(p9, look, frame, monitor, mode)]
    panels += [plot_trial_parameter(frame, name, monitor, log=name in logs) for name in parameters]
    across = 2 if len(panels) == 4 else min(len(panels), _ACROSS)
    down = -(-len(panels) // across)
    empty = [composition.plot_spacer() + look.theme() for _ in range(across * down - len(panels))]
    panels = [
        panel if index == across - 1 else panel + p9.theme(legend_position="none") for index, panel in enumerate(panels)
    ]
    rows = [[*panels, *empty][first : first + across] for first in range(0, across * down, across)]
    beside = [_joined(row, lambda left, right: left | right) for row in rows]
    whole = _joined(beside, lambda above, below: above / below)
    return whole & p9.theme(figure_size=(3.2 * across, 2.6 * down))


def plot_trial_parameter(frame: "pd.DataFrame", parameter: str, monitor: str, *, log: bool = False) -> "ggplot":
    """The value of each trial against one parameter.

    Args:
        frame: as `Tuned.frame()` gives it.
        parameter: a column of it, numbers or categories.
        monitor: what the value is.
        log: draw the parameter on a logarithmic scale.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    frame = _with_values(frame)
    frame = frame.assign(drawn=frame[parameter])  # its name may be one that an expression cannot hold
    chart = p9.ggplot(frame, p9.aes("drawn", "value")) + _points(p9, look) + p9.labs(x=parameter, y=monitor)
    return chart + p9.scale_x_log10(labels=lambda ticks: [f"{tick:g}" for tick in ticks]) if log else chart


def _history(p9: Any, look: Look, frame: "pd.DataFrame", monitor: str, mode: str) -> Any:
    frame = _with_values(frame)
    complete: Any = frame[frame["state"] == "complete"]
    best = complete["value"].cummin() if mode == "min" else complete["value"].cummax()
    return (
        p9.ggplot(frame, p9.aes("number", "value"))
        + p9.geom_step(p9.aes(y="best"), data=complete.assign(best=best), colour=look.train, alpha=0.6)
        + _points(p9, look)
        + p9.labs(x="trial", y=monitor)
    )


def _with_values(frame: Any) -> Any:
    import pandas as pd

    frame = frame[frame["value"].notna() & frame["state"].isin(list(_STATES))]
    return frame.assign(state=pd.Categorical(frame["state"], categories=list(_STATES)))


def _points(p9: Any, look: Look) -> list[Any]:
    """Points with a colour and a shape for each state, in the same look for every panel."""
    return [
        p9.geom_point(p9.aes(colour="state", shape="state"), size=2),
        p9.scale_colour_manual(dict(zip(_STATES, look.palette, strict=False)), drop=False),
        p9.scale_shape_manual(_STATES, drop=False),
        p9.labs(colour="", shape=""),
        look.theme(figure_size=(6, 3.5)),
    ]


def _joined(parts: list[Any], join: Any) -> Any:
    whole = parts[0]
    for part in parts[1:]:
        whole = join(whole, part)
    return whole
