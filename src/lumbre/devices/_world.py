"""The processes that share a run: how many there are, which one this is, and how they exchange what they have.

`torchrun` starts them, and tells each its place in environment variables; PyTorch's own engine joins them.
"""

import atexit
import gc
import importlib
import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed

T = TypeVar("T")


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


def join_world() -> World:
    """The processes that `torchrun`, or the user, has started with this one; it joins them if it has not yet."""
    if not distributed.is_available():
        return World()
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
            return World()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        # What it defines has the group of that moment as a default: imported later, it would keep the group, and
        # with it threads that touch tensors while the interpreter ends, which aborts the process.
        for name in ("torch.distributed.nn.functional", "torch.distributed.fsdp"):
            importlib.import_module(name)
        distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(leave_world)
    return World(distributed.get_rank(), distributed.get_world_size())


def leave_world() -> None:
    """Leave the processes of the run, where this one has joined them."""
    if distributed.is_initialized():
        gc.collect()  # what still holds the group would keep its threads
        from torch.distributed.device_mesh import DeviceMesh

        for one in gc.get_objects():  # torch's caches of what it did with DTensors keep their mesh, and that the group
            if type(one) is DeviceMesh:
                getattr(one, "_pg_registry", {}).clear()
        distributed.destroy_process_group()
