"""Training rows that stand in validation in another form; validation rows scaled, or labelled, by themselves."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lumbre.preflight._recorder import BINARY, CLASSES, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_MOST_ROWS, _FEWEST_TRAINED, _FEWEST_HELD = 1_500, 100, 20
_FEWEST_NUMBERS, _DIRECTIONS, _NEIGHBOUR = 6, 48, 12
_NEAR, _BETWEEN, _FAR, _SHARE, _FEWEST_NEAR = 0.05, 0.2, 0.3, 0.05, 5
_SHARE_OVERLAPPING, _FEWEST_STEPS = 0.3, 6


def _single(pair: Any) -> Tensor | None:
    """The input of a set, where it is one tensor of floats."""
    parts = [] if pair is None else tensors(pair[0])
    one = parts[0] if len(parts) == 1 else None
    return one.detach() if one is not None and one.is_floating_point() and one.ndim >= 2 else None


@check("LB086", "warning", "Validation rows that are nearly training rows", unless=("LB041", "LB042"), several=True)
def nearly_shared(subject: Subject) -> Iterator[Found]:
    """Windows of one series that overlap, split at random: most steps of a validation window were trained on. Or copies
    with a little noise, or mirror images, made before the split. (Copies are rows a twentieth as far from a training
    row as two rows are from each other, where others are far from all: of pictures and sequences, not of tables. A
    split in time, whose windows meet at its border alone, is meant.)"""
    train = _single(subject.seen)
    for name, pair in subject.judged.items():
        held = _single(pair)
        if train is None or held is None or train.shape[1:] != held.shape[1:] or train.dtype != held.dtype:
            continue
        if train.numel() + held.numel() > subject.most_numbers or min(len(train), len(held)) < _FEWEST_HELD:
            continue
        if not bool(torch.isfinite(train.sum() + held.sum())):
            continue
        said = _windows(train, held)
        if said is None and len(train) >= _FEWEST_TRAINED:
            said = _copies(train, held)
        if said is not None:
            yield Found(
                f"{said} ({name})",
                "rows for validation that are new: figures of these are too good",
                'split first, then cut windows or augment: lumbre.split(data, 0.8, 0.2, ordered="date") or '
                'group="patient"; augment=... changes training rows only',
            )


def _windows(train: Tensor, held: Tensor) -> str | None:
    """What is said of windows whose steps stand in windows that are trained on."""
    if train.ndim not in (2, 3) or train.shape[1] < _FEWEST_STEPS:
        return None
    ours, theirs = (_triples(one.double().reshape(len(one), one.shape[1], -1)) for one in (train, held))
    keys = ours[ours.isfinite()].sort().values
    if not len(keys) or int(theirs.isfinite().sum()) < 0.5 * theirs.numel():
        return None
    at = torch.searchsorted(keys, theirs).clamp(max=len(keys) - 1)
    near = torch.stack([(keys[(at + step).clamp(0, len(keys) - 1)] - theirs).abs() for step in (-1, 0)]).amin(0)
    shared = (near <= 1e-12 * theirs.abs()) & theirs.isfinite()
    overlapping = shared.double().mean(1) >= 0.5
    rows = overlapping.nonzero()[:, 0]
    share = float(overlapping.double().mean())
    if share < _SHARE_OVERLAPPING:
        return None
    length = held.shape[1]
    if int(rows.max()) - int(rows.min()) < length and len(rows) <= length:
        return None  # a split in time: windows meet at its border
    return f"{len(rows)} of {len(held)} windows of which half the steps or more are steps of training windows"


def _triples(x: Tensor) -> Tensor:
    """A number for each three steps in a row, (rows, steps - 2); NaN where the three are not different."""
    weights = torch.rand(3, x.shape[2], generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(x.device)
    parts = [x[:, at : x.shape[1] - 2 + at] for at in range(3)]
    different = (parts[0] != parts[1]).any(2) & (parts[1] != parts[2]).any(2) & (parts[0] != parts[2]).any(2)
    keys = sum(((part * weights[at]).sum(2) for at, part in enumerate(parts)), torch.zeros(()).to(x))
    return torch.where(different, keys, torch.nan)


def _copies(train: Tensor, held: Tensor) -> str | None:
    """What is said of pictures and sequences much nearer to a training row than rows are to one another."""
    if train.ndim < 3 or train[0].numel() < _FEWEST_NUMBERS:  # a table may hold points of a curve
        return None
    a, b = (one[torch.linspace(0, len(one) - 1, min(len(one), _MOST_ROWS)).long()].float() for one in (train, held))
    mirrored = [("mirror images of", b.flip(-1))] if a.ndim == 4 else []
    for what, rows in (("copies, but for a little noise, of", b), *mirrored):
        near = _near(a.flatten(1), rows.flatten(1))
        if near >= _FEWEST_NEAR and near >= _SHARE * len(rows):
            return f"{near} of {len(rows)} rows that are {what} training rows"
    return None


def _near(train: Tensor, held: Tensor) -> int:
    """How many rows lie a twentieth of the usual distance from a training row, and far from all but a few."""
    generator = torch.Generator().manual_seed(0)
    size = train.shape[1]
    a, b = train - train.mean(0), held - train.mean(0)
    if size > _DIRECTIONS:  # distances between projections are about those between the rows
        way = torch.randn(size, _DIRECTIONS, generator=generator).to(a) / _DIRECTIONS**0.5
        a, b = a @ way, b @ way
    usual = float(torch.cdist(a[:300], a[-300:]).median())
    nearest = torch.cdist(b, a).topk(_NEIGHBOUR, largest=False)
    alone = nearest.values[:, -1] > _FAR * usual
    found = (alone & (nearest.values[:, 0] < 1.5 * _NEAR * usual)).nonzero()[:, 0]
    between = int(((nearest.values[:, 0] >= 1.5 * _NEAR * usual) & (nearest.values[:, 0] < _BETWEEN * usual)).sum())
    if not len(found) or usual == 0 or between > 0.2 * len(found):  # points of a curve lie at any distance
        return 0
    true = float(torch.cdist(train[:100], train[-100:]).median())
    exact = (held[found] - train[nearest.indices[found, 0]]).norm(dim=1)
    return int((exact < _NEAR * true).sum())


@check("LB087", "warning", "Validation rows scaled by themselves", several=True)
def scaled_by_themselves(subject: Subject) -> Iterator[Found]:
    """Every column of the validation rows has exactly mean 0 and spread 1, or ends exactly at 0 and 1, as those of the
    training rows have: each set was scaled by its own statistics. A column then means something else in both, and one
    row alone cannot be scaled at all."""
    train = _single(subject.seen)
    for name, pair in subject.judged.items():
        held = _single(pair)
        if train is None or held is None or train.ndim != 2 or held.shape[1:] != train.shape[1:]:
            continue
        if train.shape[1] < 2 or len(train) < 50 or len(held) < _FEWEST_HELD or train.numel() > subject.most_numbers:
            continue
        for exact, how in (
            (_standard, "mean 0 and spread 1"),
            (_from_0_to_1, "a smallest value of 0 and a largest of 1"),
        ):
            if exact(train) and exact(held):
                yield Found(
                    f"{name} columns with exactly {how}, as the training columns have",
                    "both scaled by statistics of the training rows",
                    "scaler.fit(train), then scaler.transform() of both: not fit_transform() of each",
                )
                break


def _standard(x: Tensor) -> bool:
    x = x.double()
    means, spreads = x.mean(0), torch.stack([x.std(0, correction=one) for one in (0, 1)])
    varied = spreads[0] > 0
    exact = (means.abs() < 1e-4) & ((spreads - 1).abs() < 1e-4).any(0)
    return int(varied.sum()) >= 2 and bool(exact[varied].all())


def _from_0_to_1(x: Tensor) -> bool:
    low, high = x.amin(0), x.amax(0)
    # Each end is reached by one row: numbers that are cut off there, and shares, are reached by several or by none.
    once = ((x == low).sum(0) == 1) & ((x == high).sum(0) == 1)
    return x.shape[1] >= 3 and bool(((low.abs() < 1e-6) & ((high - 1).abs() < 1e-6) & once).all())


@check("LB088", "warning", "Validation labels in another order", unless=("LB042", "LB063"), several=True)
def relabelled(subject: Subject) -> Iterator[Found]:
    """The nearest middle of a training class names most rows of the training set by their label, and most validation
    rows by another one, always the same for a class: labels were numbered for each set by itself. (Classes that do not
    lie around a middle are not looked at.)"""
    train = _single(subject.seen)
    if train is None or not loss_inputs(subject.loss_calls, (*CLASSES, *BINARY)):
        return
    for name, pair in subject.judged.items():
        held = _single(pair)
        if held is None or held.shape[1:] != train.shape[1:] or train.numel() > subject.most_numbers:
            continue
        labels = [_labels(one[1], len(one[0])) for one in (subject.seen, pair) if one is not None]
        if len(labels) != 2 or any(one is None for one in labels):
            continue
        said = _renumbered(train.flatten(1).float(), labels[0], held.flatten(1).float(), labels[1])
        if said is not None:
            yield Found(
                f"{name} labels {said} where rows look like those of another label in training",
                "one numbering of classes for both sets",
                "encoder.fit(train), then encoder.transform() of both; or class names in a frame: from_frame(...)",
            )


def _labels(target: Any, rows: Any) -> Tensor | None:
    if not isinstance(target, Tensor) or target.numel() != len(target) or target.is_complex():
        return None
    flat = target.detach().flatten()
    return flat.long() if bool((flat == flat.round()).all()) and float(flat.abs().max()) < 1e6 else None


def _renumbered(x: Tensor, y: Any, held: Tensor, wanted: Any) -> str | None:
    """Labels and what they seem to be, where that is a turn of the labels and holds for most rows of each."""
    classes, counts = y.unique(return_counts=True)
    if not 2 <= len(classes) <= 20 or int(counts.min()) < 5 or len(wanted) < 30:
        return None
    spread = x.std(0).clamp(min=1e-9)
    middles = torch.stack([x[y == one].mean(0) for one in classes]) / spread

    def table(rows: Tensor, labels: Tensor) -> Tensor:
        said = torch.cdist(rows / spread, middles).argmin(1)
        return torch.stack([torch.bincount(said[labels == one], minlength=len(classes)).double() for one in classes])

    own, other = table(x, y), table(held, wanted)
    rows = other.sum(1)
    if int(rows.min()) < 5 or not bool(torch.isin(wanted, classes).all()):
        return None
    to, share = other.argmax(1), other.amax(1) / rows
    same = torch.arange(len(classes), device=to.device)
    sure = bool((own.diagonal() > 0.6 * own.sum(1)).all()) and bool((share > 0.6).all())
    if not sure or to.unique().numel() != len(to) or bool((to == same).all()):
        return None
    moved = [f"{int(classes[at])}" for at in (to != same).nonzero()[:, 0].tolist()]
    return ", ".join(moved[:5])
