"""A row or a batch as input and target, whatever form it comes in."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from lumbre.base import DataError, Nested, describe, is_batch

PAIR_KEYS = (("input", "target"), ("x", "y"))
_MASKS = ("train_mask", "input_id", "edge_label_index")  # of graphs whose nodes or edges do not all count


def as_pair(item: Any) -> tuple[Nested, Nested]:
    """An item or a batch as (input, target).

    A tuple or list of two is a pair, so is a mapping or a named tuple with the names input and target, or x and y.
    An object that holds its target as a tensor `y`, such as a batch of graphs, is the input for it. Anything else is
    an input without a target.

    Raises:
        DataError: a tuple or list of more than two; a graph of which some nodes alone count.
    """
    if isinstance(item, (Tensor, PackedSequence)):
        return item, None
    if isinstance(item, Mapping):
        item = _plain(item)
        for input, target in PAIR_KEYS:
            if set(item.keys()) == {input, target}:
                return item[input], item[target]
        return item, None
    if isinstance(item, (tuple, list)):
        fields = getattr(item, "_fields", ())
        for input, target in PAIR_KEYS:
            if set(fields) == {input, target}:
                return getattr(item, input), getattr(item, target)
        if len(item) == 2:
            return _plain(item[0]), _plain(item[1])
        if len(item) == 1:
            return _plain(item[0]), None
        raise DataError(
            f"{len(item)} parts: {describe(item)}",
            "a pair (input, target), or an input alone",
            "((a, b), y) for two inputs and a target; ((a, b, c), None) for three inputs and none",
        )
    return item, _inside(item)


def _plain(value: Any) -> Any:
    """A mapping that is no dict, such as what tokenizers give, as one; a TensorDict, which is moved whole, as it is."""
    return dict(value) if isinstance(value, Mapping) and not isinstance(value, dict) and not is_batch(value) else value


def _inside(item: Any) -> Tensor | None:
    """The target that an object holds as `y`.

    Raises:
        DataError: it is a graph of which some nodes alone count in the loss.
    """
    target = _attribute(item, "y")
    if not isinstance(target, Tensor):
        return None
    mask = next((name for name in _MASKS if _attribute(item, name) is not None), None)
    if mask is not None:
        name = type(item).__name__
        raise DataError(
            f"a {name} with y and {mask}, so that not all of its nodes count",
            "the target of what the module predicts",
            "batches (graph, target), and a module that predicts these nodes alone: yield batch, "
            + ("batch.y[batch.train_mask]" if mask == "train_mask" else "batch.y[:batch.batch_size]")
            + " in a function of the loader's batches, and return out of the same nodes in forward(batch)",
        )
    return target


def _attribute(item: Any, name: str) -> Any:
    try:
        return getattr(item, name, None)
    except Exception:  # objects of others may raise anything, such as KeyError for a part that they lack
        return None
