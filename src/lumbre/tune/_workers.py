"""Workers: this process alone, or several processes on one study."""

import os
import tempfile
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from uuid import uuid4

import optuna
import torch
from optuna.trial import FrozenTrial

from lumbre.processes import (
    Worker,
    end_workers,
    in_worker,
    own_device,
    prepare,
    start_worker,
    started_nothing,
    wait_for_any,
    workers_fork,
)
from lumbre.tune._study import Search, quiet, storage_of
from lumbre.tune._trials import Job, Listener, work

_LOOK_SECONDS = 0.3


def run(job: Job, workers: int, listener: Listener | None) -> optuna.Study:
    """Run the trials of `job`, and wait for those that workers elsewhere have begun.

    Raises:
        LumbreError: every trial would fail, or a worker process could not be started.
    """
    prepare()
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


def _together(job: Job, workers: int, listener: Listener | None) -> optuna.Study:
    search = job.open()
    done = {trial.number for trial in _finished(search)}
    running: list[Worker] = []

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
            wait_for_any(running)
            for worker in [worker for worker in running if not worker.process.is_alive()]:
                running.remove(worker)
                if _died(worker, search):
                    running.append(_start(job, worker.place, workers))
            look()
    except KeyboardInterrupt:
        interrupted = True  # what is done so far is given back
    finally:
        end_workers(running, interrupted=interrupted)
        for worker in running:
            search.lose_all_of(worker.name, "interrupted", again=True)
    look()
    return search.study


def _died(worker: Worker, search: Search) -> bool:
    """Whether a worker that ended was killed, and another is to take its place; its trial is put in line again.

    Raises:
        LumbreError: what the worker raised, or it died before it began.
    """
    worker.process.join()
    if worker.process.exitcode == 0:
        return False
    worker.raise_error()
    search.lose_all_of(worker.name, "its worker died")
    if not any(trial.user_attrs.get("worker") == worker.name for trial in search.study.get_trials(deepcopy=False)):
        raise started_nothing(worker)
    return True


def _start(job: Job, place: int, workers: int) -> Worker:
    """A worker process with a job of its own."""
    name = uuid4().hex
    options = dict(job.options)
    options["device"] = own_device(place, options.get("device", "auto"))
    own = replace(
        job,
        worker=name,
        options=options,
        recipe=replace(job.recipe, hparams=dict(job.recipe.hparams), opt_hparams=dict(job.recipe.opt_hparams)),
    )
    # The threads of a forked process are gone: torch would wait for them in any but the first.
    threads = 1 if workers_fork() else max(1, (os.cpu_count() or 1) // workers)
    fix = 'workers=1, and start the script several times with the same study="runs/tune.db"'
    return start_worker(_child, (own, threads), place=place, name=name, workers=workers, fix=fix)


def _child(job: Job, threads: int, connection: Connection) -> None:
    torch.set_num_threads(threads)
    job = replace(job, recipe=job.recipe.set_hparams().set_opt_hparams())
    in_worker(connection, lambda: _work_and_wait(job, job.open(), None), "a search that runs")


def _finished(search: Search) -> list[FrozenTrial]:
    return [trial for trial in search.study.get_trials(deepcopy=False) if trial.state.is_finished()]
