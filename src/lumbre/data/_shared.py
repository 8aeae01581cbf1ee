"""Batches that several processes share."""

from collections.abc import Iterator

from lumbre.base import Batch, Batches
from lumbre.data._order import Stripe


class Shared:
    """This process's part of each batch, told how much of the whole it is.

    Args:
        batches: the parts.
        stripe: how batches are shared.
    """

    def __init__(self, batches: Batches, stripe: Stripe) -> None:
        self.batches = batches
        self._stripe = stripe

    @property
    def length(self) -> int | None:
        """Batches in an epoch."""
        return self.batches.length

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The parts of the batches of `epoch` from batch `start` on."""
        for index, batch in enumerate(self.batches.epoch(epoch, start), start):
            batch.size, batch.whole = self._stripe.counts(index)
            yield batch
