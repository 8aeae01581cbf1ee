"""Is the answer in the question? The target, or a function of it, among the inputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lumbre.base import map_leaves
from lumbre.preflight._recorder import BINARY, CLASSES, ELEMENTWISE, loss_inputs
from lumbre.preflight._registry import Found, check
from lumbre.preflight._subject import Subject, tensors

_ENOUGH, _MANY, _FEW_OF_A_CLASS = 50, 100, 20
_MOST_COLUMNS, _MOST_OUTPUTS, _FURTHEST = 5_000, 20, 3


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of an input, and where they stand in it.

    Attributes:
        values: (rows, columns).
        place: in words, with `{}` for the number of the column.
        before: the columns one step earlier, in a sequence.
    """

    values: Tensor
    place: str = "column {} of the input"
    before: Tensor | None = None


def columns_of(leaf: Tensor) -> list[Columns]:
    """The columns of a table; of a sequence, those of its last step."""
    if leaf.ndim == 2 and leaf.is_floating_point():
        return [Columns(leaf)] if leaf.shape[1] > 1 else []
    if leaf.ndim == 2:
        return [Columns(leaf[:, -1:], "the last step of the input")] if leaf.shape[1] > 1 else []
    if leaf.ndim == 3 and min(leaf.shape[1:]) >= 1:
        return [
            Columns(steps[:, -1], f"column {{}} of the {name} of the input", steps[:, -2])
            for steps, name in (
                (leaf, "last step"),
                (leaf.transpose(1, 2), "last step (of the last dimension)"),
            )
            if steps.shape[1] > 1
        ]
    return []


@check("LB043", "warning", "The target among the inputs")
def target_leak(subject: Subject) -> Iterator[Found]:
    """One column of the input, or of the last step of a sequence, is the target, a line through it, or rises with it
    without exception; or it parts the classes: the net reads the answer off. So it does from a single pixel, from a row
    number of rows that lie class by class, and from windows that end with the steps to predict. At the time of a real
    prediction that column will not be there. (Nothing is said of a threshold at a round number, or with a wide gap:
    small programs make their targets so; of several columns that rise with the target, as the steps before in a series
    that grows; and of targets that all go along with an input, as a state and the one that follows.)"""
    if subject.seen is None or not isinstance(subject.seen[1], Tensor) or subject.seen[1].is_complex():
        return
    target = subject.seen[1].byte() if subject.seen[1].dtype == torch.bool else subject.seen[1]
    if not len(target) or len(target) < _ENOUGH or target.numel() > _MOST_OUTPUTS * len(target):
        return
    every = target.reshape(len(target), -1)
    for leaf in tensors(subject.seen[0]):
        if leaf.numel() > subject.most_numbers or leaf.is_complex() or len(leaf) != len(target):
            continue
        said = _in_last_steps(leaf, target) or _in_a_pixel(subject, leaf, target)
        said = said or _in_row_number(subject, leaf, target)
        if said:
            yield Found(said, "inputs that are known when the target is not", "leave this part of the input out")
            return
        if every.shape[1] > 1 and leaf.shape[1:] == target.shape[1:]:
            continue  # an input that is to be made again
        if target.ndim > 1 and leaf.ndim > 2 and 1 < leaf.shape[1] == target.shape[1]:
            continue  # a target for each step, which may be the step that follows
        for columns in columns_of(leaf):
            if columns.values.shape[1] > _MOST_COLUMNS or (every.shape[1] > 1 and _goes_on(columns.values, every)):
                continue
            for output in range(every.shape[1]):
                found = _says(subject, columns, every[:, output], single=every.shape[1] == 1)
                if found is not None:
                    yield found
                    return


def _says(subject: Subject, columns: Columns, y: Tensor, *, single: bool) -> Found | None:
    classes = single and (bool(loss_inputs(subject.loss_calls, CLASSES)) or (y.unique().numel() == 2))
    column: int | None = None
    how = ""
    for step in (max(1, len(y) // 2_000), 1):  # what does not hold for some rows does not hold for all
        x, some = columns.values[::step].double(), y[::step].contiguous()
        how = "says the target exactly"
        column = _one_to_one(x, some) if classes else _linear(x, some.double())
        if column is None and columns.values.is_floating_point():
            if classes:
                column, how = _parts(x, some), "parts the classes without exception"
            else:
                before = None if columns.before is None else columns.before[::step].double()
                column, how = _rises(x, some.double(), before), "rises, or falls, with the target without exception"
        if column is None:
            return None
    assert column is not None
    place = columns.place.format(column)
    return Found(
        f"{place}, which {how}",
        "inputs that are known when the target is not",
        f"leave {place.removesuffix(' of the input')} out; windows end before the step that is to be predicted",
    )


def _in_last_steps(leaf: Tensor, target: Tensor) -> str:
    """What is said of several steps to predict that are the last steps of the input."""
    if leaf.ndim != 3 or target.ndim not in (2, 3) or not leaf.is_floating_point() or leaf.dtype != target.dtype:
        return ""
    count = target.shape[1]
    if not 2 <= count < leaf.shape[1] or leaf.shape[2] > _MOST_COLUMNS:
        return ""
    wide = target if target.ndim == 3 else target[:, :, None]
    last = leaf[:, -count:]
    if wide.shape[2] not in (1, leaf.shape[2]) or bool((wide == wide[:1]).all()):
        return ""
    same = [bool((last[:, :, at] == wide[:, :, at if wide.shape[2] > 1 else 0]).all()) for at in range(leaf.shape[2])]
    if all(same) if wide.shape[2] > 1 else any(same):
        return f"the last {count} steps of the input, which are the {count} steps that are to be predicted"
    return ""


def _in_a_pixel(subject: Subject, leaf: Tensor, target: Tensor) -> str:
    """What is said of a pixel that says the target; of more than one at a place, pictures may be made so."""
    single = target.numel() == len(target) >= _MANY
    if leaf.ndim != 4 or not single or leaf[0].numel() > _MOST_COLUMNS or not leaf.is_floating_point():
        return ""
    y = target.flatten()
    classes = bool(loss_inputs(subject.loss_calls, CLASSES)) or y.unique().numel() == 2
    for step in (max(1, len(y) // 500), 1):
        x = leaf[::step].flatten(1).double()
        fits = _one_to_one_columns(x, y[::step]) if classes else _linear_columns(x, y[::step].double())
        if not 1 <= len(fits) <= min(3, leaf.shape[1]) or len({at % leaf[0, 0].numel() for at in fits}) != 1:
            return ""
    height, width = divmod(fits[0] % leaf[0, 0].numel(), leaf.shape[3])
    return f"the pixel in row {height} and column {width} of the pictures, which says the target exactly"


def _in_row_number(subject: Subject, leaf: Tensor, target: Tensor) -> str:
    """What is said of a column that numbers rows which lie class by class."""
    if leaf.ndim != 2 or not leaf.is_floating_point() or not 2 <= leaf.shape[1] <= _MOST_COLUMNS:
        return ""
    if target.numel() != len(target) or not loss_inputs(subject.loss_calls, (*CLASSES, *BINARY)):
        return ""
    y = target.flatten()
    labels, counts = y.unique(return_counts=True)
    if len(y) < _MANY or not 2 <= len(labels) <= 10 or int(counts.min()) < _FEW_OF_A_CLASS:
        return ""
    if int((y[1:] != y[:-1]).sum()) != len(labels) - 1:
        return ""
    x = leaf.double()
    even = torch.linspace(0, 1, len(x), dtype=torch.double, device=x.device)[:, None] * (x[-1] - x[0]) + x[0]
    numbers = ((x - even).abs().amax(0) < 1e-3 * (x[-1] - x[0]).abs() / len(x)).nonzero()[:, 0].tolist()
    if not numbers:
        return ""
    return f"column {numbers[0]} of the input, which numbers the rows, that lie class by class"


def _one_to_one(x: Tensor, y: Tensor) -> int | None:
    """The column that has one value for each class, and another for each."""
    found = _one_to_one_columns(x, y)
    return found[0] if found else None


def _one_to_one_columns(x: Tensor, y: Tensor) -> list[int]:
    labels, number = y.unique(return_inverse=True)
    if not 2 <= labels.numel() <= 100:
        return []
    first = torch.stack([x[(y == label).nonzero()[0, 0]] for label in labels])
    fits = (x == first[number]).all(0)
    columns = fits.nonzero()[:, 0].tolist()
    return [int(column) for column in columns if first[:, column].unique().numel() == labels.numel()]


def _goes_on(x: Tensor, y: Tensor) -> bool:
    """Whether each of several targets is much like a column, but not all are the same as one: a state that moves on."""
    step = max(1, len(y) // 2_000)
    a, b = (one[::step].double() - one[::step].double().mean(0) for one in (x, y))
    norms = a.norm(dim=0)[:, None] * b.norm(dim=0)
    like = ((a.T @ b).abs() / norms.clamp(min=1e-300)).amax(0)
    return bool((like > 0.9).all()) and bool((like < 1 - 1e-10).any())


def _linear(x: Tensor, y: Tensor) -> int | None:
    found = _linear_columns(x, y)
    return found[0] if found else None


def _linear_columns(x: Tensor, y: Tensor) -> list[int]:
    dx, dy = x - x.mean(0), y - y.mean()
    norm = dx.norm(dim=0) * dy.norm()
    same = ((dx * dy[:, None]).sum(0).abs() > 0.999999 * norm) & (norm > 0)
    return [int(one) for one in same.nonzero()[:, 0].tolist()]


def _rises(x: Tensor, y: Tensor, before: Tensor | None) -> int | None:
    """The one column whose order of rows is that of the target, or the opposite; with many different values.

    Where others do so, too, or the same one a step before, they are powers of one number, or a series that grows.
    """
    if len(y) < _MANY or y.unique().numel() < 0.5 * len(y):
        return None
    steps = (x if before is None else torch.cat([x, before], 1))[y.argsort()].diff(dim=0)
    in_order = ((steps >= 0).all(0) | (steps <= 0).all(0)) & ((steps != 0).double().mean(0) > 0.5)
    found = in_order.nonzero()[:, 0].tolist()
    return int(found[0]) if len(found) == 1 and found[0] < x.shape[1] else None


def _parts(x: Tensor, y: Tensor) -> int | None:
    """The one column in which the classes lie apart, unless a small program may well mean it so."""
    labels, counts = y.unique(return_counts=True)
    if len(y) < _MANY or not 2 <= labels.numel() <= 10 or int(counts.min()) < _FEW_OF_A_CLASS:
        return None
    low = torch.stack([x[y == label].amin(0) for label in labels])
    high = torch.stack([x[y == label].amax(0) for label in labels])
    order = low.argsort(0)
    gaps = low.gather(0, order)[1:] - high.gather(0, order)[:-1]
    gapped = (gaps > 0).all(0).nonzero()[:, 0].tolist()
    if len(gapped) != 1:  # several: classes that lie far apart
        return None
    (column,) = gapped
    cut = (low.gather(0, order)[1:] + high.gather(0, order)[:-1])[:, column] / 2
    spread, middle = float(x[:, column].std()), x[:, column].median()
    clear = bool((gaps[:, column] > 0.2 * spread).all())
    near = [float((cut - one).abs().min()) < 0.05 * spread for one in (0.0, 0.5, 1.0, float(middle))]
    still = bool((low[:, column] == high[:, column]).any())  # such as 0 for all rows of a class
    meant = not still and (labels.numel() > 2 or clear or any(near))
    return None if meant else int(column)


@check("LB077", "warning", "Positions that see their own answer", costly=True)
def sees_answer(subject: Subject) -> Iterator[Found]:
    """The targets of a sequence are its inputs, some steps later, and a prediction changes with the very step that it
    is to predict: attention without a causal mask, a recurrent net in both directions, a convolution padded on both
    sides. Or a net that looks at earlier steps alone is to give the step it was just given: the shift was forgotten, or
    went to the other side. (Steps may be the second or the last dimension.)"""
    target, pred = subject.batch.target, subject.evaluated.pred
    parts = tensors(subject.batch.input)
    if not isinstance(target, Tensor) or not isinstance(pred, Tensor) or target.ndim not in (2, 3):
        return
    if len(target) < 4 or pred.ndim < 2 or subject.evaluated.failure is not None:
        return
    whole = any(
        isinstance(call.target, Tensor) and call.target.numel() == target.numel()
        for call in loss_inputs(subject.loss_calls, (*CLASSES, *ELEMENTWISE))
    )
    if not whole:  # the loss shifts by itself, or chooses
        return
    dims = range(1, target.ndim)
    related = [
        (at, dim, shift)
        for at, one in enumerate(parts)
        for dim in dims
        if (shift := _shift(one, target, dim)) is not None
    ]
    if len(related) != 1:  # a sequence that is to be given again has its answers in another input
        return
    ((at, dim, shift),) = related
    length = target.shape[dim]
    places = sorted({max(-shift, 0), length // 2, length - 1 - max(shift, 1)})
    try:
        depend = _depend(subject, at, dim, length, places)
        later = depend(max(shift, 1))
        alone = not shift and not later and not target.is_floating_point() and depend(0) and depend(-1)
        behind = shift < 0 and depend(shift)
    except Exception:  # a module that takes no other sequence
        return
    if shift > 0 and later:
        yield Found(
            f"predictions of a step that depend on the step that they are to predict, {shift} further on",
            "predictions from earlier steps alone",
            "a causal mask (is_causal=True), an nn.LSTM without bidirectional=True, or padding on the left alone",
        )
    elif alone or behind:
        steps = "steps before" if behind else "same steps, for a net that looks at earlier steps alone"
        yield Found(
            f"targets that are the inputs of the {steps}",
            "targets that are one step ahead",
            "x[:, :-1] as input and x[:, 1:] as target",
        )


def _shift(part: Tensor, target: Tensor, dim: int) -> int | None:
    """How many steps later the target stands in an input, -1 for one step before; None where it does not."""
    if part.ndim not in (2, 3) or part.ndim <= dim or len(part) != len(target) or part.shape[dim] != target.shape[dim]:
        return None
    if target.is_floating_point() != part.is_floating_point() or (target.ndim == 3 and part.ndim != 3):
        return None
    wide, asked = (one.detach() if one.ndim == 3 else one.detach()[:, :, None] for one in (part, target))
    wide, asked = wide.movedim(dim, 1), asked.movedim(dim, 1)
    if asked.shape[2] not in (1, wide.shape[2]) or asked.shape[1] < 4:
        return None
    furthest = min(_FURTHEST, (wide.shape[1] - 1) // 2)  # not numbers that trade places, as q and p do
    for by in (*range(furthest + 1), -1):
        a, b = wide[:, max(by, 0) : wide.shape[1] + min(by, 0)], asked[:, max(-by, 0) : asked.shape[1] - max(by, 0)]
        counted = (b >= 0).all(2) if not b.is_floating_point() else torch.ones_like(b[..., 0], dtype=torch.bool)
        if int(counted.sum()) < _FEW_OF_A_CLASS or float(counted.float().mean()) < 0.5:
            return None
        used = b[counted]
        common = float((used == used.mode(0).values).float().mean())
        if common > 0.8:
            return None
        same = (a == b)[counted] if a.shape[2] == b.shape[2] else (a == b.expand_as(a))[counted]
        share = same.float().mean(0)
        if (float(share.max()) if asked.shape[2] == 1 else float(share.min())) > 0.99:
            return by
    return None


def _depend(subject: Subject, at: int, dim: int, length: int, places: Sequence[int]) -> Callable[[int], bool]:
    """Whether the predictions at some place change where the input so many steps later is that of another row."""
    rows = min(subject.batch.size, 8)
    few: Any = map_leaves(lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) else leaf, subject.batch.input)
    once, again = (_steps(subject.predict(few), length, dim) for _ in range(2))
    if once is None or again is None or not torch.equal(once, again):
        return lambda by: False
    scale = float(once.float().std()) + 1e-12

    @cache
    def moved(other: int) -> Tensor | None:
        count = iter(range(len(tensors(few))))

        def turned(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or next(count) != at:
                return leaf
            part = leaf.clone()
            step = part.select(dim, other)
            step.copy_(step.roll(1, 0))
            return part

        return _steps(subject.predict(map_leaves(turned, few)), length, dim)

    def changes(by: int) -> bool:
        for place in places:
            other = moved(place + by) if 0 <= place + by < length else None
            if other is not None and float((other[:, place] - once[:, place]).abs().max()) > 1e-4 * scale:
                return True
        return False

    return changes


def _steps(pred: Any, length: int, dim: int) -> Tensor | None:
    """Predictions as (rows, steps, ...)."""
    if not isinstance(pred, Tensor) or not pred.is_floating_point() or pred.ndim < 2:
        return None
    for one in (dim, 3 - dim):
        if one < min(pred.ndim, 3) and pred.shape[one] == length:
            return pred.movedim(one, 1)
    if pred.ndim == 2 and pred.shape[0] % length == 0:
        return pred.reshape(-1, length, pred.shape[1])
    return None
