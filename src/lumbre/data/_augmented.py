"""Training batches with something done to them on their way: augmentation."""

from collections.abc import Callable, Iterator

from lumbre.base import Batch, Batches


class Augmented:
    """The batches of another feed, each passed through a function.

    Args:
        batches: what comes in.
        change: the batch that a batch becomes, given (batch, epoch, index of the batch in the epoch).
    """

    def __init__(self, batches: Batches, change: Callable[[Batch, int, int], Batch]) -> None:
        self.batches = batches
        self._change = change

    @property
    def length(self) -> int | None:
        """Batches in an epoch, where the feed knows."""
        return self.batches.length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from batch `start` on, changed."""
        for index, batch in enumerate(self.batches.epoch(epoch, start), start):
            yield self._change(batch, epoch, index)
