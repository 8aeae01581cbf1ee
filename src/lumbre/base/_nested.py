"""Nested structures of tensors: a tensor, or tuples, lists and dicts of nested structures.

This room does not interpret what the parts mean; it walks them.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

Nested: TypeAlias = Any
"""A tensor, or a tuple, list or dict of nested structures. (Python's type system cannot say this of user data.)"""


def detached(value: Nested) -> Nested:
    """`value` cut from its graph."""
    if isinstance(value, Tensor):
        return value.detach()
    return map_leaves(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, value)


def map_leaves(function: Callable[[Any], Any], value: Nested) -> Nested:
    """`value` with `function` applied to everything in it that is not a tuple, list or dict."""
    if isinstance(value, dict):
        found = {key: map_leaves(function, part) for key, part in value.items()}
        return found if type(value) is dict else _of_its_kind(value, found)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        # Its constructor may want tensors, where `function` gives something else.
        parts = [map_leaves(function, part) for part in value]
        if isinstance(value, PackedSequence) and isinstance(parts[1], Tensor):
            parts[1] = parts[1].cpu()  # its sizes belong there, wherever its numbers are
        return tuple.__new__(type(value), parts)
    if isinstance(value, (tuple, list)):
        return type(value)(map_leaves(function, part) for part in value)
    return function(value)


def _of_its_kind(value: dict[Any, Any], found: dict[Any, Any]) -> dict[Any, Any]:
    """A dict of the class of `value` that holds `found`, so that outputs keep their attributes: `pred.logits`."""
    try:
        made = copy.copy(value)
        for key, part in found.items():
            made[key] = part
    except Exception:  # a class may forbid either, in its own way
        return found
    return made


def leaves(value: Nested) -> Iterator[Any]:
    """Everything in `value` that is not a tuple, list or dict, in order."""
    if isinstance(value, dict):
        for part in value.values():
            yield from leaves(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def is_batch(value: Any) -> bool:
    """Whether it is an object that holds rows of tensors and is indexed, moved and joined as one, as a TensorDict."""
    if isinstance(value, (Tensor, PackedSequence, dict, tuple, list)):
        return False
    try:
        return isinstance(value.shape, torch.Size) and callable(value.to) and callable(value.clone)
    except Exception:  # objects of others may raise anything for what they lack
        return False


def row_count(value: Nested) -> int:
    """Length of the first dimension of the first tensor in `value`; 1 when it has none.

    A packed sequence has as many rows as there are sequences in it.
    """
    found = _rows(value)
    return 1 if found is None else found


def pair_count(input: Nested, target: Nested) -> int:
    """Rows of a batch: those of its input; of its target, where the input is an object without tensors in sight."""
    found = _rows(input)
    return row_count(target) if found is None else found


def _rows(value: Nested) -> int | None:
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    if isinstance(value, (dict, tuple, list)):
        parts = value.values() if isinstance(value, dict) else value
        return next((rows for part in parts if (rows := _rows(part)) is not None), None)
    return value.shape[0] if (isinstance(value, Tensor) or is_batch(value)) and len(value.shape) else None


def with_row(pred: Nested, target: Nested, rows: int) -> Nested:
    """The prediction for a batch of one row, with the dimension of that row where `squeeze()` has taken it away.

    It is missing where the rest is shaped as the target of the row, or is the scores of its class.
    """
    if rows != 1 or not isinstance(pred, Tensor) or not isinstance(target, Tensor) or target.shape[:1] != (1,):
        return pred
    scores = pred.ndim == 1 and len(pred) > 1 and target.numel() == 1 and not target.is_floating_point()
    return pred[None] if scores or pred.shape == target.shape[1:] else pred


def concatenate(parts: Sequence[Nested]) -> Nested:
    """Join nested structures of the same form along their rows, leaf by leaf; leaves come to the CPU.

    Args:
        parts: at least one structure; tensors of shape (rows, ...), or () counted as one row.

    Returns:
        One structure of the same form with tensors of shape (all rows, ...).
    """
    first = parts[0]
    if isinstance(first, dict):
        return {key: concatenate([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return tuple.__new__(type(first), [concatenate(column) for column in zip(*parts, strict=True)])
    if isinstance(first, (tuple, list)):
        return type(first)(concatenate(column) for column in zip(*parts, strict=True))
    if isinstance(first, Tensor):
        return torch.cat([torch.atleast_1d(part.detach().cpu()) for part in parts])
    if is_batch(first):
        return torch.cat([part.detach().cpu() for part in parts])
    return first


def cloned(value: Nested) -> Nested:
    """The same structure with tensors of its own: what is done to them in place is not done to these."""
    return map_leaves(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) or is_batch(leaf) else leaf, value)


def describe(value: Nested) -> str:
    """`value` in words for an error: `tensor of shape (5, 4), float32`."""
    if isinstance(value, Tensor):
        if value.is_nested:
            return "nested tensor"
        return f"tensor of shape {tuple(value.shape)}, {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {describe(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return f"{type(value).__name__} of ({', '.join(describe(part) for part in value)})"
    if is_batch(value):
        return f"{type(value).__name__} of shape {tuple(value.shape)}"
    return f"{type(value).__name__} {value!r}".partition("\n")[0][:200]
