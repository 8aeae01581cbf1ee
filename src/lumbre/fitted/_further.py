"""Training a trained model further."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from torch import nn
from torch.utils.data import DataLoader

from lumbre.base import DataError, RecipeError, listed
from lumbre.core import History
from lumbre.data import FrameData, by_places, is_frame
from lumbre.run import Session


@runtime_checkable
class _Trains(Protocol):
    """A recipe, which stands above this package: it knows how to fit."""

    def fit(self, data: Any, **options: Any) -> Any:
        """`Recipe.fit`."""
        ...


class _Begun:
    """Builds a copy of a trained module, whatever the hyper-parameters that it was built with."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.__name__ = type(model).__name__

    def __call__(self, **hparams: Any) -> nn.Module:
        return copy.deepcopy(self.model).train()


def train_further(session: Session, data: Any, options: Mapping[str, Any]) -> Any:
    """A new fitted model that begins with the weights of this one; the rest is as for `Fitted.fit`.

    Raises:
        RecipeError: it was loaded with its class alone.
        DataError: the columns are others than those of the training.
    """
    recipe = session.recipe
    if not isinstance(recipe, _Trains):
        raise RecipeError(
            "fit(...) of a model that was loaded with its class alone, so that it has no optimizer",
            "a model with its recipe",
            "lumbre.load(path, lumbre.setup(Net, loss=..., optimizer=...))",
        )
    given = {
        "seed": session.seed,
        "device": session.device,
        "precision": session.precision.name,
        **({} if isinstance(data, DataLoader) else {"batch_size": session.batch_size}),
        **options,
    }
    own_loss = isinstance(recipe.loss, nn.Module) and isinstance(session.loss, nn.Module)
    begun: Any = replace(recipe, module=_Begun(session.model), loss=session.loss if own_loss else recipe.loss)
    return begun.fit(_as_in_training(session, data), **given)


def _as_in_training(session: Session, data: Any) -> Any:
    """Data whose frames have the columns of those in training, in their order, and go through its encoding.

    Raises:
        DataError: a column is not there, or they are no frame.
    """
    encoding, record = session.encoding, session.record.data.get("train")
    if encoding is None or (encoding.plain and encoding.plain_target):
        return data if record is None else by_places(data, record.columns, need_target=True, as_frames=True)
    if isinstance(data, FrameData) or is_frame(data):
        return FrameData(data.frame if isinstance(data, FrameData) else data, encoding, learned=True)
    names = [column.name for column in encoding.features]
    raise DataError(
        f"a {type(data).__name__} for a model that was trained on the columns of a frame",
        f"a frame in memory with its target and these columns: {listed(names)}",
        "pandas.read_parquet(path) for Parquet; pandas.DataFrame(...) for values as they were measured",
    )


def joined_history(before: History, after: History) -> History:
    """Two runs as one: epochs are counted on, seconds added up."""
    start = before.epochs
    records = [(name, metric, epoch + start, value) for name, metric, epoch, value in after.records]
    phases = {**before.phase_seconds, **after.phase_seconds}
    joined = History(
        records=[*before.records, *records],
        train_seconds=[*before.train_seconds, *after.train_seconds],
        valid_seconds=[*before.valid_seconds, *after.valid_seconds],
        fit_seconds=before.fit_seconds + after.fit_seconds,
        phase_seconds={
            phase: before.phase_seconds.get(phase, 0.0) + after.phase_seconds.get(phase, 0.0) for phase in phases
        },
        kept=None if after.kept is None else after.kept + start,
    )
    joined.interrupted = after.interrupted
    return joined
