"""Dimensions: numbers that `view` brings to other places, weights of attention that add up the wrong way."""

from collections.abc import Iterator, Sequence
from itertools import accumulate, permutations
from math import prod
from operator import mul

from torch import Tensor, nn

from lumbre.preflight._recorder import Call, LayerCall, Shape, kind_of, made_by, nodes_of, origin
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_MOST_DIMENSIONS = 6
# What may stand between a softmax and the product it weights: none of it moves numbers.
_BETWEEN = ("Mul", "Div", "Expand", "View", "UnsafeView", "Reshape", "NativeDropout", "Clone", "ToCopy", "Alias")


@check("LB081", "warning", "Dimensions cut by view() or reshape()")
def scrambled(subject: Subject) -> Iterator[Found]:
    """`view` and `reshape` keep numbers in their order. Where (rows, 16, 16, 3) becomes (rows, 3, 16, 16), or (rows,
    steps, classes) becomes (rows, classes, steps), the shape is right and the numbers are not: each place holds those
    of others. Named are shapes that a transpose() or permute() before it would give, and that cut through dimensions.
    (Dimensions that are split or joined whole, as heads, groups and patches are, are meant.)"""
    if subject.evaluated.failure is not None and not subject.evaluated.in_loss:
        return
    for before, after in subject.evaluated.shapes:
        if scrambles(before, after):
            yield Found(
                f"view() or reshape() of {before} to {after}, which brings numbers of different dimensions together",
                "dimensions that are split or joined whole",
                "transpose() or permute() to change the order of dimensions, and reshape() after it to join them",
            )
            return


def scrambles(before: Shape, after: Shape) -> bool:
    """Whether a reshape cuts through dimensions, though another order of them would fit the new shape.

    Args:
        before: the shape of what is given.
        after: that of what comes out, with as many numbers.
    """
    old, new = (tuple(size for size in one if size > 1) for one in (before, after))
    if old == new or prod(old) != prod(new) or not 2 <= len(old) <= _MOST_DIMENSIONS or len(new) > _MOST_DIMENSIONS:
        return False
    parts = [_cuts(old, start, end) for start, end in _spans(new)]
    if not any(cut for cut, _ in parts):
        return False
    if any(_fits(order, new) for order in permutations(old)) or _cut_between(old, new):
        return True
    # Heads that are cut out of the steps: (rows, steps, heads * size) as (rows, heads, steps, size).
    twice = any(both for _, both in parts)
    return twice and any(_fits(order, new) for split in _splits(old, new) for order in permutations(split))


def _spans(shape: Shape) -> list[tuple[int, int]]:
    ends = list(accumulate(shape, mul))
    return list(zip([1, *ends], ends, strict=False))


def _cuts(old: Shape, start: int, end: int) -> tuple[bool, bool]:
    """Whether a new dimension takes parts of several old ones: of one at least, and at both of its ends."""
    whole = {1, *accumulate(old, mul)}
    inside = any(a <= start and end <= b and start % a == 0 and b % end == 0 for a, b in _spans(old))
    if inside or (start in whole and end in whole):
        return False, False
    return True, start not in whole and end not in whole


def _cut_between(old: Shape, new: Shape) -> bool:
    """Whether a dimension is cut in two, and both parts are joined with what stands beside them.

    So are channels, rows and columns of pixels where a picture is made larger by view(). Where one part stands alone,
    or lies beside the rows of the batch, neighbours were gathered.
    """
    ends = set(accumulate(new, mul))
    cuts = [(start, end, begin) for start, end in _spans(old) for begin, cut in _spans(new) if start < cut < end]
    return any(1 < begin < start and not {start, end} & ends for start, end, begin in cuts)


def _fits(order: Shape, new: Shape) -> bool:
    """Whether joining neighbours in `order` gives the new shape."""
    return set(accumulate(new, mul)) <= set(accumulate(order, mul))


def _splits(old: Shape, new: Shape) -> Iterator[Shape]:
    """One dimension in two, both of which are dimensions of the new shape."""
    for at, size in enumerate(old):
        if len(old) == _MOST_DIMENSIONS:
            return
        for part in sorted({one for one in new if size % one == 0 and size // one in new and 1 < one < size}):
            yield (*old[:at], part, size // part, *old[at + 1 :])


@check("LB082", "warning", "Attention whose weights do not add up to 1", unless=("LB018",))
def weights_of_queries(subject: Subject) -> Iterator[Found]:
    """The softmax of a square of scores (queries, keys) goes over the queries, and its product with the values over the
    keys: what a step is given is no mean of the others. (Squares alone are looked at: a softmax over slots or channels
    is meant.)"""
    found = subject.evaluated
    if found.failure is not None and not found.in_loss:
        return
    for shape, dim in _weighted(tensors(found.pred)):
        if dim % len(shape) == len(shape) - 2 and shape[-1] == shape[-2] > 1 and len(shape) >= 3:
            yield Found(
                f"a softmax over dimension {dim} of scores {shape}, whose product with the values goes over dimension "
                f"{len(shape) - 1}",
                "weights that add up to 1 over the keys, for each query",
                "softmax(dim=-1) for queries @ keys.transpose(-2, -1)",
            )
            return


def _weighted(preds: list[Tensor]) -> Iterator[tuple[Shape, int]]:
    """Shape and dimension of each softmax that is the first factor of a batched product."""
    for node, _ in nodes_of(preds):
        if kind_of(node) != "Bmm" or not node.next_functions:
            continue
        factor = node.next_functions[0][0]
        while factor is not None and kind_of(factor) in _BETWEEN and factor.next_functions:
            factor = next((before for before, _ in factor.next_functions if before is not None), None)
        if factor is not None and kind_of(factor) == "Softmax":
            result, dim = getattr(factor, "_saved_result", None), getattr(factor, "_saved_dim", None)
            if isinstance(result, Tensor) and isinstance(dim, int):
                yield tuple(result.shape), dim if dim < 2**63 else dim - 2**64


@check("LB019", "warning", "Softmax of one score")
def softmax_of_one(subject: Subject) -> Iterator[Found]:
    """The softmax of a single score is 1: the output does not depend on the input. So are weights of attention whose
    softmax goes over the one score of each step, not over the steps."""
    found = subject.evaluated
    pred = found.pred
    if (
        isinstance(pred, Tensor)
        and pred.ndim > 1
        and pred.shape[-1] == 1
        and made_by(pred) in ("Softmax", "LogSoftmax")
    ) or any(_of_single_score(call, found.layers) for call in found.forward):
        yield Found(
            "a softmax over one score, which is always 1",
            "a sigmoid for one score, a softmax for several",
            "leave it out, with nn.BCEWithLogitsLoss(); for weights of attention softmax(dim=...) over the steps",
        )


def _of_single_score(call: Call, layers: Sequence[LayerCall]) -> bool:
    """Whether a softmax goes over the outputs of a layer that has a single one."""
    given, dim = call.input, call.argument(1, "dim")
    if call.name not in ("softmax", "log_softmax") or not isinstance(given, Tensor) or not isinstance(dim, int):
        return False
    if given.ndim < 2 or given.shape[dim] != 1 or given.numel() < 2:
        return False
    node, place = origin(given), dim % given.ndim
    for one in layers:
        if node is not None and one.made is node and isinstance(one.output, Tensor) and one.output.ndim == given.ndim:
            single = getattr(one.layer, "out_features", getattr(one.layer, "out_channels", 0)) == 1
            if single and place == (given.ndim - 1 if isinstance(one.layer, nn.Linear) else 1):
                return True
    return False
