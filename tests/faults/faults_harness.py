"""Children that train and are killed: forked from a process that has already loaded torch, to start fast.

A child trains one scenario with a folder to resume from, and leaves its final state in a file. It is killed with
SIGKILL by the clock at a random moment, or by itself at a chosen write, sync or rename of a checkpoint.
"""

import json
import os
import random
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import lumbre as lb
from lumbre.base import own_part
from lumbre.resume._keeper import RunKeeper
from lumbre.storage import _checkpoints, pack

_MOST_DEATHS = 40
_CALLS = ("write", "fsync", "rename")

Fit = Callable[..., lb.Fitted]
"""Trains a scenario: takes `callbacks`, `resume` and `attempt`, the number of the child."""


class Final(lb.Callback):
    """Leaves the state at the end of a run in a file: weights, optimizers, history, callbacks."""

    def __init__(self, path: Path, others: list[lb.Callback]) -> None:
        self.path = path
        self._others = others

    def on_fit_end(self, ctx: lb.Context) -> None:
        tensors: dict[str, torch.Tensor] = {}
        reported = pack(
            {
                "model": dict(ctx.model.state_dict()),
                "optimizers": {name: one.state_dict() for name, one in ctx.optimizers.items()},
                "callbacks": [one.state_dict() for one in self._others],
                "history": ctx.history.records,
                "step": ctx.step,
                "stop_reason": ctx.stop_reason,
            },
            tensors,
        )
        copies = {name: own_part(value).clone().contiguous() for name, value in tensors.items()}
        temporary = self.path.with_suffix(".part")
        temporary.write_bytes(safetensors.torch.save(copies, {"reported": json.dumps(reported, sort_keys=True)}))
        temporary.rename(self.path)


@dataclass
class Tally:
    """What was done in a scenario."""

    kills: int = 0
    runs: int = 0
    by: dict[str, int] = field(default_factory=dict[str, int])


def die_in(call: str, nth: int) -> None:
    """Kill this process in the middle of the nth write, or at the nth sync or rename."""
    seen = 0

    def die() -> None:
        nonlocal seen
        seen += 1
        if seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    if call == "write":

        def half_written(path: Path, content: bytes) -> None:
            with path.open("wb") as file:
                file.write(content[: len(content) // 2])
                file.flush()
                die()
                file.write(content[len(content) // 2 :])
                file.flush()
                os.fsync(file.fileno())

        _checkpoints._write_synced = half_written
        return
    original = getattr(os, call)

    def watched(*args: Any, **kwargs: Any) -> Any:
        die()
        return original(*args, **kwargs)

    setattr(os, call, watched)


def _in_child(work: Callable[[], None], log: Path) -> int:
    """Fork, and do `work` in the child; gives its process id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        warnings.simplefilter("ignore")
        work()
        status = 0
    except BaseException:
        log.write_text(traceback.format_exc())
    finally:
        os._exit(status)


def _ended(child: int, log: Path) -> bool:
    """Wait for a child; whether it came to its end and was not killed."""
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise AssertionError(log.read_text() if log.exists() else f"the child ended with {status}")
    return True


def _kill_after(child: int, seconds: float) -> None:
    """Kill a child after some time, if it still lives; a child that is not waited for keeps its number."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)


def unbroken(fit: Fit, folder: Path) -> tuple[bytes, float]:
    """The final state of a run that nobody kills, and the seconds it takes."""
    folder.mkdir(parents=True, exist_ok=True)
    log, final = folder / "log", folder / "whole"
    began = time.monotonic()
    child = _in_child(lambda: _train(fit, final, folder / "unbroken", 0, steps=1, wait=True), log)
    assert _ended(child, log)
    return final.read_bytes(), time.monotonic() - began


def _train(fit: Fit, final: Path, folder: Path, attempt: int, **when: Any) -> None:
    fit(final=final, resume=lb.Checkpoints(folder, **when), attempt=attempt)


def killed_until_done(fit: Fit, folder: Path, seconds: float, rng: random.Random, tally: Tally) -> bytes:
    """The final state of a run that is killed again and again, and resumes each time."""
    run, log, final = folder / "run", folder / "log", folder / "final"
    shutil.rmtree(run, ignore_errors=True)
    final.unlink(missing_ok=True)
    for attempt in range(_MOST_DEATHS + 1):
        when = {"steps": rng.choice([1, 1, 2]), "wait": rng.random() < 0.5, "keep": rng.choice([1, 2, 3])}
        way = rng.choice(["clock", "clock", *_CALLS])
        nth, delay = rng.randint(1, 12), rng.uniform(0, seconds)

        def work(attempt: int = attempt, when: dict[str, Any] = when, way: str = way, nth: int = nth) -> None:
            if way in _CALLS and attempt < _MOST_DEATHS:
                die_in(way, nth)
            _train(fit, final, run, attempt, **when)

        child = _in_child(work, log)
        if way == "clock" and attempt < _MOST_DEATHS:
            _kill_after(child, delay)
        if _ended(child, log):
            tally.runs += 1
            return final.read_bytes()
        tally.kills += 1
        tally.by[way] = tally.by.get(way, 0) + 1
    raise AssertionError("the run does not come to its end")


def killed_at_boundary(fit: Fit, folder: Path, boundary: int, tally: Tally, *, wait: bool) -> bool:
    """Kill a run after a number of batches, and resume it to its end; whether it ended before the kill."""
    folder.mkdir()
    run, log, final = folder / "run", folder / "log", folder / "final"

    def work() -> None:
        done, seen = RunKeeper.batch_done, 0

        def counted(keeper: RunKeeper, now: float) -> float:
            nonlocal seen
            seen += 1
            now = done(keeper, now)
            if seen == boundary:
                os.kill(os.getpid(), signal.SIGKILL)
            return now

        RunKeeper.batch_done = counted
        _train(fit, final, run, 0, steps=1, wait=wait)

    ended = _ended(_in_child(work, log), log)
    if not ended:
        tally.kills += 1
        tally.by["boundary"] = tally.by.get("boundary", 0) + 1
        assert _ended(_in_child(lambda: _train(fit, final, run, 1, steps=1, wait=wait), log), log)
    tally.runs += 1
    return ended


def differing(left: bytes, right: bytes) -> list[str]:
    """What differs between two final states, bit for bit; empty where nothing does."""
    ours, theirs = safetensors.torch.load(left), safetensors.torch.load(right)
    found = sorted(ours.keys() ^ theirs.keys())
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        if one.dtype != other.dtype or one.shape != other.shape or _bytes(one) != _bytes(other):
            found.append(name)
    return found + ([] if _told(left) == _told(right) else ["history, steps or other numbers"])


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _told(data: bytes) -> str:
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length])["__metadata__"]["reported"]
