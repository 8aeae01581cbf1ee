"""What rows of data say of themselves when they are printed, and what a notebook shows of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import (
    DataError,
    MissingExtraError,
    Nested,
    folded_text,
    html_facts,
    html_folded,
    html_pictures,
    html_table,
    is_batch,
    is_pictures,
    listed,
    map_leaves,
)

_PICTURES = 8
_MOST_COUNTED = 10_000_000  # rows whose classes are counted; it takes some milliseconds
_HEAD = 5


def as_text(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """A title, and a line for each fact."""
    return "\n".join([title, *(f"  {name}: {folded_text(text, 3)}" for name, text in facts)])


def as_html(title: str, facts: Sequence[tuple[str, str]], below: str = "") -> str:
    """The same as a table, with something below it."""
    return html_facts(title, facts) + below


def facts_of(data: Any, rows: Tensor | None = None) -> list[tuple[str, str]]:
    """What is known of rows without reading a file: types and shapes, classes and how many rows each has.

    Args:
        data: has `input` and `target`, or `targets`, and perhaps `classes` and `transform`.
        rows: the numbers of those that are meant, all where None.
    """
    found: list[tuple[str, str]] = []
    if hasattr(data, "input"):
        found.append(("input", form_of(data.input)))
    target = _target(data)
    if target is not None:
        found.append(("target", form_of(target) + _classes(target, getattr(data, "classes", None), rows)))
    transform = getattr(data, "transform", None)
    if transform is not None:
        found.append(("transform", getattr(transform, "__name__", None) or repr(transform).partition("\n")[0]))
    return found


def first_pictures(data: Any, rows: Tensor | None = None) -> str:
    """The first rows as pictures with their classes; "" where they are none."""
    at = torch.arange(min(_PICTURES, len(data))) if rows is None else rows[:_PICTURES]
    if is_pictures(getattr(data, "input", None)):
        return html_pictures(data.input[at], _names(data, at))
    if not hasattr(data, "pictures"):
        return ""
    try:
        return html_pictures(data.pictures(at.tolist()), _names(data, at))
    except (DataError, MissingExtraError):  # which is said when the files are needed
        return ""


def frame_html(title: str, facts: Sequence[tuple[str, str]], described: Any, frame: Any = None) -> str:
    """Facts, the columns and what each is for, and the first rows of a frame, which print as their library prints."""
    columns = html_table([("column", "kind", "of"), *((name, kind, _short(text)) for name, kind, text in described)])
    head = getattr(frame, "head", None)
    first = getattr(head(_HEAD), "_repr_html_", None) if head is not None else None
    rows = html_folded(f"the first {_HEAD} rows", first()) if first is not None else ""
    return as_html(title, facts, html_folded(f"{len(described)} columns", columns) + rows)


def counted(values: "np.ndarray[Any, Any]") -> str:
    """The classes of a column and how many rows each has."""
    import pandas as pd

    counts = pd.Series(values).value_counts(sort=False).sort_index()
    return listed(f"{name} {count:,}" for name, count in counts.items())


def _names(data: Any, rows: Tensor) -> list[str]:
    target = _target(data)
    classes: Sequence[str] = getattr(data, "classes", None) or ()
    if not isinstance(target, Tensor) or target.ndim != 1:
        return [""] * len(rows)
    values = target[rows].tolist()
    known = not target.is_floating_point()
    return [str(classes[value]) if known and 0 <= value < len(classes) else f"{value:.6g}" for value in values]


def _target(data: Any) -> Any:
    found = getattr(data, "target", None)
    return getattr(data, "targets", None) if found is None else found


def form_of(value: Nested) -> str:
    """Types and shapes of rows, without their number: "float32 (3, 28, 28)"."""
    if isinstance(value, list) and len(value) > _PICTURES:  # of numbers or files, a row each
        return f"list of {len(value):,}"
    forms = map_leaves(_kind, value)
    return str(forms).replace("'", "") if isinstance(forms, (dict, tuple, list)) else str(forms)


def _kind(leaf: Any) -> str:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype") or is_batch(leaf):
        return type(leaf).__name__
    shape = f" {tuple(leaf.shape[1:])}" if len(leaf.shape) > 1 else ""
    return str(leaf.dtype).removeprefix("torch.") + shape


def _classes(target: Any, names: Sequence[str] | None, rows: Tensor | None) -> str:
    if not isinstance(target, Tensor) or target.ndim != 1 or target.dtype != torch.int64:
        return ""
    labels = target if rows is None else target[rows]
    if not 0 < len(labels) <= _MOST_COUNTED or int(labels.min()) < 0 or int(labels.max()) > 100_000:
        return ""
    counts = torch.bincount(labels, minlength=len(names or ())).tolist()
    if names is None and len(counts) > 1000:
        return ""
    texts = (f"{names[at] if names and at < len(names) else at} {count:,}" for at, count in enumerate(counts))
    return f", {len(counts):,} classes: {listed(texts)}"


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"
