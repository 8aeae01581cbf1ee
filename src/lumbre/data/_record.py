"""What is told of data after a run: how many rows, of which types and shapes, and a fingerprint.

The fingerprint is the beginning of a SHA-256 over the number of rows, types, shapes and bytes. It tells whether two
runs saw the same data; it is no proof against somebody who means to deceive.
"""

import hashlib
from typing import Any

import torch
from torch import Tensor

from lumbre.base import Batch, Batches, DataRecord, Nested, Source, leaves, map_leaves, unchanged
from lumbre.data._dicts import parts_of
from lumbre.data._feed import LoaderFeed, RowFeed
from lumbre.data._own_random import feed_behind, objects_behind
from lumbre.data._sources import ArraySource, InMemoryDataset, Taken

# About 10 ms of hashing: all rows of a small table, an even sample of larger data.
_MOST_BYTES = 16 * 2**20
_DIGITS = 16
FIRST_BATCH = "the first batch"


def data_record(batches: RowFeed | LoaderFeed, first: Batch | None = None) -> DataRecord:
    """A record of the data behind `batches`.

    Rows in memory are fingerprinted as they lie there, all of them or an even sample of 16 MiB. Of other data, whose
    rows cost work to fetch, the first batch is taken; nothing more is asked of them.

    Args:
        batches: the data.
        first: their first batch, where it is at hand.
    """
    source = batches.source if isinstance(batches, RowFeed) else None
    plain = None if source is None else _in_memory(source)
    rows = None if source is None else len(source)
    if first is not None:
        pair = first.input, first.target
    elif source is not None and plain is not None:
        pair = source.fetch(range(1), 1)
    else:
        return DataRecord(rows=rows)
    covers = ""
    sample = pair
    if plain is not None:
        sample, covers = _sample(plain)
    elif first is not None:
        covers = f"{FIRST_BATCH}, of {first.size:,} rows"
    fingerprint = _digest(rows, sample)
    if isinstance(batches, RowFeed) and batches.weights is not None:
        covers = f"{covers}, and their weights" if fingerprint else "the weights of the rows"
        both = fingerprint + _digest(rows, (_evenly(batches.weights), batches.weights.sum()))
        fingerprint = hashlib.sha256(both.encode()).hexdigest()[:_DIGITS]
    return DataRecord(
        rows=rows,
        input=forms(pair[0]),
        target=forms(pair[1]),
        fingerprint=fingerprint,
        covers=covers if fingerprint else "",
        columns=_names(source),
        parts=parts_of(batches.loader if isinstance(batches, LoaderFeed) else source),
    )


def is_drawn_anew(batches: Batches, record: DataRecord) -> bool:
    """Whether the first batch is another one when it is read again, so that its fingerprint tells nothing of the data.

    So it is where rows draw from generators of their own, which nobody seeds.

    Args:
        batches: the data.
        record: what was recorded of them in this process.
    """
    inner = feed_behind(batches)
    if inner is None or not record.covers.startswith(FIRST_BATCH):
        return False
    if isinstance(inner, LoaderFeed) and inner.is_read_once:
        return False
    with unchanged(*objects_behind(batches)[0]):
        return data_record(inner, inner.first()).fingerprint != record.fingerprint


def _in_memory(source: Source) -> Source | None:
    """The rows of `source` without transforms, where reading them takes no work; else None."""
    if isinstance(source, Taken):
        inner = _in_memory(source.source)
        return None if inner is None else Taken(inner, source.rows)
    if isinstance(source, InMemoryDataset):
        return InMemoryDataset(source.input, source.target)
    return source if isinstance(source, ArraySource) else None


def _names(source: Source | None) -> Nested:
    rows = source.source if isinstance(source, Taken) else source
    return rows.names if isinstance(rows, InMemoryDataset) else None


def _sample(source: Source) -> tuple[Nested, str]:
    total = len(source)
    row_bytes = sum(leaf.nbytes for leaf in leaves(source.fetch(range(1), 1)) if isinstance(leaf, Tensor))
    count = min(total, max(1, _MOST_BYTES // max(1, row_bytes)))
    if count == total:
        return source.fetch(range(total), 1), "all rows"
    return source.fetch(torch.arange(count) * total // count, 1), f"{count:,} rows, evenly spread"


def _evenly(weights: Tensor) -> Tensor:
    """All weights, or an even sample of those of many rows."""
    count = min(len(weights), _MOST_BYTES // 8)
    return weights if count == len(weights) else weights[torch.arange(count) * len(weights) // count]


def _digest(rows: int | None, sample: Nested) -> str:
    """The fingerprint; "" where something in the sample has no bytes of its own (sparse tensors, objects)."""
    found = hashlib.sha256(f"{rows} {map_leaves(_kind, sample)}".encode())
    for leaf in leaves(sample):
        if leaf is None:
            continue
        if not isinstance(leaf, Tensor) or leaf.layout != torch.strided or leaf.is_quantized:
            return ""
        plain = leaf.detach().cpu().resolve_conj().contiguous().reshape(-1)
        found.update(plain.view(torch.uint8).numpy().data)
    return found.hexdigest()[:_DIGITS]


def forms(value: Nested) -> Nested:
    """Type and shape of each part of a batch, as a record tells them."""
    return map_leaves(_kind, value)


def same_forms(kinds: Nested, others: Nested) -> bool:
    """Whether two inputs are of the same types and shapes; a file holds tuples as lists."""
    return in_words(kinds).translate(_BRACKETS) == in_words(others).translate(_BRACKETS)


_BRACKETS = str.maketrans("[]", "()", ",")


def in_words(kinds: Nested) -> str:
    """What `forms` gives, in words."""
    return str(kinds).replace("'", "") if isinstance(kinds, (dict, tuple, list)) else str(kinds)


def row_dims(kinds: Nested) -> int | None:
    """The dimensions of a row that has one part, in a record; None where it has several, or is no tensor."""
    if not isinstance(kinds, str) or " (rows" not in kinds:
        return None
    return kinds.count(",")


def _kind(leaf: Any) -> str | None:
    """Type and shape of a part of a batch, "float32 (rows, 4)"."""
    if isinstance(leaf, Tensor):
        sizes = ", ".join(map(str, ("rows", *leaf.shape[1:])))
        return f"{str(leaf.dtype).removeprefix('torch.')} ({sizes})"
    return None if leaf is None else type(leaf).__name__
