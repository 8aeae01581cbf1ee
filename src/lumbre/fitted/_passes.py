"""A pass over data that trains nothing: loss and metrics, or predictions; callbacks hear of both."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

from lumbre.base import Batch, Batches, Nested, OptionError, divisor_of
from lumbre.core import Callback, Context, Listeners, evaluate, predict
from lumbre.data import LoaderFeed, RowFeed, Stripe, forms, same_forms
from lumbre.devices import seeder
from lumbre.fitted._evaluation import Evaluation, Values
from lumbre.fitted._response import response_scale
from lumbre.run import Session, callback_list, in_order, make_meter, share

_Callbacks: TypeAlias = Callback | Iterable[Callback]
_Save: TypeAlias = Callable[..., None]


def evaluated(session: Session, rows: RowFeed | LoaderFeed, callbacks: _Callbacks, save: _Save) -> Evaluation:
    """Loss and metrics; `save` is what a callback saves the model with."""
    batches = share(rows, rows)
    context, listeners = _context(session, rows, "evaluate", save), Listeners(callback_list(callbacks))
    if any(metric.of_response for metric in session.recipe.metrics.valid):
        response_scale(session)
    weighted, metrics = isinstance(rows, RowFeed) and rows.weights is not None, session.recipe.metrics.valid
    meter = make_meter(session, metrics, divisor_of(session.loss, weighted=weighted), weighted=weighted)
    with session.running(batches=rows.length):
        seed_step = seeder(session.seed, session.device, session.world.rank)
        return Evaluation(Values(evaluate(context, listeners, session.valid_step, batches, meter, seed_step)))


def predicted(session: Session, rows: RowFeed | LoaderFeed, callbacks: _Callbacks, save: _Save) -> Nested:
    """The prediction for each row, in order; `save` is what a callback saves the model with."""
    context, listeners = _context(session, rows, "predict", save), Listeners(callback_list(callbacks))
    with session.running(batches=rows.length):
        seed_step = seeder(session.seed, session.device, session.world.rank)
        found = predict(context, listeners, session.predicted, _Inputs(share(rows, rows), session), seed_step)
    stripe, columns = rows.order if isinstance(rows, RowFeed) else None, found.columns()
    if isinstance(stripe, Stripe):
        columns = in_order(session.world.gather(columns), stripe)
    return found.built(columns)


class _Inputs:
    """Batches for a prediction: a pair that is as the whole input of the training was is no input and target."""

    def __init__(self, batches: Batches, session: Session) -> None:
        record = session.record.data.get("train")
        self._batches = batches
        self._known = None if record is None else record.input

    @property
    def length(self) -> int | None:
        """How many there are, where that is known."""
        return self._batches.length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """They themselves; a module whose second input may be left out would leave it out, and nobody would know."""
        for batch in self._batches.epoch(epoch, start):
            pair = batch.input, batch.target
            if self._known is not None and batch.target is not None and same_forms(forms(pair), self._known):
                batch = replace(batch, input=pair, target=None)
            yield batch


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
