"""`create_supervised_trainer()` with `TerminateOnNan`, and an evaluator with its Loss after each epoch."""

from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import TerminateOnNan
from ignite.metrics import Loss

from benchmarks.mistakes.plain import Program, Wrapped, plain


def train(program: Program) -> None:
    given = plain(program)
    model = Wrapped(given.model)
    train, valid = given.loaders()
    trainer = create_supervised_trainer(
        model, given.optimizer, given.loss, gradient_accumulation_steps=given.accumulate
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
    if given.scheduler is not None:
        scheduler = given.scheduler(given.optimizer)
        event = Events.ITERATION_COMPLETED if given.step_on == "batch" else Events.EPOCH_COMPLETED
        trainer.add_event_handler(event, lambda: scheduler.step())
    if valid is not None:
        judge = create_supervised_evaluator(model, metrics={"loss": Loss(given.loss)})
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: judge.run(valid))
    trainer.run(train, max_epochs=given.epochs)
