"""The proof on one's own model and data: a run that is stopped and goes on equals one that was not stopped."""

import copy
import tempfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, preserved_randomness, seed_host
from lumbre.callbacks import ModelCheckpoint
from lumbre.core import Callback, Context, train
from lumbre.data import own_random, restore_own_random
from lumbre.devices import resolve_device
from lumbre.processes import World, join_world
from lumbre.resume import ONLY_TELL, KeptRun
from lumbre.run import Checkpoints, Options, Spec, build, left_alone
from lumbre.storage import Stored

_TIMES = ("train_seconds", "valid_seconds", "fit_seconds", "phase_seconds")


@dataclass(frozen=True, slots=True)
class ResumeProof:
    """Whether a stopped run goes on exactly; true or false by itself.

    Attributes:
        steps: updates of each of the two runs.
        stopped_at: the update after which the second was stopped.
        compared: numbers, texts and tensors that were compared.
        differences: where the two states differ, such as "model/tensors/0.weight"; empty where they do not.
    """

    steps: int
    stopped_at: int
    compared: int
    differences: tuple[str, ...]

    def __bool__(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        if not self.differences:
            return (
                f"Exact: a run stopped after update {self.stopped_at} and taken up again has the same bits after "
                f"update {self.steps} as one that was not stopped ({self.compared:,} tensors and values compared)."
            )
        shown = ", ".join(self.differences[:5]) + (", ..." if len(self.differences) > 5 else "")
        return (
            f"Not exact: after update {self.steps} a run stopped after update {self.stopped_at} differs from one that "
            f"was not stopped in {len(self.differences)} of {self.compared:,} places: {shown}. Look for chance that "
            "does not come from torch's generators, and for state outside of buffers and state_dict()."
        )

    __repr__ = __str__


class _StopAfter(Callback):
    """Ends a run in the midst of it, as a kill would."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_begin(self, ctx: Context) -> None:
        if ctx.step >= self.steps:
            raise _Stopped


class _Stopped(BaseException):
    """Passes by all handlers, as a kill would."""


def verify_resume(recipe: Spec, data: Any, options: Options, steps: int) -> ResumeProof:
    """Train `steps` updates at a stretch, and again with a stop in the middle, and compare all state bit for bit."""
    world = join_world()
    if world.size > 1:
        raise OptionError(
            f"verify_resume() in a run that {world.size} processes share",
            "one process: what it proves of model and data holds in several",
            "start the script without torchrun",
        )
    middle = max(1, steps // 2)
    with tempfile.TemporaryDirectory() as folder:
        chance: list[list[Tensor]] = []
        whole = _ended(recipe, data, options, Path(folder, "whole"), steps, chance)
        _ended(recipe, data, options, Path(folder, "stopped"), middle, chance)
        resumed = _ended(recipe, data, options, Path(folder, "stopped"), steps, chance)
    last, at = (int(found.document["state"]["progress"]["step"]) for found in (whole, resumed))
    if last <= middle:
        raise DataError(
            f"data and epochs for {last} updates", f"more than {middle} updates", "more epochs, or fewer steps"
        )
    ours, theirs = _flat(whole), _flat(resumed)
    names = list(dict.fromkeys([*ours, *theirs]))
    different = [name for name in names if name not in ours or name not in theirs or ours[name] != theirs[name]]
    return ResumeProof(max(last, at), middle, len(names), tuple(different))


def _ended(recipe: Spec, data: Any, options: Options, folder: Path, steps: int, chance: list[list[Tensor]]) -> Stored:
    """The newest checkpoint of a run of so many updates, which goes on from what is in the folder.

    `chance` holds what loaders with generators of their own began with, so that every run begins alike.
    """
    kept_callbacks = [one for one in options.callbacks if not isinstance(one, (*ONLY_TELL, ModelCheckpoint))]
    callbacks = [*copy.deepcopy(kept_callbacks), _StopAfter(steps)]
    kept = KeptRun(Checkpoints(folder, steps=1, wait=True, keep=1, allow_changes="callbacks"), World())
    try:
        # Each begins with module, loss and data sets as they are now, as it would in a process of its own.
        alone = left_alone(recipe, options, data)
        with preserved_randomness(resolve_device(options.device)), alone:
            seed_host(len(folder.name) + steps)  # what a run draws from the caller's chance must show
            adjusted = replace(kept.adjusted(options), callbacks=callbacks, resume=None)
            plan, session, findings = build(recipe, data, adjusted)
            findings.raise_errors()
            both = (plan.train, plan.valid, *(others for others, _ in plan.also.values()))
            chance[:] = chance or [own_random(batches, within=False) for batches in both]
            for batches, states in zip(both, chance, strict=True):
                restore_own_random(batches, states)
            session = kept.chosen(session)
            with (
                suppress(_Stopped),
                session.choices.active(session.model),
            ):
                train(replace(plan, keeper=kept.keeper(plan, session, recipe, adjusted, look=False)))
        found = kept.store.newest()
        assert found is not None
        return found
    finally:
        kept.store.close()


def _flat(stored: Stored) -> dict[str, Any]:
    """Every value and tensor of a state by its place, but for the times."""
    found: dict[str, Any] = {name: _bits(tensor) for name, tensor in stored.tensors.items()}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                if path != "/progress" or key not in _TIMES:
                    walk(part, f"{path}/{key}")
        elif isinstance(value, list):
            for index, part in enumerate(value):
                walk(part, f"{path}/{index}")
        else:
            found[f"{path} "] = value

    walk(stored.document["state"], "")
    return {name.strip().lstrip("/"): value for name, value in found.items()}


def _bits(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.dtype, tuple(tensor.shape), tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
