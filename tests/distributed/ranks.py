"""Processes that share a run, forked from one that has torch already, so that a death costs little.

They are what torchrun would start, with the environment that it would give them.
"""

import os
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

KILLED = -signal.SIGKILL
TERMINATED = 143
FAILED = 1
_SECONDS = 240.0


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@dataclass
class Ranks:
    """Running processes, by rank.

    Attributes:
        pids: their numbers.
        logs: where each leaves its error.
    """

    pids: list[int]
    logs: list[Path]

    def running(self, rank: int) -> bool:
        return os.waitid(os.P_PID, self.pids[rank], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def kill_after(self, rank: int, seconds: float) -> None:
        """Kill one after some time, if it still lives; one that is not waited for keeps its number."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.running(rank):
            time.sleep(0.001)
        os.kill(self.pids[rank], signal.SIGKILL)

    def stop_after(self, seconds: float) -> None:
        """What torchrun does when one has ended with an error: ask the others to end; here after some time."""
        every = range(len(self.pids))
        while all(map(self.running, every)):
            time.sleep(0.005)
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(map(self.running, every)):
            time.sleep(0.005)
        for pid in self.pids:
            os.kill(pid, signal.SIGTERM)

    def ended(self) -> list[int]:
        """Wait for all; gives exit statuses, negative where a signal ended one."""
        end = time.monotonic() + _SECONDS
        try:
            while any(self.running(rank) for rank in range(len(self.pids))):
                assert time.monotonic() < end, "the processes hang"
                time.sleep(0.005)
        except AssertionError:
            for pid in self.pids:
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self.pids]
        return statuses

    def reported(self, rank: int) -> str:
        return self.logs[rank].read_text() if self.logs[rank].exists() else ""


def start(size: int, work: Callable[[int], object], folder: Path, **environment: str) -> Ranks:
    """Fork `size` processes that do `work` with their rank."""
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"{rank}.log" for rank in range(size)]
    port = free_port()
    pids: list[int] = []
    for rank in range(size):
        logs[rank].unlink(missing_ok=True)
        child = os.fork()
        if child:
            pids.append(child)
            continue
        status = FAILED
        try:
            warnings.simplefilter("ignore")
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port), **environment,
            )  # fmt: skip
            torch.set_num_threads(1)
            work(rank)
            if size > 1:
                torch.distributed.destroy_process_group()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            logs[rank].write_text(traceback.format_exc())
        finally:
            os._exit(status)
    return Ranks(pids, logs)
