"""Sequences: does the amount of padding change a prediction, and does the order of what is in them?"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import map_leaves
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_ROWS, _FEWEST_STEPS, _FEWEST_LENGTHS = 8, 6, 3
_SHARE_PADDED, _SHARE_JUDGED, _CHANGED, _SAME = 0.25, 0.05, 1e-2, 1e-6
_POSITIONS = ("pos", "pe")


def lengths_of(leaf: Tensor) -> Tensor | None:
    """Steps before the padding at the end of each row, of shape (rows,); None where rows are not padded there.

    Padding is one number (of all features 0, for measurements) that stands at the ends of rows of different lengths
    and, for whole numbers, nowhere else.
    """
    steps = leaf.shape[1] if leaf.ndim in (2, 3) else 0
    if steps < _FEWEST_STEPS or len(leaf) < 4 or leaf.dtype == torch.bool or leaf.is_complex():
        return None
    if leaf.ndim == 2 and not leaf.is_floating_point():
        padding = leaf == leaf[:, -1].mode().values
    elif leaf.ndim == 3 and leaf.is_floating_point():
        padding = (leaf == 0).all(2)
    else:
        return None
    lengths = steps - padding.flip(1).long().cumprod(1).sum(1)
    alone = leaf.is_floating_point() or bool((padding.sum(1) == steps - lengths).all())
    padded = float((lengths <= steps - 2).float().mean()) >= _SHARE_PADDED
    return lengths if alone and padded and lengths.unique().numel() >= _FEWEST_LENGTHS else None


@check("LB083", "warning", "Predictions that change with the amount of padding", unless=("LB032", "LB020"), costly=True)
def padding_counts(subject: Subject) -> Iterator[Found]:
    """Rows that end in padding are given some steps of it less: their predictions change. A mean or the last step goes
    over the padding, or attention has no mask for it, so that a row is judged by the length of its neighbours. (Padding
    at the beginning is not looked at, nor nets that take one length alone.)"""
    if subject.evaluated.failure is not None:
        return
    parts = tensors(subject.batch.input)
    if not parts or any(not one.ndim or len(one) != subject.batch.size for one in parts):
        return
    known = [(one.shape[1], lengths) for one in parts if (lengths := lengths_of(one)) is not None]
    if len({steps for steps, _ in known}) != 1:
        return
    steps = known[0][0]
    lengths = torch.stack([one for _, one in known]).amax(0)
    rows = lengths.argsort(stable=True)[:_ROWS]
    rows = rows[lengths[rows] <= steps - 4]
    if len(rows) < 2 or int(lengths[rows].min()) < 1:
        return
    longest = int(lengths[rows].max())
    fewer = longest + max(1, (steps - longest) // 2)  # padding is left: a convolution meets its end in both
    few = map_leaves(lambda leaf: leaf[rows] if isinstance(leaf, Tensor) else leaf, subject.batch.input)
    cut = map_leaves(lambda leaf: _cut(leaf, steps, fewer), few)
    try:
        whole, short = tensors(subject.predict(few)), tensors(subject.predict(cut))
    except Exception:  # a module that takes one length alone
        return
    pairs = [_alike(a, b, steps, fewer, lengths[rows]) for a, b in zip(whole, short, strict=False)]
    if any(pair is not None and _differ(*pair) for pair in pairs) and not _draws(subject, few):
        yield Found(
            f"predictions that change where rows of {longest} steps and fewer are padded to {fewer} steps in place of "
            f"{steps}",
            "predictions that depend on the steps of a row, not on its padding",
            "key_padding_mask= for attention, True where padding is; pack_padded_sequence() for recurrent nets; means "
            'and maxima over the steps that are there. Where padding says something: ignore=("LB083",)',
        )


def _cut(leaf: Any, steps: int, fewer: int) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    for dim in range(1, leaf.ndim):
        if leaf.shape[dim] == steps:
            leaf = leaf.narrow(dim, 0, fewer)
    return leaf.clone()


def _alike(whole: Tensor, short: Tensor, steps: int, fewer: int, lengths: Tensor) -> tuple[Tensor, Tensor] | None:
    """What is to be the same in both: all of it, or what is said of the steps that are there."""
    if not whole.is_floating_point() or whole.ndim != short.ndim or not len(whole) == len(short) == len(lengths):
        return None
    if whole.shape == short.shape:
        return whole, short
    for dim in range(1, whole.ndim):
        a, b = whole.movedim(dim, 1), short.movedim(dim, 1)
        if a.shape[1] == steps and b.shape[1] == fewer and a.shape[2:] == b.shape[2:]:
            there = torch.arange(fewer, device=lengths.device) < lengths[:, None]
            return a[:, :fewer][there], b[there]
    return None


def _differ(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not one.numel() or not bool(one.isfinite().all()):
        return False
    scale = float(one.std()) if one.numel() > 1 else float(one.abs().max())
    return float((one - other).abs().max()) > _CHANGED * scale > 0


def _draws(subject: Subject, input: Any) -> bool:
    """Whether a prediction is drawn by chance: by the same generators, with rows in another order, it is another."""
    turned = map_leaves(lambda leaf: leaf.flip(0) if isinstance(leaf, Tensor) else leaf, input)
    once, again = tensors(subject.predict(input)), tensors(subject.predict(turned))
    return any(_differ(a, b.flip(0)) for a, b in zip(once, again, strict=False) if a.ndim)


@check("LB084", "warning", "Attention that does not see the order", unless=("LB057", "LB020"), costly=True)
def order_unseen(subject: Subject) -> Iterator[Found]:
    """A net with attention gives the same prediction when the tokens of a row are turned round, though it has something
    for their positions: all steps are given the same one. (Nothing is said of nets without positions of any kind: a set
    has no order.)"""
    input = subject.batch.input
    if not isinstance(input, Tensor) or input.is_complex() or input.ndim != (3 if input.is_floating_point() else 2):
        return
    steps, found = input.shape[1], subject.evaluated
    preds = tensors(found.pred)
    if found.failure is not None or steps < 4 or len(preds) != 1 or steps in preds[0].shape[1:]:
        return
    by_hand = any(call.name == "softmax" and getattr(call.result, "ndim", 0) >= 3 for call in found.forward)
    attends = by_hand or any(call.name == "scaled_dot_product_attention" for call in found.forward)
    if not attends and not any(isinstance(part, nn.MultiheadAttention) for part in subject.model.modules()):
        return
    if not _has_positions(subject.model, steps):
        return
    lengths = lengths_of(input)
    least = steps if lengths is None else int(lengths[: 2 * _ROWS].min())
    few = input[: 2 * _ROWS]
    turned = torch.cat([few[:, :least].flip(1), few[:, least:]], 1)
    if least < 3 or torch.equal(few, turned):
        return
    once, other = (tensors(subject.predict(one))[0] for one in (few, turned))
    scale = float(once.abs().max())
    if once.shape == other.shape and scale > 0 and float((once - other).abs().max()) <= _SAME * 10 * scale:
        yield Found(
            "the same predictions when the tokens of each row are turned round, from attention beside positions",
            "attention that knows at which step a token stands",
            "tokens + positions[:, :steps], with positions of shape (1, steps, width): not one row of it, nor one for "
            "each row of the batch",
        )


def _has_positions(model: nn.Module, steps: int) -> bool:
    """Whether there is a table of positions: by its name, as a second embedding, or as numbers that are not trained."""
    fixed = [one for one in model.buffers() if one.is_floating_point() and one.ndim in (2, 3)]
    if any(len(one.squeeze(0)) >= steps and one.shape[-1] != one.shape[-2] for one in fixed):
        return True
    tables = sum(isinstance(part, nn.Embedding) for part in model.modules())
    names = [name.rpartition(".")[2].lower() for name, _ in (*model.named_parameters(), *model.named_buffers())]
    return tables > 1 or any(name.startswith(_POSITIONS) for name in names)


@check("LB118", "warning", "Padding that the loss counts", unless=("LB023",))
def padding_judged(subject: Subject) -> Iterator[Found]:
    """Rows end in padding, the targets at these steps are one number in all rows, and the loss has a gradient by the
    predictions for them: much of what it shows, and of what is learned, is to say the padding. (The first step of
    padding is not looked at, since it may stand for the end of a sentence; nor are inputs that are to be given again.)
    """
    found, target = subject.evaluated, subject.batch.target
    if found.failure is not None or not isinstance(found.loss, Tensor) or not found.loss.requires_grad:
        return
    if not isinstance(target, Tensor) or target.ndim < 2 or len(target) != subject.batch.size:
        return
    parts = [one for one in tensors(subject.batch.input) if one.ndim >= 2 and len(one) == len(target)]
    known = [(one, lengths) for one in parts if (lengths := lengths_of(one)) is not None]
    known = [(one, lengths) for one, lengths in known if one.shape[1] == target.shape[1]]
    if not known or any(one.shape == target.shape and torch.equal(one, target) for one in parts):
        return
    steps, lengths = target.shape[1], torch.stack([one for _, one in known]).amax(0)
    behind = torch.arange(steps, device=lengths.device) > lengths[:, None]
    rest = target[behind]
    if float(behind.float().mean()) < _SHARE_JUDGED or not bool((rest == rest.flatten()[0]).all()):
        return
    preds = [one for one in tensors(found.pred) if one.requires_grad and one.is_floating_point()]
    try:
        slopes: Any = torch.autograd.grad(found.loss, preds, retain_graph=True, allow_unused=True)
    except RuntimeError:  # a graph that cannot be walked twice
        return
    for slope in slopes:
        counted = None if slope is None else _by_step(slope, len(target), steps)
        if counted is not None and float((counted[behind] != 0).float().mean()) > 0.9:
            share = float((counted[behind] != 0).sum()) / max(1, int((counted != 0).sum()))
            yield Found(
                f"a loss that counts padding: {share:.0%} of the steps that it judges",
                "a loss over the steps that are there",
                f"ignore_index={int(rest.flatten()[0])} in the loss; or (loss * mask).sum() / mask.sum()"
                if not target.is_floating_point()
                else 'reduction="none", and (loss * mask).sum() / mask.sum() over the steps that are there',
            )
            return


def _by_step(slope: Tensor, rows: int, steps: int) -> Tensor | None:
    """How large a gradient by predictions is at each step of each row, of shape (rows, steps)."""
    if len(slope) == rows * steps:
        return slope.reshape(rows, steps, -1).abs().amax(2)
    if len(slope) == rows:
        for dim in range(1, slope.ndim):
            if slope.shape[dim] == steps:
                return slope.movedim(dim, 1).reshape(rows, steps, -1).abs().amax(2)
    return None
