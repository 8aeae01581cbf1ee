"""The rows: numbers, scales, what training and validation share."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from lumbre.base import leaves
from lumbre.preflight._labels import counted
from lumbre.preflight._recorder import CLASSES, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_ENOUGH, _OF_A_BATCH, _FEW_COLUMNS = 20, 8, 50
_MANY_LEVELS, _ROWS_OF_A_LEVEL = 30, 5


@check("LB002", "error", "NaN or infinite values", several=True)
def non_finite(subject: Subject) -> Iterator[Found]:
    """One NaN makes the loss NaN, and with it every weight."""
    parts = subject.columns or subject.seen or (subject.batch.input, subject.batch.target)
    known = "rows" if subject.columns is not None or subject.seen is None else "rows that were read"
    for name, part in zip(("input", "target"), parts, strict=True):
        for leaf in leaves(part):
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                continue
            # One pass without a mask as large as the data; only a sum that is not finite is worth a closer look.
            if torch.isfinite(leaf.sum(dtype=torch.float32 if leaf.dtype == torch.float16 else None)):
                continue
            bad = (~torch.isfinite(leaf)).reshape(leaf.shape[0], -1).any(1).nonzero()[:, 0].tolist()
            if bad:
                shown = ", ".join(map(str, bad[:5])) + (", ..." if len(bad) > 5 else "")
                yield Found(
                    f"NaN or infinite values in the {name}, in {len(bad)} of {leaf.shape[0]} {known}: {shown}",
                    "finite numbers",
                    "leave these rows out (x[torch.isfinite(x).all(1)]), or fill the missing values",
                )


@check("LB062", "warning", "A category for hardly more than a row", several=True)
def many_categories(subject: Subject) -> Iterator[Found]:
    """A column of names, numbers of customers or texts says which row it is, and nothing that holds for other rows.
    Told of are columns of text or categories with more than 30 levels and fewer than five rows for a level."""
    for name, levels in subject.categories.items():
        if subject.rows is not None and levels > _MANY_LEVELS and subject.rows < _ROWS_OF_A_LEVEL * levels:
            yield Found(
                f"a column {name!r} with {levels} different values in {subject.rows} rows",
                f"categories with {_ROWS_OF_A_LEVEL} rows or more each",
                f"leave {name!r} out of features; join rare values in one; or make numbers of it that mean something",
            )


@check("LB039", "warning", "Pictures that are not scaled")
def unscaled_pictures(subject: Subject) -> Iterator[Found]:
    """Grey values from 0 to 255 go straight into the first layer. Its weights are drawn for inputs of a size about
    1."""
    for input in _first_inputs(subject):
        low, high = (float(end) for end in input.aminmax())
        if input.ndim >= 3 and low >= 0 and 100 < high <= 255:
            yield Found(
                f"a first layer that is given pictures with values from {low:.3g} to {high:.3g}",
                "values from 0 to 1, or of mean 0 and spread 1",
                "x / 255; for pictures as uint8: x.float() / 255",
            )


@check("LB038", "warning", "Inputs on a wild scale")
def wild_scale(subject: Subject) -> Iterator[Found]:
    """A column of a size of thousands beside one of tens takes over the first layer, and the loss jumps; inputs far
    from zero with a small spread look all the same to it. Looked at is what the first layer with weights is given."""
    for input in _first_inputs(subject):
        low, high = (float(end) for end in input.aminmax())
        if input.ndim >= 3 and low >= 0 and 100 < high <= 255:
            continue  # unscaled pictures, which have a finding of their own
        features = input.reshape(-1, input.shape[-1]) if input.ndim <= 3 else input.reshape(-1, 1)
        size = features.float().square().mean(0).sqrt()
        largest = float(size.max())
        if largest > 30 or (float(size.max()) > 0 and max(-low, high) < 0.02):
            column = f"column {int(size.argmax())}" if len(size) > 1 else "values"
            yield Found(
                f"a first layer that is given numbers of a size from {float(size.min()):.3g} to {largest:.3g} "
                f"({column} from {low:.3g} to {high:.3g})",
                "columns of mean 0 and spread about 1",
                "(x - x.mean(0)) / x.std(0), with mean and spread of the training rows; or an nn.BatchNorm1d first",
            )


def _first_inputs(subject: Subject) -> Iterator[Tensor]:
    """What goes into layers with weights before any weight was used."""
    # Buffers hold statistics, which say nothing before the first step; without any, a pass with gradients is saved.
    found = subject.trained if next(subject.model.buffers(), None) is not None else subject.evaluated
    if found.failure is not None and not found.in_loss:
        return
    for call in found.layers:
        input = call.input.detach()
        plain = not call.input.requires_grad and input.is_floating_point() and input.ndim >= 2
        trained = any(parameter.requires_grad for parameter in call.layer.parameters())
        if plain and trained and input.numel() and input.shape[0] >= 2:
            yield input


@check("LB050", "warning", "Targets on a wild scale")
def wild_targets(subject: Subject) -> Iterator[Found]:
    """A net begins with outputs near 0. To targets in the thousands it has a long way, in steps of the learning rate,
    and squared errors are in the millions."""
    for call in subject.loss_calls:
        target = call.target
        if call.name not in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") or not isinstance(target, Tensor):
            continue
        size = float(target.detach().float().square().mean().sqrt())
        if size > 100 and any(target is one for one in tensors(subject.batch.target)):
            yield Found(
                f"targets of a size of {size:.3g}",
                "targets of mean 0 and spread about 1",
                "train on (y - y.mean()) / y.std(), and turn predictions back",
            )


@check("LB051", "hint", "Too few rows for the parameters")
def few_rows(subject: Subject) -> Iterator[Found]:
    """More than a thousand parameters for every target: a net that begins anew learns the rows by heart. One that was
    trained before may still be tuned with so few."""
    if subject.columns is None:
        return
    target = subject.columns[1]
    rows = min((len(leaf) for leaf in tensors(subject.columns[0])), default=0)
    labels = target.numel() if isinstance(target, Tensor) else rows
    trained = sum(one.numel() for one in subject.model.parameters() if one.requires_grad)
    if rows and trained > 1000 * max(labels, rows):
        yield Found(
            f"{trained:,} parameters to train, on {rows:,} rows",
            "fewer parameters, or more rows",
            "a smaller net; lumbre.freeze() for the body of a net that was trained before; dropout, weight decay, "
            "augment=...",
        )


@check("LB037", "warning", "Columns that say nothing, or the same", several=True)
def idle_columns(subject: Subject) -> Iterator[Found]:
    """A column that never changes, or stands there twice, mostly comes from a mistake in how the table was made."""
    for leaf in [] if subject.columns is None else tensors(subject.columns[0]):
        if leaf.ndim != 2 or not leaf.is_floating_point() or not 2 <= leaf.shape[1] <= _FEW_COLUMNS:
            continue
        if bool(((leaf == 0) | (leaf == 1)).all()) and bool((leaf.diff(dim=1) <= 0).all()):
            continue  # a mask of padding: the first steps are there in every row
        rows = leaf[:: max(1, len(leaf) // 20_000)]
        if len(rows) < _ENOUGH:
            continue
        constant = (rows[:_ENOUGH] == rows[0]).all(0)
        if constant.any():
            constant = (rows == rows[0]).all(0)
        first, still_there = rows[0].tolist(), constant.tolist()
        twins = [
            (one, two)
            for one in range(rows.shape[1])
            for two in range(one + 1, rows.shape[1])
            if first[one] == first[two] and not still_there[one] and bool((rows[:, one] == rows[:, two]).all())
        ]
        twins = [pair for pair in twins if rows[:, pair[0]].unique().numel() > 2]
        still = [at for at in constant.nonzero()[:, 0].tolist() if float(rows[0, at]) != 0]
        if (still or twins) and not bool(constant.all()):
            said = [f"columns {one} and {two} are the same" for one, two in twins[:3]]
            said += [f"column {at} is {float(rows[0, at]):g} in every row" for at in still[:3]]
            yield Found("; ".join(said), "columns that differ", "leave them out")


@check("LB093", "warning", "Inputs that are the same in every row", unless=("LB037",))
def same_inputs(subject: Subject) -> Iterator[Found]:
    """All rows that were read, or all of the first batch, have the same input: an index that is not used, a division of
    whole numbers that gives 0, a picture that was not read, one buffer that is returned for each row. (Looked at where
    the loss compares predictions with targets that differ.)"""
    batch, calls, read = subject.batch, subject.loss_calls, subject.seen
    if read is None or not any(call.is_loss and call.target is batch.target for call in calls):
        return
    varied = [_share_of_the_first(one) < 0.5 for one in tensors(read[0]) if one.ndim and len(one)]
    for input, target, few in ((*read, _ENOUGH), (batch.input, batch.target, _OF_A_BATCH)):
        parts, targets = tensors(input), tensors(target)
        if not parts or any(not one.ndim or len(one) < few or not one.numel() for one in (*parts, *targets)):
            return
        differ = any(bool((one != one[:1]).any()) for one in targets)
        if input is batch.input and not (differ and any(varied)):  # rows that are nearly all the same may fill a batch
            return
        if all(_share_of_the_first(one) == 1 for one in parts):
            alike = bool((parts[0] == parts[0].flatten()[0]).all())
            yield Found(
                f"the same input in all {len(parts[0])} rows"
                + (f": {parts[0].flatten()[0].item():g} throughout" if alike else ""),
                "inputs that differ between rows",
                "look at what the data set does with its index, at a buffer that it returns for each row (.clone()), "
                "and at whole-number division (x.float() / 255)",
            )
            return


def _share_of_the_first(part: Tensor) -> float:
    """How many rows are as the first one; of most sets, few of some that are asked first."""
    few = part[:: max(1, len(part) // 50)]
    share = float((few == few[:1]).reshape(len(few), -1).all(1).float().mean())
    return (
        share
        if share < 0.5 or len(few) == len(part)
        else float((part == part[:1]).reshape(len(part), -1).all(1).float().mean())
    )


@check("LB041", "warning", "Rows in training and in validation", several=True)
def shared_rows(subject: Subject) -> Iterator[Found]:
    """Rows that were trained on tell nothing about new ones. Compared are whole inputs, exactly, before augmentation;
    of data sets that read their rows from elsewhere some rows, and the numbers of all where both sets are parts of one;
    of streams the first batches."""
    for name, other in subject.judged.items():
        if name in subject.twice:
            shared, rows = subject.twice[name]
            if shared >= 2 and shared >= 0.01 * rows:
                yield _shared_found(shared, rows, name)
            continue
        if subject.seen is None or other is None:
            continue
        pairs = list(zip(tensors(subject.seen[0]), tensors(other[0]), strict=False))
        if not pairs or sum(a.numel() + b.numel() for a, b in pairs) > subject.most_numbers:
            continue
        if not all(a.shape[1:] == b.shape[1:] and a.dtype == b.dtype for a, b in pairs):
            continue
        train = torch.cat([a.reshape(len(a), -1).double() for a, _ in pairs], 1)
        held = torch.cat([b.reshape(len(b), -1).double() for _, b in pairs], 1)
        shared = _shared(train, held)
        if shared >= 2 and shared >= 0.01 * len(held):
            yield _shared_found(shared, len(held), name)


def _shared_found(shared: int, rows: int, name: str) -> Found:
    return Found(
        f"{shared} of {rows} {name} rows that are training rows too",
        "rows that were never trained on",
        "take doubles out before splitting (torch.unique(x, dim=0)), and split once",
    )


def _shared(train: Tensor, held: Tensor) -> int:
    columns = train[:, :: max(1, train.shape[1] // 12)]
    # Few columns of few values repeat by chance.
    possible = sum(float(torch.log10(torch.tensor(float(c.unique().numel())))) for c in columns[:5000].unbind(1))
    if possible < 2 * float(torch.log10(torch.tensor(float(len(train) + 1)))) + 1:
        return 0
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(train.shape[1], generator=generator, dtype=torch.float64).to(train.device)
    keys, order = (train * weights).sum(1).sort()
    wanted = (held * weights).sum(1)
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    found = torch.zeros(len(held), dtype=torch.bool, device=held.device)
    for step in (-1, 0, 1):  # sums of the same numbers may differ in their last bit
        near = (at + step).clamp(0, len(keys) - 1)
        hits = ((keys[near] - wanted).abs() <= 1e-12 * wanted.abs() + 1e-12).nonzero()[:, 0]
        if hits.numel():
            found[hits] |= (train[order[near[hits]]] == held[hits]).all(1)
    return int(found.sum())


@check("LB046", "warning", "One set to validate and to test on")
def test_validates(subject: Subject) -> Iterator[Found]:
    """Who looks at validation figures to choose a model has fitted it to these rows too: what is measured on them
    again is too good. Looked at when `recipe.check(..., test_data=...)` is told of the test set."""
    for name, pair in subject.judged.items():
        if name == "test" or pair is None or subject.seen_test is None:
            continue
        pairs = list(zip(tensors(pair[0]), tensors(subject.seen_test[0]), strict=False))
        if pairs and all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs):
            yield Found(
                f"a test set that is the {name} set",
                "rows for the last test that nothing was chosen by",
                "valid_data=0.2 cuts validation rows from the training rows",
            )


_MOST_COMPARED, _MOST_MOVED = 200, 12


@check("LB042", "warning", "Validation rows of another kind")
def shift(subject: Subject) -> Iterator[Found]:
    """Validation rows do not come from where the training rows came: another data set, another scaling, other classes.
    Compared are classes, the middle and spread of each column and of measured targets, the order of columns, and for
    pictures how light, how contrasted and how rough they are (Kolmogorov and Smirnov's distance, at a chance of about
    one in a million)."""
    if subject.columns is None or subject.valid is None:
        return
    said = _other_classes(subject)
    for a, b in zip(tensors(subject.columns[0]), tensors(subject.valid[0]), strict=False):
        if said or a.shape[1:] != b.shape[1:] or a.dtype != b.dtype or min(len(a), len(b)) < 30 or a.is_complex():
            break
        a, b = (one[torch.linspace(0, len(one) - 1, min(len(one), 2000)).long()] for one in (a, b))
        if a.ndim == 2 and a.is_floating_point() and a.shape[1] <= 5000:
            said = _column_shift(a.float(), b.float()) or _changed_places(a.float(), b.float())
        elif a.ndim in (3, 4) and min(a.shape[-2:]) >= 8:
            said = _picture_shift(a.float(), b.float())
    said = said or _target_shift(subject)
    if said:
        yield Found(
            said,
            "validation rows drawn as the training rows were",
            "valid_data=0.2; or scale both with the mean and spread of the training rows",
        )


def _other_classes(subject: Subject) -> str:
    if subject.columns is None or subject.valid is None:
        return ""
    ours, theirs = subject.columns[1], subject.valid[1]
    if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor) or ours.numel() != len(ours):
        return ""
    if ours.is_floating_point() or not loss_inputs(subject.loss_calls, CLASSES) or theirs.is_floating_point():
        return ""
    calls = loss_inputs(subject.loss_calls, CLASSES)
    theirs = counted(calls[0], theirs, whole=calls[0].target is subject.batch.target)
    new = theirs[~torch.isin(theirs, ours)]
    if new.numel() >= 5 and new.numel() > 0.05 * theirs.numel():
        return f"validation labels that no training row has: {new.unique()[:5].tolist()}"
    kinds, counts = ours.unique(return_counts=True)
    shares = counts.double() / max(1, ours.numel())
    # By chance alone no more than one set in a million has none of them.
    absent = (1 - shares).log() * theirs.numel() < math.log(1e-6)
    absent &= ~torch.isin(kinds, theirs)
    if bool(absent.any()) and theirs.numel():
        return (
            f"no validation row of class {kinds[absent][0].item()}, of which {float(shares[absent][0]):.0%} of the "
            "training rows are"
        )
    return ""


def _target_shift(subject: Subject) -> str:
    """Targets that are measured in another unit."""
    if subject.columns is None or subject.valid is None:
        return ""
    ours, theirs = subject.columns[1], subject.valid[1]
    if not isinstance(ours, Tensor) or not isinstance(theirs, Tensor) or ours.shape[1:] != theirs.shape[1:]:
        return ""
    if (
        not ours.is_floating_point()
        or not theirs.is_floating_point()
        or ours.ndim > 2
        or min(len(ours), len(theirs)) < 30
    ):
        return ""
    a, b = ours.float().reshape(len(ours), -1), theirs.float().reshape(len(theirs), -1)
    spread, other = (float(one.quantile(0.9) - one.quantile(0.1)) for one in (a[:, 0], b[:, 0]))
    # The last part of a series that rises is narrower, and lies higher.
    differ = abs(float(a[:, 0].median() - b[:, 0].median())) > spread > 0 or other > 4 * spread > 0
    return f"targets, {_column_shift(a[:, :1], b[:, :1])}" if differ else ""


def _changed_places(a: Tensor, b: Tensor) -> str:
    """Columns whose numbers are spread as those of another column are, and those of that one as theirs."""
    if not 2 <= a.shape[1] <= _MOST_COMPARED:
        return ""
    limit = 2.7 * ((len(a) + len(b)) / (len(a) * len(b))) ** 0.5
    moved = [at for at in range(a.shape[1]) if _ks(a[:, at], b[:, at]) > limit]
    if not 2 <= len(moved) <= _MOST_MOVED:
        return ""
    distance = torch.tensor([[_ks(a[:, one], b[:, two]) for two in moved] for one in moved])
    best = distance.argmin(1).tolist()
    if sorted(best) != list(range(len(moved))) or float(distance.amin(1).max()) > limit / 2:
        return ""
    pairs = ", ".join(f"{moved[two]} as {one} in training" for one, two in zip(moved, best, strict=True))
    return f"columns in another order in the validation rows: {pairs}"


def _column_shift(a: Tensor, b: Tensor) -> str:
    q = torch.tensor([0.1, 0.5, 0.9], device=a.device)
    (low, mid, high), (low_b, mid_b, high_b) = a.quantile(q, dim=0), b.quantile(q, dim=0)
    spread, spread_b = high - low, high_b - low_b
    moved = ((mid_b - mid).abs() > spread) & (spread > 0)
    ratio = spread_b / spread.clamp(min=1e-30)
    other = ((ratio > 4) | (ratio < 0.25)) & (spread > 0) & (spread_b > 0)
    found = (moved | other).nonzero()[:, 0].tolist()
    if not found:
        return ""
    at = int(found[0])
    return (
        f"column {at}: {float(low[at]):.3g} to {float(high[at]):.3g} in most training rows, "
        f"{float(low_b[at]):.3g} to {float(high_b[at]):.3g} in most validation rows"
    )


def _picture_shift(a: Tensor, b: Tensor) -> str:
    limit = max(0.25, 2.7 * ((len(a) + len(b)) / (len(a) * len(b))) ** 0.5)
    for name, number in (("lightness", _lightness), ("contrast", _contrast), ("roughness", _roughness)):
        distance = _ks(number(a), number(b))
        if distance > limit:
            return f"pictures whose {name} differs between training and validation (distance {distance:.2f} of 1)"
    if a.ndim == 4 and a.shape[1] in (2, 3, 4):  # such as red and blue that have changed places
        for channel in range(a.shape[1]):
            distance = _ks(_share(a, channel), _share(b, channel))
            if distance > limit:
                return f"pictures whose channel {channel}, beside the others, differs between training and validation"
    return ""


def _lightness(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)


def _share(x: Tensor, channel: int) -> Tensor:
    """How light a channel is, beside all."""
    return x[:, channel].flatten(1).mean(1) - x.flatten(1).mean(1)


def _contrast(x: Tensor) -> Tensor:
    return x.flatten(1).std(1)


def _roughness(x: Tensor) -> Tensor:
    return (x[..., 1:] - x[..., :-1]).abs().flatten(1).mean(1) / (x.flatten(1).std(1) + 1e-12)


def _ks(a: Tensor, b: Tensor) -> float:
    """The distance of two distributions: the greatest difference of their cumulated shares."""
    a, b = a.sort().values, b.sort().values
    at = torch.cat([a, b])
    share = [torch.searchsorted(one, at, right=True).double() / len(one) for one in (a, b)]
    return float((share[0] - share[1]).abs().max())
