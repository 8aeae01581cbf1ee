"""The processes that share a run: how many there are, which one this is, and how they exchange what they have.

`torchrun` starts them, and tells each its place in environment variables; PyTorch's own engine joins them.
"""

import atexit
import gc
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.distributed.rendezvous import rendezvous

from lumbre.base import OptionError
from lumbre.processes._line import Line
from lumbre.processes._meeting import meet
from lumbre.processes._peers import Process, network_error, peer_error, this_process

T = TypeVar("T")

_LOCK_SECONDS = 60.0
_MEETING = timedelta(minutes=10)

TIMEOUT = "LUMBRE_TIMEOUT_SECONDS"
"""The environment variable that says how long processes wait for one another; PyTorch's time where it is not set."""


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a run.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """What is sent to another process, is in that one's world there."""
        return join_world, ()

    @property
    def leads(self) -> bool:
        """Whether this process speaks and writes files."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """What each process has, by rank. All of them must ask."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def total(self, value: Tensor) -> Tensor:
        """A number summed over all processes, on its device. All of them must ask."""
        if self.size == 1:
            return value
        value = value.clone()
        distributed.all_reduce(value)
        return value

    def line(self) -> Line:
        """A new line between the processes, beside the one over which they train. All of them must ask."""
        if self.size == 1:
            return Line()
        group = distributed.new_group(backend="gloo", timeout=_patience())
        assert isinstance(group, distributed.ProcessGroup)
        return Line(self.size, group)

    @contextmanager
    def together(self) -> Generator[None]:
        """A time in which the processes wait for one another. All of them must begin it.

        Raises:
            PeerError: in place of what the network says when one of them is gone or silent.
        """
        if self.size == 1:
            yield
            return
        processes: list[Process] = []
        try:
            processes = self.gather(this_process())
            yield
        except RuntimeError as error:
            said = network_error(error)
            if said is None:
                raise
            raise peer_error(self.rank, self.size, processes, said) from None


def join_world() -> World:
    """The processes that `torchrun`, or the user, has started with this one; it joins them if it has not yet.

    Raises:
        PeerError: not all of them come.
    """
    if not distributed.is_available():
        return World()
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
            return World()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        # What it defines has the group of that moment as a default: imported later, it would keep the group, and
        # with it threads that touch tensors while the interpreter ends, which aborts the process.
        from torch.distributed import fsdp
        from torch.distributed.nn import functional

        assert fsdp
        assert functional
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        _begin(backend)
        atexit.register(leave_world)
    return World(distributed.get_rank(), distributed.get_world_size())


def _begin(backend: str) -> None:
    rank, size, patience = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), _patience()
    try:
        if not distributed.is_torchelastic_launched():
            distributed.init_process_group(backend, timeout=patience)
            return
        wait = _MEETING if patience is None else patience
        store, _, _ = next(rendezvous("env://", timeout=wait))
        store = meet(store, rank, size, wait.total_seconds())
        distributed.init_process_group(backend, timeout=patience, store=store, rank=rank, world_size=size)
    except RuntimeError as error:
        raise peer_error(rank, size, [], error) from None


def lock_patience(world: World) -> float:
    """Seconds to wait for a file that processes before these may hold: where torchrun starts some anew, the last of the
    old ones may only be ending, on a host that is cut off."""
    if world.size == 1 or not distributed.is_torchelastic_launched():
        return 0.0
    patience = _patience()
    return _LOCK_SECONDS if patience is None else min(_LOCK_SECONDS, patience.total_seconds() / 2)


def _patience() -> timedelta | None:
    text = os.environ.get(TIMEOUT)
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise OptionError(f"{TIMEOUT}={text!r} in the environment", "seconds, more than 0", f"{TIMEOUT}=120")
    return timedelta(seconds=seconds)


def leave_world() -> None:
    """Leave the processes of the run, where this one has joined them."""
    if distributed.is_initialized():
        gc.collect()  # what still holds the group would keep its threads
        from torch.distributed.device_mesh import DeviceMesh

        for one in gc.get_objects():  # torch's caches of what it did with DTensors keep their mesh, and that the group
            if type(one) is DeviceMesh:
                getattr(one, "_pg_registry", {}).clear()
        distributed.destroy_process_group()
