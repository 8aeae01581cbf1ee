"""Several fits of one recipe: one after the other or shared out over worker processes, with the same bits.

With a folder each fit keeps its run in a folder of its own, and goes on where it was stopped. Workers hand models over
as files.
"""

import copy
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch import nn

from lumbre.base import LumbreError, OptionError, RecipeError, at_least
from lumbre.core import Callback, Context
from lumbre.fitted import Fitted, load
from lumbre.processes import (
    Worker,
    end_workers,
    in_worker,
    join_world,
    own_device,
    prepare,
    start_worker,
    wait_for_any,
    with_threads,
)
from lumbre.run import Checkpoints, Spec, as_checkpoints, callback_list, options_from

FitOf: TypeAlias = Callable[..., Fitted]
"""`Recipe.fit`, which stands above this package: takes a recipe, data and options."""

_TRIES = 3


class Parts(Protocol):
    """What the fits have of their own. It can be sent to another process."""

    @property
    def names(self) -> list[str]:
        """A name for each fit, such as "fold-1"."""
        ...

    def part(self, number: int) -> tuple[Any, dict[str, Any]]:
        """Data and options of the fit at this place."""
        ...


class _Interruption(Callback):
    """Notes Ctrl-C, at which a single fit gives back what it has."""

    def __init__(self) -> None:
        self.seen = False

    def on_interrupt(self, ctx: Context) -> None:
        """Note it."""
        self.seen = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Several fits.

    Attributes:
        recipe: what is fitted; a module that is ready is copied for each fit, which begins with it as it is.
        fit: `Recipe.fit`.
        parts: what each fit has of its own.
        options: of all fits.
        keep: where their runs are kept; None where they are not.
    """

    recipe: Spec
    fit: FitOf
    parts: Parts
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    keep: Checkpoints | None = None

    def run(self, number: int, *, device: Any = None) -> Fitted:
        """Fit one of them; with a folder, go on with its run.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        data, own = self.parts.part(number)
        options = {**self.options, **own, "verbose": False}
        watch = _Interruption()
        options["callbacks"] = [*copy.deepcopy(callback_list(options.get("callbacks", ()))), watch]
        if self.keep is not None:
            options["resume"] = replace(self.keep, folder=Path(self.keep.folder) / self.parts.names[number])
        if device is not None:
            options["device"] = device
        fitted = self.fit(own_copy(self.recipe), data, **options)
        if watch.seen:
            raise KeyboardInterrupt
        return fitted


def own_copy(recipe: Spec) -> Spec:
    """The recipe with a copy of its module, where that is a module and not a class."""
    return replace(recipe, module=copy.deepcopy(recipe.module)) if isinstance(recipe.module, nn.Module) else recipe


def checked_options(options: Mapping[str, Any], resume: Any, workers: Any, seed: Any) -> Checkpoints | None:
    """See that options of `fit` go with several fits; gives where their runs are kept.

    Raises:
        OptionError: they do not.
    """
    options_from(dict(options))
    at_least(1, workers=workers)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise OptionError(f"seed={seed!r}", "a whole number", "seed=0")
    if workers > 1 and join_world().size > 1:
        raise OptionError(
            f"workers={workers} in a run that {join_world().size} processes share", "one of both", "workers=1"
        )
    keep = as_checkpoints(resume)
    return replace(keep, keep=1) if keep is not None and not isinstance(resume, Checkpoints) else keep


def fit_each(job: Job, workers: int) -> Iterator[Fitted]:
    """The trained models in their order, each as soon as it and those before it are trained.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        LumbreError: a fit failed, or its worker was killed again and again.
    """
    count = len(job.parts.names)
    if workers == 1 or count == 1:
        for number in range(count):
            yield job.run(number)
        return
    prepare()
    with tempfile.TemporaryDirectory(prefix="lumbre-fits-") as name:
        folder, done, after = Path(name), set[int](), 0
        for number in _shared_out(job, folder, min(workers, count)):
            done.add(number)
            while after in done:
                yield _collected(job, folder, after)
                after += 1


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number}.lumbre"


def _collected(job: Job, folder: Path, number: int) -> Fitted:
    """The model that a worker has trained."""
    path = _file(folder, number)
    fitted = load(path, own_copy(job.recipe), device=job.options.get("device", "auto"))
    path.unlink()
    return fitted


def _shared_out(job: Job, folder: Path, workers: int) -> Iterator[int]:
    """Numbers of fits as workers come to their end; a fit whose worker was killed is begun again by another."""
    waiting, died = deque(range(len(job.parts.names))), Counter[int]()
    running: list[Worker] = []
    at_work: dict[str, int] = {}
    interrupted = False

    def give(worker: Worker) -> None:
        number = waiting.popleft() if waiting else None
        with suppress(OSError):  # it has died: that is seen when it is waited for
            worker.connection.send(number)
        if number is None:
            running.remove(worker)
            worker.process.join()
        else:
            at_work[worker.name] = number

    def start(place: int) -> None:
        worker = _start(job, folder, place, workers)
        running.append(worker)
        give(worker)

    try:
        for place in range(workers):
            start(place)
        while running:
            wait_for_any(running)
            for worker in list(running):
                said = _said(worker)
                if said is not None:
                    yield said
                    give(worker)
                elif not worker.process.is_alive():
                    running.remove(worker)
                    number = at_work[worker.name]
                    died[number] += 1
                    _refuse_again(job, worker, number, died[number])
                    waiting.appendleft(number)
                    start(worker.place)
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        end_workers(running, interrupted=interrupted)


def _said(worker: Worker) -> int | None:
    """The number of a fit that a worker has come to the end of; None where it has nothing to say.

    Raises:
        LumbreError: as it was raised there.
    """
    try:
        said = worker.connection.recv() if worker.connection.poll() else None
    except (EOFError, OSError):
        return None
    if isinstance(said, LumbreError):
        raise said
    return said


def _refuse_again(job: Job, worker: Worker, number: int, times: int) -> None:
    if times >= _TRIES:
        raise RecipeError(
            f"{job.parts.names[number]}, whose worker process ended {times} times "
            f"(exit code {worker.process.exitcode}) before it was done",
            "processes that can be started, and memory for as many models as there are workers",
            'put the call under if __name__ == "__main__": in a file; or fewer workers',
        )


def _start(job: Job, folder: Path, place: int, workers: int) -> Worker:
    # As many threads as this process has: their number may change the last bits of sums.
    args = (job, folder, torch.get_num_threads(), own_device(place, job.options.get("device", "auto")))
    return start_worker(_child, args, place=place, name=str(place), workers=workers, fix="workers=1")


def _child(job: Job, folder: Path, threads: int, device: Any, connection: Connection) -> None:
    def work() -> None:
        while (number := connection.recv()) is not None:
            fitted = job.run(number, device=device)
            fitted.save(_file(folder, number))  # a run in a folder may be one that goes on when it is started again
            connection.send(number)

    in_worker(connection, lambda: with_threads(threads, work), "fits that end")
