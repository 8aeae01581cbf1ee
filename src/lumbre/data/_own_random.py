"""The chance of a ready loader that has generators of its own: they go on from epoch to epoch, so they are kept."""

from torch import Tensor

from lumbre.base import Batches
from lumbre.data._augmented import Augmented
from lumbre.data._feed import LoaderFeed


def own_random(batches: Batches | None, *, within: bool) -> list[Tensor]:
    """States of the loader's own generators: now, or, `within` an epoch, as they were when it began."""
    feed = _loader(batches)
    if feed is None:
        return []
    return feed.begun if within else [one.get_state() for one in feed.generators]


def restore_own_random(batches: Batches | None, states: list[Tensor]) -> None:
    """Bring the loader's own generators to kept states."""
    feed = _loader(batches)
    if feed is not None:
        for one, state in zip(feed.generators, states, strict=True):
            one.set_state(state)


def _loader(batches: Batches | None) -> LoaderFeed | None:
    inner = batches.batches if isinstance(batches, Augmented) else batches
    return inner if isinstance(inner, LoaderFeed) else None
