"""Worker processes of this one: started, heard and ended. Several models are trained side by side in them.

A worker is forked where that is possible and there is no GPU, so that recipe and data need no copy; elsewhere it is
spawned. What it does comes from the caller, and so does what becomes of the work of one that dies.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from lumbre.base import LumbreError, OptionError, RecipeError, can_fork

_LOOK_SECONDS = 0.3
_FAREWELL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that was started.

    Attributes:
        place: its number among those that work at a time.
        name: the caller's name of it.
        process: as `multiprocessing` has it.
        connection: to it.
    """

    place: int
    name: str
    process: Any
    connection: Connection

    def raise_error(self) -> None:
        """Raise what the ended process has sent as its error; nothing where it was killed.

        Raises:
            LumbreError: as it was raised there.
        """
        if self.connection.poll():
            try:
                said = self.connection.recv()
            except EOFError:
                return
            if isinstance(said, LumbreError):
                raise said


def prepare() -> None:
    """Import what every first optimizer imports, which takes seconds: here once for all workers that are forked."""
    importlib.import_module("torch._dynamo")


def workers_fork() -> bool:
    """Whether workers are forks of this process."""
    return can_fork() and not torch.accelerator.is_available()


def start_worker(
    target: Callable[..., None], args: tuple[Any, ...], *, place: int, name: str, workers: int, fix: str
) -> Worker:
    """Start a process that runs `target(*args, connection)`.

    Args:
        target: a function of a module.
        args: what can be sent to another process, where this one cannot be forked.
        place: its number among those that work at a time.
        name: the caller's name of it.
        workers: how many were asked for, for the error.
        fix: what to do where the process cannot be started.

    Raises:
        OptionError: it cannot be started.
    """
    context: Any = torch.multiprocessing.get_context("fork" if workers_fork() else "spawn")
    own, other = context.Pipe()
    process = context.Process(target=target, args=(*args, other), name=f"lumbre-worker-{place}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            process.start()
    except Exception as error:  # whatever could not be copied says so in its own way
        raise OptionError(
            f"workers={workers}, and a worker process that cannot be started: {error}",
            "module, data and options that can be sent to another process, where this one cannot be forked",
            f"define the module in a file, not in a notebook or a function; or {fix}",
        ) from error
    other.close()
    return Worker(place, name, process, own)


def in_worker(connection: Connection, work: Callable[[], None], what: str) -> None:
    """Do the `work` of a worker process; its error, with `what` was expected, goes to the other process."""
    try:
        work()
    except KeyboardInterrupt:
        return
    except LumbreError as error:
        connection.send(type(error)(error.received, error.expected, error.fix))
        sys.exit(1)
    except Exception as error:
        connection.send(
            RecipeError(
                f"{type(error).__name__} in a worker process: {error}", what, "workers=1 shows where it comes from"
            )
        )
        sys.exit(1)


def with_threads(threads: int, work: Callable[[], None]) -> None:
    """Do the `work` of a worker process with so many threads; the process ends where the one that started it does.

    The threads of a process that was forked are gone, and a product in its first thread would wait for them. A thread
    of its own gets new ones.

    Raises:
        BaseException: what `work` raises.
    """
    found: list[BaseException] = []

    def run() -> None:
        torch.set_num_threads(threads)
        try:
            work()
        except BaseException as error:
            found.append(error)

    parent = multiprocessing.parent_process()
    thread = threading.Thread(target=run, name="lumbre-worker", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK_SECONDS)
        if parent is not None and not parent.is_alive():
            os._exit(1)  # nobody waits for what it does, and a run that goes on needs its folder
    if found:
        raise found[0]


def wait_for_any(workers: Iterable[Worker]) -> None:
    """Wait for a moment, or until a worker ends or sends something."""
    wait([one for worker in workers for one in (worker.process.sentinel, worker.connection)], timeout=_LOOK_SECONDS)


def started_nothing(worker: Worker) -> OptionError:
    """The error of a worker that ended before it began."""
    return OptionError(
        f"a worker process that ended with exit code {worker.process.exitcode} before it began",
        "processes that can be started",
        'put the call under if __name__ == "__main__": in a file; or workers=1',
    )


def end_workers(workers: Iterable[Worker], *, interrupted: bool) -> None:
    """See that no process stays behind.

    Args:
        workers: those that may still run.
        interrupted: they know that it is over, by Ctrl-C.
    """
    # As Ctrl-C does: one that is killed while it writes may leave a lock behind for half a minute.
    # Where SIGINT is ignored, the workers ignore it too.
    workers = list(workers)
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


def own_device(place: int, device: Any) -> Any:
    """The device of the worker at `place`: several GPUs are shared out where none was named."""
    count = torch.cuda.device_count()
    return f"cuda:{place % count}" if count > 1 and device == "auto" else device
