"""What is printed of a trained model and of examples, and what a notebook shows of them: curve, net and pictures."""

from math import nan
from typing import TYPE_CHECKING

from torch import Tensor, nn

from lumbre.base import (
    Nested,
    folded_text,
    html_code,
    html_facts,
    html_folded,
    html_pictures,
    is_pictures,
    lines_svg,
    map_leaves,
)
from lumbre.core import History
from lumbre.fitted._evaluation import run_lines
from lumbre.plots import under_pictures

if TYPE_CHECKING:
    import pandas as pd

_LINES = 20
_ROWS = 5
_PICTURES = 32


def fitted_text(model: nn.Module, history: History, engine: str) -> str:
    """What happened, and the net; of a deep one the first and last layers."""
    body = [f"  {name}: {value}" for name, value in run_lines(history, engine)]
    net = folded_text(str(model), _LINES, "print(fitted.model)")
    return "\n".join([f"Fitted {type(model).__name__}", *body, net])


def fitted_html(model: nn.Module, history: History, engine: str) -> str:
    """What happened as a table, the loss as a curve, and the net."""
    lines = run_lines(history, engine)
    begins = ("epochs", "total time", "weights", "last ", "epoch ")
    first = [line for line in lines if line[0].startswith(begins)]
    others = html_facts("", [line for line in lines if line not in first])
    shown = html_facts(f"Fitted {type(model).__name__}", first) + loss_curve(history)
    return shown + html_folded("times and engine", others) + html_code(str(model))


def loss_curve(history: History) -> str:
    """The loss by epoch as a small SVG, a line for each set; "" for less than two epochs."""
    if history.epochs < 2:
        return ""
    shown = [one for one in history.drawn() if one[1] == "loss"]
    lines = {name: [nan] * history.epochs for name, *_ in shown}
    for name, _, epoch, value in shown:
        lines[name][epoch - 1] = value
    return lines_svg(lines, title=f"loss in {history.epochs} epochs")


def examples_text(input: Nested, frame: "pd.DataFrame") -> str:
    """Shapes of the input, and the first rows of truth and prediction."""
    shapes = map_leaves(lambda leaf: tuple(leaf.shape) if isinstance(leaf, Tensor) else type(leaf).__name__, input)
    left = len(frame) - _ROWS
    more = [f"... {left:,} more rows: .frame"] if left > 0 else []
    table = frame.head(_ROWS).to_string(max_cols=12, float_format="{:.4g}".format, line_width=100)
    return "\n".join([f"Examples of {frame['row'].nunique():,} rows, input {shapes}", table, *more])


def examples_html(input: Nested, frame: "pd.DataFrame") -> str:
    """Pictures with truth and prediction under them, where the input is pictures, and the frame."""
    table = frame.to_html(max_rows=2 * _ROWS, max_cols=12, float_format="{:.4g}".format)
    if not isinstance(input, Tensor) or not is_pictures(input):
        return table
    captions = [text for text, _ in under_pictures(frame)]
    shown = html_pictures(input[:_PICTURES], captions[:_PICTURES])
    return shown + html_folded(f"{len(frame):,} rows with truth and prediction", table)
