"""What is printed of a trained model and of examples, and what a notebook shows of them: curve, net and pictures."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from lumbre.base import Nested, folded_text, html_code, html_facts, html_folded, html_pictures, is_pictures, map_leaves
from lumbre.core import History, format_value
from lumbre.fitted._evaluation import run_lines
from lumbre.plots import TRAIN, VALID, under_pictures

if TYPE_CHECKING:
    import pandas as pd

_LINES = 20
_ROWS = 5
_PICTURES = 32
_WIDTH, _HEIGHT, _MARGIN = 300, 110, 6


def fitted_text(model: nn.Module, history: History, engine: str) -> str:
    """What happened, and the net; of a deep one the first and last layers."""
    body = [f"  {name}: {value}" for name, value in run_lines(history, engine)]
    net = folded_text(str(model), _LINES, "print(fitted.model)")
    return "\n".join([f"Fitted {type(model).__name__}", *body, net])


def fitted_html(model: nn.Module, history: History, engine: str) -> str:
    """What happened as a table, the loss as a curve, and the net."""
    lines = run_lines(history, engine)
    first = [line for line in lines if line[0] in ("epochs", "total time") or line[0].startswith("last ")]
    others = html_facts("", [line for line in lines if line not in first])
    shown = html_facts(f"Fitted {type(model).__name__}", first) + loss_curve(history)
    return shown + html_folded("times and engine", others) + html_code(str(model))


def loss_curve(history: History) -> str:
    """The loss by epoch as a small SVG, training and validation; "" for less than two epochs."""
    records = [one for one in history.scalars() if one[1] == "loss" and abs(one[3]) < float("inf")]
    values = [value for *_, value in records]
    if history.epochs < 2 or len(values) < 2:
        return ""
    low, high = min(values), max(values)
    wide, tall = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def at(epoch: int, value: float) -> str:
        x = _MARGIN + wide * (epoch - 1) / (history.epochs - 1)
        y = _MARGIN + tall * (high - value) / (high - low or 1.0)
        return f"{x:.1f},{y:.1f}"

    lines: list[str] = []
    legend: list[str] = []
    for name, colour in (("train", TRAIN), ("valid", VALID)):
        points = [(epoch, value) for set_name, _, epoch, value in records if set_name == name]
        if points:
            path = " ".join(at(*point) for point in points)
            lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>')
            ends = f"{name} {format_value(points[0][1])} to {format_value(points[-1][1])}"
            legend.append(f'<span style="color:{colour}">&#9644;</span> {ends}')
    title = f"loss in {history.epochs} epochs"
    return (
        f'<figure style="margin:6px 0"><svg role="img" aria-label="{title}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}"><path d="M{_MARGIN} {_MARGIN}V{_HEIGHT - _MARGIN}'
        f'H{_WIDTH - _MARGIN}" fill="none" stroke="currentColor" stroke-opacity="0.3"/>{"".join(lines)}</svg>'
        f'<figcaption style="font-size:smaller">{title}: {" &nbsp; ".join(legend)}</figcaption></figure>'
    )


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
