"""What callbacks see of a pass over data without training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumbre.base import OptionError
from lumbre.core import Context
from lumbre.data import LoaderFeed, RowFeed
from lumbre.run import Session


def pass_context(
    session: Session, save: Callable[[str | Path], None], batches: RowFeed | LoaderFeed, phase: str
) -> Context:
    """The context of a pass of evaluation or prediction, in which nothing can be trained.

    Args:
        session: of the trained model.
        save: writes the model to a file.
        batches: of the pass.
        phase: "evaluate" or "predict".
    """

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
