"""A line between the processes of a run for small things, beside the one over which gradients go."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed

from lumbre.base import PeerError
from lumbre.processes._peers import network_error


class Line:
    """Exchanges small things in the memory of the hosts. One thread at a time may use it, the same in every process.

    Its methods raise a `PeerError` when a process is gone or silent.

    Args:
        size: how many processes there are.
        group: they, as PyTorch knows them; None where there is but one.
    """

    def __init__(self, size: int = 1, group: distributed.ProcessGroup | None = None) -> None:
        self._size = size
        self._group = group

    def gather(self, value: Any) -> list[Any]:
        """What each process has, by rank. All of them must ask."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * self._size
        with _told():
            distributed.all_gather_object(values, value, group=self._group)
        return values

    def ask(self, numbers: Sequence[int]) -> Callable[[], list[int]]:
        """Ask for the largest of each number over all processes, and go on; the function given waits for the answer."""
        if self._group is None:
            return lambda: list(numbers)
        tensor = torch.tensor(numbers)
        with _told():
            work = distributed.all_reduce(tensor, distributed.ReduceOp.MAX, group=self._group, async_op=True)
        assert work is not None

        def answer() -> list[int]:
            with _told():
                work.wait()
            return tensor.tolist()

        return answer

    def close(self) -> None:
        """Give the line up. Not for lines on which somebody waits."""
        if self._group is not None and distributed.is_initialized():
            distributed.destroy_process_group(self._group)
        self._group = None


@contextmanager
def _told() -> Generator[None]:
    try:
        yield
    except RuntimeError as error:
        if network_error(error) is None:
            raise
        raise PeerError(
            "another process of this run that is gone or silent",
            "every process to stay until the end of the run",
            "look for the cause where that process wrote",
        ) from error
