"""Scores that go into a softmax: of attention, and of classes."""

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from lumbre.preflight._recorder import CLASSES, Call, kind_of, loss_inputs, origin
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Pass, Subject, tensors

_FEWEST_KEYS, _FEWEST_ROWS = 4, 8
_ONE_ALONE = 0.75
_UNBOUNDED = ("Addmm", "Convolution", "Baddbmm")
_TIMES, _GROWN, _MOST_LOSS = 10.0, 1.5, 0.2
_REACH, _TINY = 1.7, 0.2


@check(
    "LB125", "warning", "Attention that looks at one step alone, or at all alike", unless=("LB019", "LB082", "LB057")
)
def one_sided(subject: Subject) -> Iterator[Found]:
    """Before anything is learned, attention weighs steps by chance: some more, some less. Where the first weights give
    nearly everything to one step, scores are far too large (multiplied by the root of the width in place of divided by
    it, or not scaled at all), and hardly anything is learned by them. Where all steps have exactly the same weight, and
    keep it with other weights of the net, the scores are lost (a scale that comes out as 0)."""
    found = subject.evaluated
    calls = _attention(found)
    if not calls or found.failure is not None:
        return
    shares = [_largest(call) for call in calls]
    known = [one for one in shares if one is not None]
    if known and min(known) > _ONE_ALONE:
        yield Found(
            f"attention that gives {min(known):.0%} of its weight to one step, on average, before anything is learned",
            "scores of a size about 1",
            "q @ k.transpose(-2, -1) / head_size**0.5, or F.scaled_dot_product_attention(q, k, v)",
        )
        return
    # One of several may begin so: the first round of a routing, the first step of a decoder.
    if all(_flat(call) for call in calls) and all(_flat(call) for call in _attention(subject.moved(1))):
        yield Found(
            "attention that gives every step the same weight, with other weights of the net, too",
            "weights that depend on queries and keys",
            "look at what the scores are multiplied with: head_size**-0.5, not a whole number that is 0",
        )


def _attention(found: Pass) -> list[Call]:
    """Softmaxes over the last dimension of scores in the module, but for those of the predictions themselves."""
    ends = {origin(one) for one in tensors(found.pred)}
    calls: list[Call] = []
    for call in found.forward:
        scores, given = call.input, call.result
        if call.name != "softmax" or not isinstance(scores, Tensor) or not isinstance(given, Tensor):
            continue
        over = call.argument(1, "dim")
        last = over in (-1, given.ndim - 1)
        if given.ndim >= 3 and last and given.shape[-1] >= _FEWEST_KEYS and origin(given) not in ends:
            calls.append(call)
    return calls


def _seen(call: Call) -> Tensor:
    """Which scores are not masked."""
    scores = call.input.detach()
    return scores.isfinite() & (scores > -1e4)


def _largest(call: Call) -> float | None:
    """The largest weight of a query, on average; None where too few have several steps to look at."""
    several = _seen(call).sum(-1) >= _FEWEST_KEYS
    largest = call.result.detach().amax(-1)[several]
    return float(largest.mean()) if largest.numel() >= _FEWEST_ROWS and bool(largest.isfinite().all()) else None


def _flat(call: Call) -> bool:
    """Whether scores that are not masked are the same in every row."""
    scores, seen = call.input.detach(), _seen(call)
    several = seen.sum(-1) >= _FEWEST_KEYS
    if int(several.sum()) < _FEWEST_ROWS:
        return False
    high, low = scores.masked_fill(~seen, -math.inf).amax(-1), scores.masked_fill(~seen, math.inf).amin(-1)
    return bool((high == low)[several].all())


@check(
    "LB126",
    "warning",
    "Scores that cannot grow",
    unless=("LB007", "LB012", "LB015", "LB016", "LB019", "LB057", "LB060"),
    costly=True,
)
def bounded(subject: Subject) -> Iterator[Found]:
    """The scores before a cross-entropy are cosines, or end in a tanh, and stay as small as they are whatever the
    weights: the loss cannot come near 0. They need a scale. Asked are the scores for weights that are ten and a hundred
    times as large. (Rows that are compared with one another may be alike before anything is learned; nothing is said
    but where all their scores are tiny.)"""
    first = subject.evaluated
    now = _classes(first)
    if subject.loss is None or first.failure is not None or not now:
        return
    if all(kind_of(origin(one)) in _UNBOUNDED for one in now) or _widest(now) > 4:
        return
    larger = [_classes(subject.placed(_times(subject, by))) for by in (_TIMES, _TIMES**2)]
    if any(len(one) != len(now) for one in larger):
        return
    for at, scores in enumerate(now):
        small, large = (_widest([one[at]]) for one in larger)
        if not 0 < large <= _GROWN * max(small, 1e-9):
            continue
        reach = _REACH * max(small, large, _widest([scores]))  # cosines of a batch do not come to -1 and 1
        classes = scores.shape[1]
        least = math.log1p((classes - 1) * math.exp(-reach))
        # Perhaps rows with one another, with or without themselves, which may be alike by now.
        compared = len(scores) - classes in (0, 1)
        if least > _MOST_LOSS and (not compared or float(scores.detach().abs().max()) < _TINY):
            yield Found(
                f"scores that stay within {max(small, large):.2g} of one another whatever the weights are, so that the "
                f"cross-entropy of {classes} cannot fall below about {least:.2g}",
                "scores that can grow as the net becomes sure",
                "cosines times 10 to 30, or divided by a temperature of 0.05 to 0.2; the last activation left out",
            )
            return


def keep_their_size(subject: Subject) -> bool:
    """Whether scores of classes are as large for weights that are ten times as large: cosines times a scale."""
    now, larger = _classes(subject.evaluated), _classes(subject.placed(_times(subject, _TIMES)))
    pairs = list(zip(now, larger, strict=False))
    return len(now) == len(larger) > 0 and all(_widest([b]) <= _GROWN * _widest([a]) for a, b in pairs)


def _classes(found: Pass) -> list[Tensor]:
    """What went into cross-entropies of class numbers, or of probabilities, with a score for each class."""
    if found.failure is not None:
        return []
    calls = loss_inputs(found.losses, CLASSES[:1])
    return [one.input for one in calls if one.input.ndim == 2 and one.input.shape[1] > 1 and len(one.input) > 1]


def _widest(scores: Sequence[Tensor]) -> float:
    """The most that scores of a row are from one another."""
    widths = [float((one.detach().amax(1) - one.detach().amin(1)).max()) for one in scores]
    return max(widths) if all(math.isfinite(one) for one in widths) else math.inf


def _times(subject: Subject, by: float) -> list[tuple[Tensor, Tensor]]:
    trained = [one for one in subject.model.parameters() if one.requires_grad and one.is_floating_point()]
    return [(one, one.detach() * by) for one in trained]
