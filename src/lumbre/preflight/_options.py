"""What is chosen for a run beside module and data: what is watched, drawn, moved and gathered."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lumbre.preflight._recorder import CLASSES, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject

_TURNED = 2.0


@check("LB089", "warning", "The worst epoch taken for the best", several=True)
def wrong_end(subject: Subject) -> Iterator[Found]:
    """A callback takes the least of what is better where there is more of it, or the most of a loss: it
    keeps, or stops at, the worst epoch, or lowers the rate as long as the net learns."""
    for one in subject.chosen.watched:
        if one.mode != one.better:
            less = "less" if one.better == "min" else "more"
            yield Found(
                f"{one.callback}({one.value!r}, mode={one.mode!r}), where {less} of it is better",
                f"mode={one.better!r}",
                f"leave mode= out: {one.value} knows it by itself",
            )


@check("LB090", "warning", "Rare classes weighted twice")
def balanced_twice(subject: Subject) -> Iterator[Found]:
    """`sampler=` draws the rare classes more often, and the loss has larger weights for them, too: together they turn
    what they were to make even. Compared is how much each class counts in the loss of an epoch."""
    draws, target = subject.chosen.draws, subject.target
    if draws is None or not isinstance(target, Tensor) or target.is_floating_point() or len(target) != len(draws):
        return
    if target.ndim != 1 or int(target.min()) < 0:
        return
    for call in loss_inputs(subject.loss_calls, CLASSES):
        weight = call.argument(2, "weight")
        if (
            not isinstance(weight, Tensor)
            or call.target is not subject.batch.target
            or int(target.max()) >= len(weight)
        ):
            continue
        labels = target.cpu()
        rows = torch.bincount(labels, minlength=len(weight)).double()
        drawn = torch.zeros(len(weight), dtype=torch.double).index_add(0, labels, draws.detach().cpu().double())
        there = rows > 0
        by_loss = (weight.detach().cpu().double())[there]
        rows, drawn = rows[there], drawn[there]
        most, least = int(rows.argmax()), int(rows.argmin())
        both = drawn * by_loss
        # More than even where it began with less.
        tilted = drawn[least] / rows[least] > drawn[most] / rows[most] and by_loss[least] > by_loss[most]
        if rows[most] > _TURNED * rows[least] and tilted and both[least] > _TURNED * both[most]:
            times = float(both[least] / both[most])
            yield Found(
                f"rows drawn by sampler=, and class weights from {float(by_loss.min()):.3g} to "
                f"{float(by_loss.max()):.3g}: the rarest class counts {times:.1f} times as much as the most frequent",
                "one of the two",
                "nn.CrossEntropyLoss() without weight=, or fit() without sampler=",
            )


@check("LB091", "warning", "Pictures that are moved without their targets")
def moved_alone(subject: Subject) -> Iterator[Found]:
    """`augment=` flips or turns pictures, and the target, a number for each pixel, stays where it is."""
    if subject.chosen.moved_alone:
        yield Found(
            "transforms that flip or turn pictures, beside targets of their height and width that stay as they are",
            "masks that move with their pictures",
            'lumbre.vision.Augment([...], target="masks")',
        )


@check("LB092", "warning", "Updates that never gather what they are to gather")
def never_full(subject: Subject) -> Iterator[Found]:
    """An update is to come after more batches than an epoch has: there is one at the end of each epoch, and no more."""
    batches = subject.chosen.batches
    if batches is not None and subject.accumulated > batches >= 2:
        yield Found(
            f"an update after {subject.accumulated} batches, in epochs of {batches}",
            f"fewer batches for an update than the {batches} of an epoch",
            f"lumbre.callbacks.Accumulate({max(2, min(8, batches // 4))}), or a smaller batch_size",
        )
