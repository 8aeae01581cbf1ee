"""What to say when a process of a shared run is gone: which one, and what to do."""

import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import TypeAlias

from torch import distributed

from lumbre.base import PeerError

Process: TypeAlias = tuple[str, int]
"""The name of a host, and the number of a process there."""

_GLOO = re.compile(
    r"gloo|Connection (closed|reset) by peer|Broken pipe|Timed out waiting|Application timeout", re.IGNORECASE
)
_SOURCE_LINE = re.compile(r"^\[[^\]]*\.cc:\d+\]\s*")
_LONGEST = 160
_SECONDS = 2.0


def this_process() -> Process:
    """Where this process is to be found."""
    return socket.gethostname(), os.getpid()


def network_error(error: BaseException | None) -> BaseException | None:
    """What PyTorch's engine says of the network, if that is what `error` comes from; else None."""
    while error is not None:
        # gloo has no type of its own for its errors
        if isinstance(error, distributed.DistError) or (type(error) is RuntimeError and _GLOO.search(str(error))):
            return error
        error = error.__cause__
    return None


def peer_error(rank: int, size: int, processes: list[Process], said: BaseException) -> PeerError:
    """The error for the process `rank` of `size`, to which the network has `said` something.

    Args:
        rank: of this process.
        size: how many there are.
        processes: they, by rank; empty where they have not met yet.
        said: what the network said.
    """
    host = processes[rank][0] if processes else ""
    here = [(other, pid) for other, (name, pid) in enumerate(processes) if name == host and other != rank]
    ended = _ended(here)
    if not processes:
        who = "not all of the others came"
    elif ended:
        who = f"{_and(ended)} {'has' if len(ended) == 1 else 'have'} ended"
    elif len(processes) == 2:
        who = f"the process of rank {1 - rank} does not answer: it hangs, or its host {processes[1 - rank][0]} is gone"
    else:
        hosts = sorted({name for name, _ in processes})
        who = f"one of the others does not answer: it hangs, or a host of {', '.join(hosts)} is gone"
    return PeerError(
        f"rank {rank} of {size} cannot go on: {who} ({_short(str(said))})",
        "every process to stay until the end of the run",
        "look for the cause where the lost process wrote; a job started with torchrun --max-restarts=3 and "
        "fit(resume=folder) comes back from its last checkpoint by itself",
    )


def _ended(processes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Those of this host's processes that are no longer there; a moment is given to one that is just ending."""
    if sys.platform != "linux":
        return []
    end = time.monotonic() + _SECONDS
    while True:
        found = [(rank, pid) for rank, pid in processes if not _lives(pid)]
        if found or time.monotonic() > end or not processes:
            return found
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def _and(ended: list[tuple[int, int]]) -> str:
    named = [f"rank {rank} (process {pid} on this host)" for rank, pid in ended]
    return named[0] if len(named) == 1 else f"{', '.join(named[:-1])} and {named[-1]}"


def _short(text: str) -> str:
    line = _SOURCE_LINE.sub("", text.strip().split("\n")[0])
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
