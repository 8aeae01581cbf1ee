"""Workers: this process alone, or several processes on one study."""

import importlib
import os
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
import torch
from optuna.trial import FrozenTrial

from lumbre.base import LumbreError, OptionError, RecipeError, can_fork
from lumbre.tune._study import Search, quiet, storage_of
from lumbre.tune._trials import Job, Listener, work

_LOOK_SECONDS = 0.3
_FAREWELL_SECONDS = 5.0


def run(job: Job, workers: int, listener: Listener | None) -> optuna.Study:
    """Run the trials of `job`, and wait for those that workers elsewhere have begun.

    Raises:
        LumbreError: every trial would fail, or a worker process could not be started.
    """
    importlib.import_module("torch._dynamo")  # what every first optimizer imports: seconds, here once for all workers

    if workers == 1:
        search = job.open()
        _work_and_wait(job, search, listener)
        return search.study
    if job.path is not None:
        return _together(job, workers, listener)
    with tempfile.TemporaryDirectory(prefix="lumbre-tune-") as folder:
        path = Path(folder) / "tune.journal"
        study = _together(replace(job, path=path), workers, listener)
        memory = optuna.storages.InMemoryStorage()
        with quiet():
            optuna.copy_study(from_study_name=study.study_name, from_storage=storage_of(path), to_storage=memory)
    return optuna.load_study(study_name=study.study_name, storage=memory)


def _work_and_wait(job: Job, search: Search, listener: Listener | None) -> None:
    """Work until the search is over; a trial of a worker that dies meanwhile is run here."""
    try:
        while work(job, search, listener) and search.waits:
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:  # between two trials, or while one is taken
        search.lose_all_of(job.worker, "interrupted", again=True)


@dataclass(frozen=True, slots=True)
class _Worker:
    place: int
    name: str
    process: Any
    connection: Connection


def _together(job: Job, workers: int, listener: Listener | None) -> optuna.Study:
    search = job.open()
    done = {trial.number for trial in _finished(search)}
    running: list[_Worker] = []

    def look() -> None:
        for trial in _finished(search):
            if trial.number not in done:
                done.add(trial.number)
                if listener is not None:
                    listener(trial, search.is_best(trial))

    interrupted = False
    try:
        running += [_start(job, place, workers) for place in range(workers)]
        while running:
            wait([worker.process.sentinel for worker in running], timeout=_LOOK_SECONDS)
            for worker in [worker for worker in running if not worker.process.is_alive()]:
                running.remove(worker)
                if _died(worker, search):
                    running.append(_start(job, worker.place, workers))
            look()
    except KeyboardInterrupt:
        interrupted = True  # what is done so far is given back
    finally:
        _end(running, search, interrupted=interrupted)
    look()
    return search.study


def _died(worker: _Worker, search: Search) -> bool:
    """Whether a worker that ended was killed, and another is to take its place; its trial is put in line again.

    Raises:
        LumbreError: what the worker raised, or it died before it began.
    """
    worker.process.join()
    if worker.process.exitcode == 0:
        return False
    if worker.connection.poll():
        try:
            raise worker.connection.recv()
        except EOFError:
            pass
    search.lose_all_of(worker.name, "its worker died")
    if not any(trial.user_attrs.get("worker") == worker.name for trial in search.study.get_trials(deepcopy=False)):
        raise OptionError(
            f"a worker process that ended with exit code {worker.process.exitcode} before its first trial",
            "processes that can be started",
            'put the call under if __name__ == "__main__": in a file; or workers=1, and start the script several times',
        )
    return True


def _start(job: Job, place: int, workers: int) -> _Worker:
    """A worker process: forked, so that recipe and data need no copy, where that is possible and there is no GPU."""
    forked = can_fork() and not torch.accelerator.is_available()
    context: Any = torch.multiprocessing.get_context("fork" if forked else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    name = uuid4().hex
    options = dict(job.options)
    if torch.cuda.device_count() > 1 and options.get("device", "auto") == "auto":
        options["device"] = f"cuda:{place % torch.cuda.device_count()}"
    own = replace(
        job,
        worker=name,
        options=options,
        recipe=replace(job.recipe, hparams=dict(job.recipe.hparams), opt_hparams=dict(job.recipe.opt_hparams)),
    )
    # The threads of a forked process are gone: torch would wait for them in any but the first.
    threads = 1 if forked else max(1, (os.cpu_count() or 1) // workers)
    process = context.Process(target=_child, args=(own, sender, threads), name=f"lumbre-tune-{place}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            process.start()
    except Exception as error:  # whatever could not be copied says so in its own way
        raise OptionError(
            f"workers={workers}, and a worker process that cannot be started: {error}",
            "module, data and options that can be sent to another process, where this one cannot be forked",
            "define the module in a file, not in a notebook or a function; or workers=1, and start the script several "
            'times with the same study="runs/tune.db"',
        ) from error
    sender.close()
    return _Worker(place, name, process, receiver)


def _child(job: Job, connection: Connection, threads: int) -> None:
    torch.set_num_threads(threads)
    job = replace(job, recipe=job.recipe.set_hparams().set_opt_hparams())
    try:
        _work_and_wait(job, job.open(), None)
    except KeyboardInterrupt:
        return
    except LumbreError as error:
        connection.send(type(error)(error.received, error.expected, error.fix))
        sys.exit(1)
    except Exception as error:
        connection.send(
            RecipeError(
                f"{type(error).__name__} in a worker process: {error}",
                "a search that runs",
                "workers=1 shows where it comes from",
            )
        )
        sys.exit(1)


def _end(workers: list[_Worker], search: Search, *, interrupted: bool) -> None:
    """See that no process stays behind, and that what they were at is put in line again.

    Args:
        workers: those that may still run.
        search: their study.
        interrupted: they know that it is over, by Ctrl-C.
    """
    # As Ctrl-C does: one that is killed while it writes leaves the lock of a journal behind for half a minute.
    # Where SIGINT is ignored, the workers ignore it too.
    ignored = os.name != "posix" or signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    for worker in workers:
        if not interrupted and worker.process.is_alive():
            os.kill(worker.process.pid, signal.SIGTERM if ignored else signal.SIGINT)
    deadline = time.monotonic() + _FAREWELL_SECONDS
    for worker in workers:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join()
        search.lose_all_of(worker.name, "interrupted", again=True)


def _finished(search: Search) -> list[FrozenTrial]:
    return [trial for trial in search.study.get_trials(deepcopy=False) if trial.state.is_finished()]
