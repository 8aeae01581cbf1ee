"""A pass over data that trains nothing: loss and metrics, or predictions; callbacks hear of both."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lumbre.base import (
    Batch,
    Batches,
    DataError,
    Joiner,
    Nested,
    OptionError,
    at_least,
    describe,
    leaves,
    map_leaves,
)
from lumbre.core import Callback, Context, Listeners, evaluate, predict
from lumbre.data import PAIR_KEYS, LoaderFeed, RowFeed, Stripe, forms, in_words, same_forms
from lumbre.devices import seeder
from lumbre.fitted._batch_size import in_larger_batches
from lumbre.fitted._evaluation import Evaluation, Values
from lumbre.fitted._intervals import with_intervals
from lumbre.fitted._pieces import numbers_frame, pieces_at
from lumbre.fitted._response import response_scale
from lumbre.run import Session, augmenter, callback_list, check_augment, in_order, make_meter, share

_Callbacks: TypeAlias = Callback | Iterable[Callback]
_Save: TypeAlias = Callable[..., None]


def evaluated(session: Session, rows: RowFeed | LoaderFeed, callbacks: _Callbacks, save: _Save) -> Evaluation:
    """Loss and metrics; `save` is what a callback saves the model with."""
    rows = in_larger_batches(session, rows, judged=True)
    batches = share(rows, rows)
    context, listeners = _context(session, rows, "evaluate", save), Listeners(callback_list(callbacks))
    if any(metric.of_response for metric in session.recipe.metrics.valid):
        response_scale(session)  # raises where it is not known what the predictions are
    weighted, metrics = isinstance(rows, RowFeed) and rows.weights is not None, session.recipe.metrics.valid
    meter = make_meter(session, metrics, session.divisor(weighted=weighted), weighted=weighted)
    with session.running(batches=rows.length):
        seed_step = seeder(session.seed, session.device, session.world.rank)
        return Evaluation(Values(evaluate(context, listeners, session.valid_step, batches, meter, seed_step)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What `predict()` is to give beside the output of the module.

    Attributes:
        interval: intervals or sets of classes in its place.
        augment: changes inputs, as in `fit()`; None leaves them as they are.
        times: over how many such changes the mean is taken.
        to: the Parquet file to write to, or None.
    """

    interval: bool = False
    augment: Callable[..., Any] | None = None
    times: int = 1
    to: str | Path | None = None

    def __post_init__(self) -> None:
        at_least(1, times=self.times)
        if self.augment is not None:
            check_augment(self.augment)
            if self.interval:
                raise OptionError(
                    "interval=True beside augment",
                    "one of the two: conformal() learned how far predictions for inputs as they are may be wrong",
                    "predict(data, interval=True)",
                )
        elif self.times > 1:
            raise OptionError(
                f"times={self.times} without augment",
                "what changes the inputs, so that the predictions differ",
                f"augment=lumbre.vision.Augment([...]), times={self.times}",
            )


def predicted(
    session: Session, rows: RowFeed | LoaderFeed, callbacks: _Callbacks, save: _Save, wanted: Wanted
) -> Nested | Path:
    """The prediction for each row, in order; `save` is what a callback saves the model with."""
    shared: Batches = share(rows, rows)
    if isinstance(rows, RowFeed) and not rows.order.rows:
        shared, wanted = _NoRows(rows), replace(wanted, augment=None, times=1)
    elif wanted.augment is None:
        rows = in_larger_batches(session, rows, judged=False)
        shared = share(rows, rows)
    context, listeners = _context(session, rows, "predict", save), Listeners(callback_list(callbacks))
    with session.running(batches=rows.length):
        seed_step = seeder(session.seed, session.device, session.world.rank)
        step, batches = _step(session, wanted, seed_step), _Inputs(shared, session)
        if wanted.to is not None:
            frame = with_intervals if wanted.interval else numbers_frame
            with pieces_at(session, wanted.to, session.predicted, lambda output: frame(session, output)) as pieces:
                predict(context, listeners, step, batches, seed_step, pieces.add)
            return Path(wanted.to)
        found = Joiner(session.predicted)
        predict(context, listeners, step, batches, seed_step, found.add)
    stripe, columns = rows.order if isinstance(rows, RowFeed) else None, found.columns()
    if isinstance(stripe, Stripe) and stripe.rows:
        columns = in_order(session.world.gather(columns), stripe)
    output = found.built(columns)
    return with_intervals(session, output) if wanted.interval else output


def _step(
    session: Session, wanted: Wanted, seed_step: Callable[[str, int, int], None]
) -> Callable[[Batch, int], Nested]:
    """What predicts a batch: as it is, or the mean over several changes of it."""
    if wanted.augment is None:
        return lambda batch, index: session.predicted(batch.input)
    change = augmenter(wanted.augment, session.seed, seed_step)

    def mean(batch: Batch, index: int) -> Nested:
        turns = range(1, wanted.times + 1)
        outputs = [session.predicted(change(batch, turn, index).input) for turn in turns]
        columns = [list(column) for column in zip(*map(leaves, outputs), strict=True)]
        for first, *_ in columns:
            if not isinstance(first, Tensor) or not first.is_floating_point():
                raise DataError(
                    f"an output that holds {describe(first)}, of which there is no mean",
                    "tensors of floating-point numbers",
                    "predict() without augment=",
                )
        means = iter([torch.stack(column).mean(0) for column in columns])
        return map_leaves(lambda _: next(means), outputs[0])

    return mean


class _NoRows:
    """In place of no batch one of a row that does not count, by which the module shows what it gives for a row."""

    length = 1

    def __init__(self, rows: RowFeed) -> None:
        self._input = rows.take(range(0)).input

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batch: zeros in the form of the input."""
        yield Batch(map_leaves(_one_of_zeros, self._input), None, 0, range(0))


def _one_of_zeros(leaf: Any) -> Any:
    return leaf.new_zeros(1, *leaf.shape[1:]) if isinstance(leaf, Tensor) else leaf


class _Inputs:
    """Batches for a prediction: a pair that is as the whole input of the training was is no input and target."""

    def __init__(self, batches: Batches, session: Session) -> None:
        record = session.record.data.get("train")
        self._batches = batches
        self._known = None if record is None else record.input
        self._target = None if record is None else record.target

    @property
    def length(self) -> int | None:
        """How many there are, where that is known."""
        return self._batches.length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """They themselves; a module whose second input may be left out would leave it out, and nobody would know."""
        for batch in self._batches.epoch(epoch, start):
            pair = batch.input, batch.target
            if self._known is not None and batch.target is not None:
                for whole in (pair, *(dict(zip(names, pair, strict=True)) for names in PAIR_KEYS)):
                    if _of_the_form(whole, self._known):
                        batch = replace(batch, input=whole, target=None)
                if batch.target is not None:
                    self._refuse_two_inputs(batch)
            yield batch

    def _refuse_two_inputs(self, batch: Batch) -> None:
        """See that what stands in the place of the target is no second batch of inputs.

        Raises:
            DataError: it is, as far as can be seen: of the input's form and of no target's.
        """
        kind = forms(batch.target)
        if same_forms(kind, self._known) and self._target is not None and not same_forms(kind, self._target):
            raise DataError(
                f"a pair of two inputs, each {in_words(kind)}",
                f"an input, or a pair (input, target) with a target that is {in_words(self._target)}",
                "torch.cat([a, b]), of which each row gets its prediction; or (x, None)",
            )


def _of_the_form(input: Nested, known: Nested) -> bool:
    """Whether an input has the form of that of the training; a dict's names may stand in any order."""
    if isinstance(input, dict) and isinstance(known, dict):
        return input.keys() == known.keys() and all(same_forms(forms(input[name]), known[name]) for name in known)
    return same_forms(forms(input), known)


def _context(session: Session, batches: RowFeed | LoaderFeed, phase: str, save: _Save) -> Context:
    """What callbacks see of a pass that trains nothing."""

    def refused(*_: Any) -> None:
        raise OptionError(f"a step of training in {phase}()", "training in fit()", "leave it out of the callback")

    context = Context(
        model=session.model,
        optimizers={},
        device=session.device,
        epochs=(1, 1),
        batches_per_epoch=batches.length,
        monitored={},
        save=save,
        minimize=refused,
        see_training_data=refused,
    )
    context.epoch, context.phase = 1, phase
    return context
