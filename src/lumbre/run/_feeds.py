"""Prepares the data once: batches to train and validate on, and the facts about them that are needed later."""

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from lumbre.base import Batch, Batches, DataRecord, OptionError, Source, seed_host, stream
from lumbre.data import (
    PAIR_KEYS,
    Augmented,
    FrameData,
    FrameEncoding,
    InMemoryDataset,
    Loaded,
    LoaderFeed,
    Order,
    ParquetData,
    RowFeed,
    Stripe,
    Taken,
    WeightedRows,
    accept,
    by_places,
    class_names,
    columns_encoding,
    data_record,
    held_out,
    in_one_order,
    in_parts,
    is_frame,
    parted,
    parts_of,
    sampling_weights,
    split_rows,
    taken,
    that_count,
    whole_targets,
)
from lumbre.run._batches import counted_rows, feed, given_data, refuse_own_encoding, share
from lumbre.run._options import Options
from lumbre.run._setting import Setting
from lumbre.vision import Augment, row_seeds


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The rows of a run, encoded.

    Attributes:
        train: rows or batches to train on.
        valid: rows or batches to validate on, or None.
        encoding: how frames become tensors, fitted on the training rows; None without frame data.
        classes: names of the target's classes, where they are known.
        draws: how likely each training row is drawn, of shape (rows,); None draws every row once an epoch.
        weights: of the training rows, float64 of shape (rows,), or None.
        valid_weights: of the validation rows, or None.
        valid_name: the name of the validation rows, where there are several sets of them.
        also: the other sets by name, each with the weights of its rows, or None.
    """

    train: Source | Loaded
    valid: Source | Loaded | None
    encoding: FrameEncoding | None
    classes: tuple[str, ...] | None
    draws: Tensor | None = None
    weights: Tensor | None = None
    valid_weights: Tensor | None = None
    valid_name: str | None = None
    also: Mapping[str, tuple[Source | Loaded, Tensor | None]] = field(
        default_factory=dict[str, tuple[Source | Loaded, Tensor | None]]
    )


def training_data(data: Any, valid_data: Any, seed: int, sampler: Any = None, weights: Any = None) -> TrainingData:
    """Take in both sets; a fraction is cut from the training rows before anything is learned from them.

    Rows of weight 0 are left out before all else, so that the run is that of the others.

    Raises:
        DataError: something is no data, or there is not a weight for each row.
        OptionError: `valid_data` is an impossible fraction, or a fraction of data that cannot be cut; or `sampler`
            stands beside data whose rows cannot be drawn.
    """
    in_one_order(data, weights)
    accepted, row_weights = parted(accept(data, seed), weights)
    drawn, kept = accepted, None if row_weights is None else that_count(row_weights)
    if row_weights is not None and kept is not None:
        accepted, row_weights = taken(accepted, kept), row_weights[kept]
    fraction = isinstance(valid_data, (int, float))
    train_rows = valid_rows = None
    if fraction:
        if isinstance(accepted, Loaded):
            raise OptionError(
                f"valid_data={valid_data!r} of a {type(data).__name__}, whose rows cannot be counted",
                "data to validate on",
                "make a second loader of rows held out for validation, and pass it as valid_data",
            )
        if isinstance(accepted, ParquetData):
            held_out(len(accepted), valid_data)
            accepted, valid_data = accepted.parts((1 - valid_data, valid_data), seed)
        else:
            train_rows, valid_rows = split_rows(len(accepted), valid_data, seed)
    draws = None
    if sampler is not None:
        if isinstance(drawn, Loaded):
            raise OptionError(
                f"sampler=... beside a {type(drawn.loader).__name__}",
                "data whose rows lumbre draws",
                "give the DataLoader a torch.utils.data.WeightedRandomSampler, or pass the Dataset behind it",
            )
        of_them = train_rows if kept is None else kept if train_rows is None else kept[train_rows]
        draws = sampling_weights(sampler, drawn, of_them)
    encoding = None
    if isinstance(accepted, FrameData):
        encoding = accepted.encoding
        encoding = encoding if accepted.learned else encoding.fitted(accepted.table, train_rows, row_weights)
        source: Source | Loaded = encoding.encode(accepted.table, need_target=True)
    elif isinstance(accepted, ParquetData):
        source = accepted.fitted()
        encoding = source.encoding
    else:
        source, encoding = accepted, columns_encoding(accepted)
    classes = class_names(source)
    if train_rows is not None and valid_rows is not None and not isinstance(source, Loaded):
        parts = (None, None) if row_weights is None else (row_weights[train_rows], row_weights[valid_rows])
        return TrainingData(Taken(source, train_rows), Taken(source, valid_rows), encoding, classes, draws, *parts)
    sets = valid_sets(valid_data, getattr(accepted, "input", None))
    also = {name: _to_judge_on(one, accepted, encoding, seed) for name, one in sets.items()}
    first = next(iter(also), None)
    valid, valid_weights = (None, None) if first is None else also.pop(first)
    return TrainingData(source, valid, encoding, classes, draws, row_weights, valid_weights, first or None, also)


def valid_sets(valid_data: Any, known: Any = None) -> dict[str, Any]:
    """Validation data by name; one without names, and a fraction, has the name "". Empty without any.

    A dict is one of sets where each of its values is data with a target: a pair in a tuple, a frame, a loader. A dict
    of input and target, and one of the inputs that the module has in training, is a single set.

    Args:
        valid_data: as `fit()` takes it.
        known: the input of the training data, where that is in memory.

    Raises:
        OptionError: there is no set, or one has a name that cannot stand in that of a metric.
    """
    if valid_data is None:
        return {}
    if not isinstance(valid_data, dict):
        return {"": valid_data}
    sets: dict[Any, Any] = valid_data  # pyright: ignore[reportUnknownVariableType]
    if not sets:
        raise OptionError(
            "valid_data={}", "one set or more", 'valid_data={"near": a, "far": b}; or leave it out to train without'
        )
    alike = any(sets.keys() == set(keys) for keys in PAIR_KEYS) or (
        isinstance(known, dict) and known.keys() == sets.keys()
    )
    if alike or not all(map(_is_set, sets.values())):
        return {"": sets}
    for name in sets:
        if not isinstance(name, str) or not name.isidentifier():
            raise OptionError(
                f"a set {name!r} in valid_data", "names of letters, digits and _", 'valid_data={"near": a, "far": b}'
            )
    return dict(sets)


def _is_set(value: Any) -> bool:
    if isinstance(value, tuple):
        pair: tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
        return len(pair) == 2 and not any(isinstance(part, (str, bytes, int, float)) for part in pair)
    kinds = (FrameData, ParquetData, Dataset, DataLoader, WeightedRows, str, Path)
    return isinstance(value, kinds) or (is_frame(value) and len(getattr(value, "shape", (0, 0))) == 2)


def _to_judge_on(
    data: Any, accepted: Source | Loaded | FrameData, encoding: FrameEncoding | None, seed: int
) -> tuple[Source | Loaded, Tensor | None]:
    """Rows to validate on, as those that are trained on, and their weights."""
    inner = accepted
    while isinstance(inner, Taken):
        inner = inner.source
    parts = parts_of(inner.loader if isinstance(inner, Loaded) else inner)
    data = by_places(in_parts(data, parts), getattr(inner, "names", None), need_target=True)
    whole = getattr(getattr(inner, "target", None), "dtype", None) == torch.int64
    refuse_own_encoding(data, encoding)
    rows, weights = given_data(data, encoding, seed, need_target=True)
    return counted_rows(whole_targets(rows, wanted=whole), weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeds:
    """The batches of a run. Data are read here and nowhere else: what follows takes its facts from this object.

    Attributes:
        data: the rows behind the batches, with the encoding of frames and the names of classes.
        train: training batches, augmented; of each batch a process has its part.
        whole: the same with all rows of each batch in every process, for statistics of them.
        valid: validation batches, or None; of several sets those of the first.
        also: those of other sets by name, where there are several.
        first: the first training batch, as the module will see it.
        batch_size: rows of a batch, in all processes that share it.
        fewest_rows: rows of the smallest part of a batch that any process computes; None where only a loader knows.
        processes: how many share a batch.
        shuffled: whether each epoch has an order of its own; None where a loader decides.
        records: what a report says of the sets, by name.
        augmented: whether inputs, and targets with them, are changed on their way.
    """

    data: TrainingData
    train: Batches
    whole: Batches
    valid: Batches | None
    also: Mapping[str, Batches]
    first: Batch
    batch_size: int
    fewest_rows: int | None
    processes: int
    shuffled: bool | None
    records: dict[str, DataRecord]
    augmented: bool

    @property
    def weighted(self) -> bool:
        """Whether rows to train or to validate on have weights."""
        others = any(weights is not None for _, weights in self.data.also.values())
        return self.data.weights is not None or self.data.valid_weights is not None or others

    def may_hold(self, label: int | None) -> bool:
        """Whether a target may be `label`; true where that cannot be seen without reading all the data."""
        if label is None:
            return False
        others = [rows for rows, _ in self.data.also.values()]
        sets = [self.data.train, *([] if self.data.valid is None else [self.data.valid]), *others]
        return self.augmented or any(_may_hold(one, label) for one in sets)


def make_feeds(data: Any, options: Options, setting: Setting) -> Feeds:
    """Take in the data, hold out what is for validation, encode, cut into batches, augment.

    Raises:
        DataError: something is no data.
        OptionError: an option cannot apply to this data.
    """
    given = training_data(data, options.valid_data, setting.seed, options.sampler, options.weights)
    train, judged = _batches(given, options, setting)
    first, others = train.first(), dict(judged)
    valid = others.pop(next(iter(judged))) if judged else None
    records = {"train": data_record(train, first)} | {
        f"valid_{name}" if name else "valid": data_record(one) for name, one in judged.items()
    }
    rows = isinstance(train, RowFeed)
    stripe = train.order if isinstance(train, RowFeed) and isinstance(train.order, Stripe) else None
    batches: Batches = train
    whole: Batches = train.ordered(stripe.order) if isinstance(train, RowFeed) and stripe is not None else train
    if options.augment is not None:
        change = augmenter(options.augment, setting.seed, setting.seed_step, repeated=given.draws is not None)
        first, batches, whole = change(first, 1, 0), Augmented(train, change), Augmented(whole, change)
    return Feeds(
        data=given,
        train=share(batches, train),
        whole=whole,
        valid=None if valid is None else share(valid, valid),
        also={name: share(one, one) for name, one in others.items()},
        first=first,
        batch_size=_whole_batch(train) or first.size,
        fewest_rows=_fewest_rows(train, first.size),
        processes=1 if stripe is None else stripe.world,
        shuffled=options.sampler is not None or options.shuffle is not False if rows else None,
        records=records,
        augmented=options.augment is not None,
    )


def _batches(
    given: TrainingData, options: Options, setting: Setting
) -> tuple[RowFeed | LoaderFeed, dict[str, RowFeed | LoaderFeed]]:
    """Training batches, and by name those of each set to validate on. A ready validation loader is left as it is."""
    rows = not hasattr(given.train, "loader")
    shuffle = True if rows and options.shuffle is None else options.shuffle
    common: dict[str, Any] = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    train = feed(
        given.train,
        setting.device,
        setting.seed,
        shuffle=shuffle,
        drop_last=options.drop_last,
        draws=given.draws,
        weights=given.weights,
        world=setting.world,
        **common,
    )
    sets = {} if given.valid is None else {given.valid_name or "": (given.valid, given.valid_weights)}
    sets |= given.also
    return train, {
        name: feed(
            rows,
            setting.device,
            setting.seed,
            weights=weights,
            world=setting.world,
            **({} if hasattr(rows, "loader") else common),
        )
        for name, (rows, weights) in sets.items()
    }


def _fewest_rows(train: RowFeed | LoaderFeed, first: int) -> int | None:
    """Rows of the smallest part of a batch that any process computes; None where only a loader knows."""
    if not isinstance(train, RowFeed):
        sampler = getattr(train.loader, "batch_sampler", None)
        if type(sampler) is not BatchSampler or not isinstance(sampler.sampler, Sized):
            return None
        order = Order(len(sampler.sampler), sampler.batch_size, False, sampler.drop_last, 0)
        return order.fewest_rows if first == min(order.rows, order.batch_size) else None  # it may make more of a row
    order = train.order
    return order.order.fewest_rows // order.world if isinstance(order, Stripe) else order.fewest_rows


def _whole_batch(train: RowFeed | LoaderFeed) -> int | None:
    """Rows of a batch, in all processes that share it; None where the loader decides."""
    if not isinstance(train, RowFeed):
        return None
    return train.order.order.batch_size if isinstance(train.order, Stripe) else train.order.batch_size


def _may_hold(source: Source | Loaded, label: int) -> bool:
    inner = source.source if isinstance(source, Taken) else source
    target = inner.target if isinstance(inner, InMemoryDataset) and inner.transform is None else None
    return not isinstance(target, Tensor) or target.numel() > _AT_HAND or bool((target == label).any())


_AT_HAND = 50_000_000


def augmenter(
    augment: Callable[..., Any], seed: int, seed_step: Callable[[str, int, int], None], *, repeated: bool = False
) -> Callable[[Batch, int, int], Batch]:
    """A function of (batch, epoch, index in the epoch) that augments a batch; chance is a row's and an epoch's own.

    Where a row may be `repeated` in an epoch, chance is that of its place in it. A function that draws from the
    generators, and not from the seeds it is given, has the chance of the batch.
    """

    def change(batch: Batch, epoch: int, index: int) -> Batch:
        seed_host(stream(seed, "augment", epoch, index))
        seed_step("augment", epoch, index)
        # A loader does not number its rows: there too the place in the epoch stands for the row.
        rows = batch.rows
        if rows is None or repeated:
            rows = range(index << 32, (index << 32) + batch.size)
        seeds = row_seeds(rows, seed=seed, epoch=epoch)
        if isinstance(augment, Augment):
            input, target = augment.batch(batch.input, batch.target, seeds)
            return replace(batch, input=input, target=target)
        return replace(batch, input=augment(batch.input, seeds))

    return change
