"""The chance of a ready loader that has generators of its own: they go on from epoch to epoch, so they are kept."""

from typing import Any

import torch
from torch import Tensor

from lumbre.base import Batches
from lumbre.data._augmented import Augmented
from lumbre.data._feed import LoaderFeed, RowFeed
from lumbre.data._shared import Shared
from lumbre.data._sources import users_object


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


def objects_behind(batches: Batches | None) -> tuple[list[Any], list[torch.Generator]]:
    """What of the user's makes the rows of `batches`, and of its generators those that are kept."""
    inner = feed_behind(batches)
    if isinstance(inner, LoaderFeed):
        loader: Any = inner.loader
        names = ("dataset", "sampler", "batch_sampler", "collate_fn")
        found = [getattr(loader, name) for name in names if getattr(loader, name, None) is not None]
        return [loader, *found, *_inner(found)], inner.generators
    dataset = users_object(inner.source) if isinstance(inner, RowFeed) else None
    return ([] if dataset is None else [dataset, *_inner([dataset])]), []


def feed_behind(batches: Batches | None) -> RowFeed | LoaderFeed | None:
    """What gives the batches that are augmented or shared."""
    inner = batches
    while isinstance(inner, (Augmented, Shared)):
        inner = inner.batches
    return inner if isinstance(inner, (RowFeed, LoaderFeed)) else None


def _inner(datasets: list[Any]) -> list[Any]:
    """The data sets of which torch's `Subset`s among these show a part, and samplers within others."""
    names = ("dataset", "sampler")
    return [getattr(one, name) for one in datasets for name in names if hasattr(one, name)]


def _loader(batches: Batches | None) -> LoaderFeed | None:
    inner = batches.batches if isinstance(batches, Augmented) else batches
    return inner if isinstance(inner, LoaderFeed) else None
