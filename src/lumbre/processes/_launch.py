"""A function in several processes, without `torchrun`: PyTorch's own launcher starts them and watches over them."""

import gc
import inspect
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import distributed

from lumbre.base import LaunchError, OptionError, at_least, can_fork
from lumbre.processes._peers import network_error
from lumbre.processes._world import leave_world

_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
_SHUTDOWN_SECONDS = 5
_PRECEDENCE_SECONDS = 10


def launch(fn: Callable[..., Any], *args: Any, devices: int) -> Any:
    """Call `fn(*args)` in several processes that share the runs in it, from a notebook or a plain script.

    What `torchrun` does for a script, for a function: each process sees the same arguments, and `fit`, `evaluate` and
    `predict` within share their work, with a GPU for each process over NCCL, or processors over gloo. When one of them
    fails, the others are ended.

    On Linux the processes are forks of this one, so that `fn` may stand in a notebook and use what is there; each
    computes with one thread of the processor. A GPU must not have been used before: neither CUDA nor the threads that
    torch's autograd has for GPUs survive a fork. Where they are, and on other systems, processes start afresh: `fn`
    must then stand in a file, its arguments be such as can be sent, and a script call `launch` under
    `if __name__ == "__main__":`.

    Args:
        fn: what to do.
        *args: its arguments.
        devices: how many processes; not more than GPUs, where there is one.

    Returns:
        What `fn` returned in the first process: a tensor, numbers, a `Fitted`; whatever can be sent from there.

    Raises:
        OptionError: the processes cannot be started so.
        LaunchError: `fn` failed in one of them, or the process was killed; with its traceback.

    Example:
        >>> import torch, lumbre as lb
        >>> def train(rows):
        ...     x = torch.linspace(-1, 1, rows)[:, None]
        ...     recipe = lb.setup(
        ...         torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD
        ...     )
        ...     recipe = recipe.set_hparams(in_features=1, out_features=1)
        ...     fitted = recipe.fit((x, 3 * x), epochs=2, device="cpu", verbose=False)
        ...     return torch.distributed.get_world_size(), fitted.predict(x).shape
        >>> lb.launch(train, 64, devices=2)
        (2, torch.Size([64, 1]))
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    forked = _check(fn, devices)
    gc.collect()  # frees what a launch that failed has left, such as its store, here and not in a fork
    with tempfile.TemporaryDirectory(prefix="lumbre-launch-") as folder, _undisturbed():
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=devices,
            run_id="lumbre",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            start_method="fork" if forked else "spawn",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            signals_to_handle=",".join(_heard()),
            **_shutdown(LaunchConfig),
        )
        # The threads of a forked process are gone: torch would wait for them.
        threads = 1 if forked else max(1, (os.cpu_count() or 1) // devices)
        try:
            return elastic_launch(config, _work)(fn, threads, args)[0]
        except ChildFailedError as error:
            raise _told(error) from None


def _check(fn: Callable[..., Any], devices: int) -> bool:
    """See that processes can be started; gives whether they are forks."""
    if not callable(fn):
        raise OptionError(f"launch({fn!r})", "a function", "launch(train, devices=2), without calling train")
    at_least(1, devices=devices)
    gpus = torch.cuda.device_count()  # asks the driver, and leaves CUDA alone
    if 0 < gpus < devices:
        raise OptionError(f"devices={devices} where there are {gpus} GPUs", "a GPU for each", f"devices={gpus}")
    if distributed.is_initialized() or "TORCHELASTIC_RUN_ID" in os.environ:
        raise OptionError(
            "launch(...) in a process that shares a run already",
            "one way to start processes",
            "call the function itself, where torchrun has started the script",
        )
    forked = can_fork()
    import __main__

    if not forked and getattr(fn, "__module__", None) == "__main__" and not hasattr(__main__, "__file__"):
        raise OptionError(
            f"launch({getattr(fn, '__name__', fn)}), a function of a notebook, "
            + ("after a GPU or torch's compiler was used here" if sys.platform == "linux" else f"on {sys.platform}"),
            "a process that can be forked, or a function that another process can import",
            "restart the kernel and launch before anything is put on a GPU or compiled; or write the function into a "
            "file, and import it",
        )
    return forked


def _work(fn: Callable[..., Any], threads: int, args: tuple[Any, ...]) -> Any:
    """What each process does."""
    gc.freeze()  # what a fork has from the launcher is never freed here: stores of torch's crash without their threads
    for name in _heard():  # a fork has the launcher's own handlers, which would raise in the middle of things
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    torch.set_num_threads(threads)
    try:
        value = fn(*args)
    except Exception as error:
        if network_error(error) is not None:
            # Mostly another process has ended, whose error says more: it is reported first, and this process ended.
            time.sleep(_PRECEDENCE_SECONDS)
        raise
    finally:
        leave_world()
    if os.environ.get("RANK") != "0":
        return None
    try:
        ForkingPickler.dumps(value)
    except Exception as error:  # whatever cannot be copied says so in its own way
        raise OptionError(
            f"a {type(value).__name__} that cannot be sent to the process that called launch: {error}",
            "a value whose classes stand in a file or a notebook, not within a function",
            "return tensors and numbers; or fitted.save(path) in fn, and lumbre.load(path, Net)",
        ) from error
    return value


def _shutdown(config: Any) -> dict[str, Any]:
    """How long processes may take to end once another has failed; torch 2.11 has no option for it."""
    known = "shutdown_timeout" in inspect.signature(config).parameters
    return {"shutdown_timeout": _SHUTDOWN_SECONDS} if known else {}


def _heard() -> list[str]:
    """The signals that are not ignored; those that are, as SIGHUP is under `nohup`, stay so in all processes."""
    there = [name for name in _SIGNALS if hasattr(signal, name)]
    return [name for name in there if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN]


@contextmanager
def _undisturbed() -> Generator[None]:
    """What the launcher changes in this process, put back; its own log is quiet, since the error says all."""
    environment = dict(os.environ)
    main = threading.current_thread() is threading.main_thread()
    handlers = {name: signal.getsignal(getattr(signal, name)) for name in _SIGNALS if main and hasattr(signal, name)}
    logs = [logging.getLogger(name) for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
        for name, handler in handlers.items():
            signal.signal(getattr(signal, name), signal.SIG_DFL if handler is None else handler)
        os.environ.clear()
        os.environ.update(environment)


def _told(error: Any) -> LaunchError:
    """The first failure in words, with its traceback."""
    rank, failure = error.get_first_failure()
    message: Any = failure.message
    if isinstance(message, dict):
        details: Any = message
        trace = str(details.get("extraInfo", {}).get("py_callstack", details.get("message", "")))
        return LaunchError(
            f"a function that failed in process {rank}: {details.get('message', '')}\n\n{trace}",
            "a function that comes to its end in all processes; the others were ended",
            "look at the last lines of the traceback above",
        )
    how = f"was killed by {failure.signal_name()}" if failure.exitcode < 0 else f"ended with status {failure.exitcode}"
    return LaunchError(
        f"process {rank}, which {how}",
        "processes that come to their end; the others were ended",
        "look for what it wrote last; one that the system killed mostly had taken too much memory",
    )
