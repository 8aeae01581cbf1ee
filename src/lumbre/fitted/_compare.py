"""Truth beside prediction, row by row. What is a class and what is a number is decided here, in one place."""

import copy
import inspect
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lumbre.base import (
    OWN,
    UNLIKE_TARGETS,
    Batch,
    Batches,
    DataError,
    Nested,
    Scale,
    at_least,
    caller,
    concatenate,
    describe,
    map_leaves,
    one_of,
    own_method,
    stream,
    with_row,
)
from lumbre.data import LoaderFeed, Order, RowFeed, Taken
from lumbre.devices import seeder
from lumbre.fitted._batch_size import in_larger_batches
from lumbre.fitted._response import bounds, response_scale
from lumbre.fitted._shown import examples_html, examples_text
from lumbre.run import Session

if TYPE_CHECKING:
    import pandas as pd


class Examples(NamedTuple):
    """Some rows of data with what the model makes of them.

    Attributes:
        input: as the module gets it, on the CPU: tensors of shape (n, ...).
        frame: truth and prediction of these rows, with the columns of `Fitted.compare()`.
    """

    input: Nested
    frame: "pd.DataFrame"

    def __repr__(self) -> str:
        return examples_text(self.input, self.frame)

    def _repr_html_(self) -> str:
        return examples_html(self.input, self.frame)


def compared(session: Session, batches: RowFeed | LoaderFeed) -> "pd.DataFrame":
    """Truth and prediction of every row, as a frame."""
    batches = in_larger_batches(session, batches, judged=False)
    return _frame(session, concatenate([seen for seen, _ in _seen(session, batches)]))


def examples_of(session: Session, batches: RowFeed | LoaderFeed, count: int, choose: str) -> Examples:
    """`count` rows: the first, some at random, or the worst.

    Raises:
        OptionError: an option is impossible.
    """
    one_of("choose", choose, ("random", "first", "worst"))
    at_least(1, n=count)
    if choose == "first":
        return first_examples(session, batches, count)
    if choose == "random":
        return random_examples(session, batches, count)
    return top_examples(session, batches, count, partial(wrongness, ignored=session.ignored))


def first_examples(session: Session, batches: Batches, count: int) -> Examples:
    """The first `count` rows."""
    parts: list[Nested] = []
    rows = 0
    for seen, batch in _seen(session, batches):
        parts.append((seen, batch.input))
        rows += batch.size
        if rows >= count:
            break
    seen, input = map_leaves(lambda leaf: _rows_of(leaf, slice(count)), concatenate(parts))
    return Examples(input, _frame(session, seen))


def top_examples(
    session: Session, batches: Batches, count: int, key: Callable[[dict[str, Tensor]], Tensor]
) -> Examples:
    """The `count` rows with the largest keys, largest first. Only so many inputs are held at a time."""
    kept: Nested = None
    for seen, batch in _seen(session, batches):
        # Those of the batch come first, so that little of it has to leave the device.
        new = _top((key(seen), seen, batch.input), count)
        kept = _top(concatenate([new] if kept is None else [kept, new]), count)
    _, seen, input = kept
    return Examples(input, _frame(session, seen))


def _top(rows: tuple[Tensor, Nested, Nested], count: int) -> tuple[Tensor, Nested, Nested]:
    """The `count` rows with the largest keys, which stand in front."""
    keys = rows[0]
    return map_leaves(partial(_rows_of, rows=keys.topk(min(count, len(keys))).indices), rows)


def wrongness(seen: dict[str, Tensor], ignored: int | None) -> Tensor:
    """How wrong each row is, shape (rows,): its loss; where that is not known, -log p(truth), or the mean |error|."""
    if "loss" in seen:
        return seen["loss"]
    pred, target = seen["pred"], seen["target"]
    numbers = class_numbers(pred, target, ignored)
    if numbers is not None:
        return F.nll_loss(normalized(pred, Scale()).log(), numbers, reduction="none", ignore_index=-1)
    return (as_outputs(pred).float() - as_outputs(target).float()).abs().mean(1)


def random_examples(session: Session, batches: RowFeed | LoaderFeed, count: int) -> Examples:
    """`count` rows drawn by chance, the same ones every time."""
    seed = stream(session.seed, "examples")
    if isinstance(batches, RowFeed):
        total = len(batches.source)
        rows = torch.tensor(sorted(random.Random(seed).sample(range(total), min(count, total))))
        order = Order(len(rows), batches.order.batch_size, False, False, session.seed)
        weights = None if batches.weights is None else batches.weights[rows]
        feed = RowFeed(Taken(batches.source, rows), order, session.device, weights=weights)
        found = first_examples(session, feed, count)
        return found._replace(frame=found.frame.assign(row=rows.numpy()[found.frame["row"]]))
    generator = torch.Generator().manual_seed(seed)
    return top_examples(session, batches, count, lambda seen: torch.rand(len(seen["pred"]), generator=generator))


def probabilities(session: Session, pred: Nested) -> Tensor:
    """Predictions as probabilities of the classes, float32 of shape (rows, classes).

    Raises:
        DataError: they are no scores of classes.
    """
    scale = response_scale(session)
    if scale.name == OWN:
        pred = responses(session, pred)
    kind = scale.kind
    if not isinstance(pred, Tensor) or pred.ndim not in (1, 2) or not pred.is_floating_point() or kind == "numbers":
        raise DataError(
            f"predictions that are a {describe(pred)}" + (", of a loss for numbers" if kind == "numbers" else ""),
            "a score for each class, shape (rows, classes), or one for the second of two, shape (rows,) or (rows, 1)",
            "predict(), and turn its values into probabilities as this model means them",
        )
    return normalized(pred, scale)


def most_likely(session: Session, scores: Nested) -> "np.ndarray[Any, Any]":
    """The class with the largest score in each row, shape (rows,): names, or int64 numbers where there are none.

    Raises:
        DataError: there is not a score for each class.
    """
    scale, classes = response_scale(session), session.classes
    if scale.name == OWN and scale.kind == "probabilities":  # of a loss that makes them from one score
        scores = scale.applied(scores)
    if is_labels(session, scores):
        numbers = scores.reshape(-1).numpy()
        return numbers if classes is None else np.array(classes, dtype=object)[numbers]
    if _is_of_two(scores, scale):
        numbers = normalized(scores, scale).argmax(1).numpy()
        return numbers if classes is None or len(classes) != 2 else np.array(classes, dtype=object)[numbers]
    if not isinstance(scores, Tensor) or scores.ndim != 2 or scores.shape[1] < 2:
        raise DataError(
            f"predictions that are a {describe(scores)}",
            "a score for each class: shape (rows, classes)",
            "predict(), and turn its values into classes as this model means them",
        )
    numbers = scores.argmax(1).numpy()
    return numbers if classes is None else np.array(classes, dtype=object)[numbers]


def _is_of_two(scores: Nested, scale: Scale) -> TypeGuard[Tensor]:
    """Whether there is one score a row, which says of two classes how likely the second is."""
    if not isinstance(scores, Tensor) or scores.shape[1:].numel() != 1 or not scores.is_floating_point():
        return False
    return scale.kind == "probabilities" or (scale.kind == "logits" and scale.name == "sigmoid")


def is_labels(session: Session, pred: Nested) -> bool:
    """Whether predictions are class numbers already, which a module's own predict() has chosen."""
    if not own_method(session.model, "predict") or session.scale.kind not in ("logits", "probabilities"):
        return False
    if not isinstance(pred, Tensor) or pred.dtype not in (torch.int64, torch.int32) or pred.shape[1:].numel() != 1:
        return False
    return session.classes is None or bool(((pred >= 0) & (pred < len(session.classes))).all())


def responses(session: Session, pred: Nested) -> Nested:
    """Predictions on the scale of the target."""
    with torch.no_grad():  # a loss may bring its own parameters in
        return response_scale(session).applied(pred)


def normalized(pred: Tensor, scale: Scale) -> Tensor:
    """Scores as probabilities, shape (rows, classes). Where the loss does not tell what they are, they do."""
    scores, kind = pred.float(), scale.kind
    inside = bool(((scores >= 0) & (scores <= 1)).all())
    scores = scores / scale.temperature
    if scores.ndim == 2 and scores.shape[1] > 1:
        given = inside and bool(torch.isclose(scores.sum(1), torch.ones(()), atol=1e-4).all())
        if kind == "probabilities" or (kind is None and given):
            return scores
        return scores.sigmoid() if scale.name == "sigmoid" else scores.softmax(1)
    scores = scores.reshape(-1)
    second = scores if kind == "probabilities" or (kind is None and inside) else scores.sigmoid()
    return torch.stack([1 - second, second], 1)


def _seen(session: Session, batches: Batches) -> Iterator[tuple[dict[str, Tensor], Batch]]:
    """Prediction, target, row number and, where it can be told apart by row, loss of each batch; on the CPU."""
    row_loss, scale, units = _row_loss(session.loss), response_scale(session), session.units
    forward_again = own_method(session.model, "predict")
    session.model.eval()
    begin, shapes = 0, set[torch.Size]()
    with session.running(batches=batches.length):
        seed_step = seeder(session.seed, session.device)
        for index, batch in enumerate(batches.epoch(1)):
            seed_step("predict", 1, index)
            raw = with_row(session.predict_step(batch.input), batch.target, batch.size)
            output, target = (raw, batch.target) if units is None else (units(raw), units(batch.target))
            # Scores of classes stay as they are: of them it is asked which is the largest.
            pred = output if scale.kind == "logits" else scale.applied(output)
            _check(pred, batch)
            shapes.add(pred.shape[1:])
            if len(shapes) > 1:
                raise DataError(
                    f"predictions with rows of the shapes {' and '.join(str(tuple(shape)) for shape in shapes)}",
                    "rows of one length in all batches",
                    "pad the data to one length",
                )
            seen = {"row": torch.arange(begin, begin + batch.size), "pred": pred, "target": target}
            if (around := bounds(session, output)) is not None:
                seen["lower"], seen["upper"] = around
            if forward_again and row_loss is not None:
                with torch.no_grad(), session.precision.autocast():
                    raw = with_row(caller(session.model, batch.input)(batch.input), batch.target, batch.size)
            with session.comparing(batch.input, batch.target, judged=True):
                loss = None if row_loss is None else row_loss(raw, batch.target)
            if loss is not None:
                seen["loss"] = loss
            if batch.weights is not None:
                seen["weight"] = batch.weights
            begin += batch.size
            yield map_leaves(lambda leaf: leaf.detach().cpu(), seen), batch


def _check(pred: Nested, batch: Batch) -> None:
    if batch.target is None:
        raise DataError("data without targets", "the truth beside the input", "pass (input, target)")
    if (
        not isinstance(pred, Tensor)
        or not isinstance(batch.target, Tensor)
        or pred.is_nested
        or pred.ndim not in (1, 2)
    ):
        raise DataError(
            f"predictions that are a {describe(pred)}, targets that are a {describe(batch.target)}",
            "one row of scores or numbers for each row of data: shape (rows,) or (rows, outputs)",
            "predict(), and compare its values as this model means them",
        )
    if pred.shape[:1] != batch.target.shape[:1]:
        raise DataError(
            f"predictions that are a {describe(pred)} for targets that are a {describe(batch.target)}",
            "a prediction for each row",
            "predict(), and compare its values as this model means them",
        )


def _row_loss(loss: Any) -> Callable[[Nested, Nested], Tensor | None] | None:
    """`loss` for each row, shape (rows,), where it takes `reduction="none"` as torch's losses do."""
    if isinstance(loss, nn.Module) and hasattr(loss, "reduction"):
        each: Any = copy.copy(loss)
        each.reduction = "none"
    elif inspect.isfunction(loss) and "reduction" in inspect.signature(loss).parameters:
        each = partial(loss, reduction="none")
    else:
        return None

    def row_loss(pred: Nested, target: Nested) -> Tensor | None:
        with torch.no_grad():
            values = each(pred.float() if isinstance(pred, Tensor) else pred, target)
        # Any other shape has mixed the rows: (rows, 1) against (rows,) spreads to (rows, rows).
        like = pred if isinstance(pred, Tensor) else target
        if not isinstance(values, Tensor) or values.shape not in (like.shape[:1], like.shape):
            return None
        return values if values.ndim == 1 else values.mean(1)

    return row_loss


def _frame(session: Session, seen: dict[str, Tensor]) -> "pd.DataFrame":
    pred, target = seen["pred"], seen["target"]
    if is_labels(session, pred) and not target.is_floating_point() and target.numel() == len(target):
        return _label_frame(session, seen)
    scale = response_scale(session)
    numbers = None if scale.kind == "numbers" else class_numbers(pred, target, session.ignored)
    if numbers is not None:
        return _class_frame(session, seen, numbers, normalized(pred, scale))
    return _number_frame(session, {**seen, "pred": scale.applied(pred)} if scale.kind == "logits" else seen)


def class_numbers(pred: Tensor, target: Tensor, ignored: int | None) -> Tensor | None:
    """The true class of each row, int64 of shape (rows,); None where targets are no classes.

    It is -1 where the target is none of the classes that are predicted, or the loss leaves it out.
    """
    if pred.ndim == 2 and pred.shape[1] > 1:
        if target.ndim == 2 and target.shape == pred.shape:
            one_hot = ((target == 0) | (target == 1)).all() and (target.sum(1) == 1).all()
            return target.argmax(1) if one_hot else None
        flat = target.reshape(len(target), -1)
        if target.is_floating_point() or flat.shape[1] != 1:
            return None
        numbers = flat[:, 0].long()
        return numbers.where((numbers >= 0) & (numbers < pred.shape[1]) & (numbers != ignored), -1)
    binary = target.numel() == len(pred) and ((target == 0) | (target == 1)).all()
    return target.reshape(-1).long() if binary else None


def _class_frame(session: Session, seen: dict[str, Tensor], truth: Tensor, shares: Tensor) -> "pd.DataFrame":
    import pandas as pd

    count = shares.shape[1]
    names = session.classes if session.classes is not None and len(session.classes) == count else tuple(range(count))
    top = shares.max(1)
    # What a loss leaves out (ignore_index=-100) has no class and no loss, and is neither right nor wrong: all missing.
    known, codes = truth >= 0, truth.numpy()
    correct: Any = top.indices.numpy() == codes
    if not known.all():
        correct = pd.arrays.BooleanArray(correct, (~known).numpy())
        seen = {**seen, "loss": seen["loss"].where(known, torch.nan)} if "loss" in seen else seen
    columns: dict[str, Any] = {
        "row": seen["row"].numpy(),
        "truth": pd.Categorical.from_codes(codes, categories=list(names)),
        "predicted": pd.Categorical.from_codes(top.indices.numpy(), categories=list(names)),
        "correct": correct,
        "probability": top.values.numpy(),
    }
    columns |= {name: seen[name].numpy() for name in ("loss", "weight") if name in seen}
    of_each = pd.DataFrame(shares.numpy(), columns=[f"probability_{name}" for name in names])
    return pd.concat([pd.DataFrame(columns), of_each], axis=1)


def _label_frame(session: Session, seen: dict[str, Tensor]) -> "pd.DataFrame":
    """Of predicted class numbers, which have no probabilities."""
    chosen, truth = (seen[name].reshape(-1).long() for name in ("pred", "target"))
    count = int(torch.cat([chosen, truth]).max()) + 1 if session.classes is None else len(session.classes)
    ones = F.one_hot(chosen, count).float()
    frame = _class_frame(session, seen, class_numbers(ones, truth, session.ignored), ones)  # pyright: ignore[reportArgumentType]
    return frame.drop(columns=[name for name in frame if str(name).startswith("probability")])


def _number_frame(session: Session, seen: dict[str, Tensor]) -> "pd.DataFrame":
    import pandas as pd

    pred, target = as_outputs(seen["pred"]), as_outputs(seen["target"])
    if pred.shape != target.shape or isinstance(session.loss, UNLIKE_TARGETS):
        raise not_alike(session, seen["pred"], seen["target"])
    rows, outputs = pred.shape
    columns: dict[str, Any] = {"row": np.repeat(seen["row"].numpy(), outputs)}
    if outputs > 1:
        columns["output"] = np.tile(np.arange(outputs), rows)
    columns["truth"] = target.double().reshape(-1).numpy()
    columns["predicted"] = pred.double().reshape(-1).numpy()
    columns["residual"] = columns["truth"] - columns["predicted"]
    for name in ("lower", "upper"):
        if name in seen:
            columns[name] = as_outputs(seen[name]).double().reshape(-1).numpy()
    columns |= {name: np.repeat(seen[name].numpy(), outputs) for name in ("loss", "weight") if name in seen}
    frame = pd.DataFrame(columns)
    if session.encoding is not None and len(session.encoding.targets) == outputs:
        frame.attrs["targets"] = [column.name for column in session.encoding.targets]  # for the axes of plots
    return frame


def not_alike(session: Session, pred: Nested, target: Nested) -> DataError:
    """The error for numbers that cannot be set beside one another: of a loss that takes more than one number as the
    truth of a row, what it says itself.
    """
    expected = "as many numbers in a row of both"
    fix = getattr(session.loss, "instead_of_comparing", None)
    if isinstance(session.loss, UNLIKE_TARGETS):
        expected = f"predictions on the scale of the targets; those of {type(session.loss).__name__} are not"
        fix = "predict(), and compare its values as this model means them"
    return DataError(
        f"predictions that are a {describe(pred)}, targets that are a {describe(target)}",
        expected,
        fix or "target[:, None], or a last layer with as many outputs as the target has",
    )


def as_outputs(values: Tensor) -> Tensor:
    """Numbers as (rows, outputs)."""
    return values[:, None] if values.ndim == 1 else values.flatten(1)


def _rows_of(leaf: Any, rows: slice | Tensor) -> Any:
    return leaf[rows] if isinstance(leaf, Tensor) else leaf
