"""What a feature is in the input of a module: one column of a frame or several, a column number, a step, a patch."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, Nested, OptionError, describe, did_you_mean, leaves, map_leaves
from lumbre.data import CLIP, FrameEncoding, LoaderFeed, RowFeed

Name: TypeAlias = str | int
Place: TypeAlias = tuple[int, tuple[Any, ...]]
"""Which of the input's tensors, counted from 0, and the index behind the rows."""
_PATCHES = 4
_CORRELATED = 0.7
_LOOKED_AT = 10_000
_FARTHEST = 1 - 2**-24  # the share of the clip that float32 can tell from 1


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature and where it stands in the input.

    Attributes:
        name: that of the column; the number of the column or step, where there are no names.
        places: where its values are.
        kind: "number", "boolean", "category" (columns of 0 and 1), "code" (a whole number) or "part" (of anything).
        levels: names of the categories.
        center: what was subtracted from the measured values.
        scale: what they were divided by.
        gap: the column that says where a number is missing, which goes with it.
        clip: to what scaled values were clipped smoothly, x / sqrt(1 + (x / clip)^2); None where they were not.
    """

    name: Name
    places: tuple[Place, ...]
    kind: str = "number"
    levels: tuple[str, ...] = ()
    center: float = 0.0
    scale: float = 1.0
    gap: tuple[Place, ...] = ()
    clip: float | None = None

    def measured(self, values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Values as they were measured, from encoded ones in float64."""
        if self.clip is not None:  # float32 rounds the farthest ones to the clip: they are brought to its border
            shares = np.clip(values / self.clip, -_FARTHEST, _FARTHEST)
            values = self.clip * shares / np.sqrt(1 - shares**2)
        return values * self.scale + self.center

    def encoded(self, values: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        """Measured values as the module gets them."""
        scaled = (values - self.center) / self.scale
        return scaled if self.clip is None else scaled / np.hypot(1.0, scaled / self.clip)

    def per_unit(self, values: Tensor) -> Tensor:
        """By how much the encoded value grows for one more unit of the data, at encoded values."""
        if self.clip is None:
            return torch.full_like(values, 1 / self.scale)
        return (1 - (values / self.clip) ** 2).clamp(min=0) ** 1.5 / self.scale

    def values(self, input: Nested) -> Tensor:
        """Its values of each row of an input, shape (rows, ...)."""
        tensors = list(leaves(input))
        found = [tensors[number][(slice(None), *index)] for number, index in self.places]
        return found[0] if len(found) == 1 else torch.cat([one.flatten(1) for one in found], 1)

    def replaced(self, input: Nested, others: Nested) -> Nested:
        """`input` with this feature as it is in `others`, an input of as many rows; only what changes is copied."""
        tensors, other = list(leaves(input)), list(leaves(others))
        places = (*self.places, *self.gap)
        for number in {number for number, _ in places}:
            tensors[number] = tensors[number].clone()
        for number, index in places:
            tensors[number][(slice(None), *index)] = other[number][(slice(None), *index)]
        return _with_leaves(input, tensors)

    def set_to(self, input: Nested, values: Tensor) -> Nested:
        """`input` with this feature at `values`: encoded, one for each row or for all of them."""
        tensors = list(leaves(input))
        ((number, index),) = self.places
        tensors[number] = tensors[number].clone()
        tensors[number][(slice(None), *index)] = values.to(tensors[number])
        for _, missing in self.gap:
            tensors[number][(slice(None), *missing)] = 0
        return _with_leaves(input, tensors)

    def level(self, number: int, like: Nested) -> Tensor:
        """A category as the module gets it: a row of 0 and 1, or a code."""
        if self.kind != "category":
            return torch.tensor(float(number))
        return torch.eye(len(self.levels), device=next(leaves(like)).device)[number]


def _with_leaves(like: Nested, tensors: Sequence[Any]) -> Nested:
    rest = iter(tensors)
    return map_leaves(lambda _: next(rest), like)


def numbered_rows(batches: RowFeed | LoaderFeed, what: str) -> RowFeed:
    """The batches, where rows can be asked for by number.

    Raises:
        DataError: they come from a loader or a stream.
    """
    if isinstance(batches, RowFeed):
        return batches
    raise DataError(
        f"a {type(batches.loader).__name__} for {what}(), which asks for rows by their numbers",
        "tensors, arrays, a frame or a Dataset",
        "the Dataset behind the loader; or some of its rows as tensors",
    )


def features_of(encoding: FrameEncoding | None, input: Nested, patches: int | None = None) -> list[Feature]:
    """The features of an input: the columns of a frame, the columns of arrays, steps of sequences, patches of images.

    Args:
        encoding: of the frame on which the model was trained, or None.
        input: a batch of it.
        patches: into how many parts height and width of images are cut; 4 where not given.

    Raises:
        DataError: the input has parts that are no tensors.
        OptionError: `patches` of an input without height and width.
    """
    tensors = list(leaves(input))
    if not tensors or any(not isinstance(one, Tensor) or one.is_nested or one.ndim < 1 for one in tensors):
        raise DataError(
            f"an input that is a {describe(input)}",
            "tensors whose first dimension are the rows",
            "padded sequences, instead of packed or nested ones",
        )
    if patches is not None and (len(tensors) > 1 or tensors[0].ndim < 3 or not 1 <= patches <= min(_plane(tensors[0]))):
        raise OptionError(
            f"patches={patches} of an input that is a {describe(input)}",
            "images of shape (rows, ..., height, width), and no more patches than pixels",
            "leave patches out",
        )
    if encoding is not None and (found := _of_frame(encoding, tensors)):
        return found
    if len(tensors) == 1:
        return _of_tensor(tensors[0], 0, patches)
    found: list[Feature] = []
    for number, (name, tensor) in enumerate(zip(_names(input), tensors, strict=True)):
        parts = _of_tensor(tensor, number, None)
        found += [replace(one, name=f"{name}[{one.name}]" if len(parts) > 1 else name) for one in parts]
    return found


def _plane(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def _names(value: Nested, before: str = "") -> list[str]:
    """A name for each tensor: its key, or its number."""
    if isinstance(value, (dict, tuple, list)):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return [name for key, part in parts for name in _names(part, f"{before}.{key}" if before else str(key))]
    return [before]


def _of_tensor(tensor: Tensor, number: int, patches: int | None) -> list[Feature]:
    if tensor.ndim == 1:
        return [Feature(0, ((number, ()),), _kind(tensor))]
    if tensor.ndim == 2:
        return [Feature(column, ((number, (column,)),), _kind(tensor)) for column in range(tensor.shape[1])]
    if tensor.ndim == 3 and patches is None:
        return [Feature(step, ((number, (step,)),), "part") for step in range(tensor.shape[1])]
    down, across = (_spans(length, patches or _PATCHES) for length in _plane(tensor))
    return [
        Feature(f"row {row + 1}, column {column + 1}", ((number, (..., rows, columns)),), "part")
        for row, rows in enumerate(down)
        for column, columns in enumerate(across)
    ]


def _kind(tensor: Tensor) -> str:
    return "number" if tensor.is_floating_point() else "part"


def _spans(length: int, parts: int) -> list[slice]:
    edges = [round(length * part / parts) for part in range(parts + 1)]
    return [slice(*pair) for pair in itertools.pairwise(edges) if pair[0] < pair[1]]


def _of_frame(encoding: FrameEncoding, tensors: list[Tensor]) -> list[Feature]:
    """The columns of a frame; nothing where the input has other columns than its encoding gives.

    Dates are "part": they have several columns.
    """
    spreads = iter(zip(encoding.center, encoding.scale, strict=True))
    found: list[Feature] = []
    width = codes = 0
    for column in encoding.features:
        size = len(column.encoded(one_hot=encoding.one_hot))
        levels = column.levels or tuple(f"hash {number}" for number in range(column.buckets))
        levels = (*levels, "missing") if column.gaps else levels
        if not column.measured and not encoding.one_hot:
            found.append(Feature(column.name, ((1 if encoding.measured else 0, (codes,)),), "code", levels))
            codes += 1
            continue
        index, width = slice(width, width + size), width + size
        if not column.measured:
            found.append(Feature(column.name, ((0, (index,)),), "category", levels))
            continue
        scaled = [next(spreads, (0.0, 1.0)) for _ in column.parts]
        if column.is_date:
            found.append(Feature(column.name, ((0, (index,)),), "part"))
            continue
        center, scale = scaled[0] if scaled else (0.0, 1.0)
        levels = ("False", "True") if column.kind == "boolean" else ()
        gap = ((0, (index.start + 1,)),) if column.gaps else ()
        clip = CLIP if scaled and encoding.standardize == "robust" and encoding.center else None
        found.append(Feature(column.name, ((0, (index.start,)),), column.kind, levels, center, scale, gap, clip))
    shapes = [size for size in (width, codes) if size]
    return found if [tuple(one.shape[1:]) for one in tensors] == [(size,) for size in shapes] else []


def is_table(encoding: FrameEncoding | None, input: Nested) -> bool:
    """Whether the features are columns: of a frame, or of floating-point numbers. Whole ones may be words in a row."""
    return all(leaf.ndim <= 2 and (encoding is not None or leaf.is_floating_point()) for leaf in leaves(input))


def by_name(features: Sequence[Feature], name: object) -> Feature:
    """The feature of that name or number.

    Raises:
        OptionError: there is none.
    """
    known = {str(one.name): one for one in features}
    if str(name) not in known:
        few = ", ".join(list(known)[:12]) + (", ..." if len(known) > 12 else "")
        raise OptionError(
            f"the feature {name!r}", f"one of {few}", f"{did_you_mean(str(name), known)}A name as it stands here"
        )
    return known[str(name)]


def grouped(features: list[Feature], groups: Mapping[str, Sequence[Name]] | str | None, batch: Nested) -> list[Feature]:
    """The features, those of a group as one.

    Args:
        features: of the input.
        groups: names of the features of each group; "correlated" makes them; None groups nothing.
        batch: rows in which correlation is looked for.

    Raises:
        OptionError: a name is wrong, or stands in two groups.
    """
    if groups is None:
        return features
    if not isinstance(groups, Mapping) or not all(isinstance(one, (list, tuple)) for one in groups.values()):
        if groups != "correlated":
            raise OptionError(
                f"groups={groups!r}", "groups of features by name", 'groups={"bill": [...]}, or "correlated"'
            )
        parts = {" + ".join(str(one.name) for one in group): group for group in _correlated(features, batch)}
    else:
        parts = {name: [by_name(features, one) for one in group] for name, group in groups.items()}
    taken = [str(one.name) for group in parts.values() for one in group]
    twice = [name for name in taken if taken.count(name) > 1]
    empty = [name for name, group in parts.items() if not group]
    if twice or empty:
        raise OptionError(
            f"{twice[0]!r} in more than one group" if twice else f"the group {empty[0]!r} without features",
            "groups of at least one feature, each feature in one of them",
            "take it out of the others" if twice else "leave the group out",
        )
    single = [one for one in features if str(one.name) not in taken]
    clash = [name for name in parts if name in {str(one.name) for one in single}]
    if clash:
        raise OptionError(f"a group called {clash[0]!r}, as a feature outside it", "a name of its own", "rename it")
    return [*single, *(_joined(name, group) for name, group in parts.items())]


def _joined(name: str, group: Sequence[Feature]) -> Feature:
    return Feature(name, tuple(place for one in group for place in (*one.places, *one.gap)), "part")


def _correlated(features: Sequence[Feature], batch: Nested) -> list[list[Feature]]:
    """Features that are connected by correlations above 0.7, in either direction; of categories, of any level."""
    columns = [one.values(batch).flatten(1) if one.values(batch).ndim > 1 else one.values(batch)[:, None]
               for one in features]  # fmt: skip
    owner = np.repeat(np.arange(len(features)), [one.shape[1] for one in columns])
    table = torch.cat([one.double().cpu() for one in columns], 1)
    table = table - table.mean(0)
    length = table.norm(dim=0)
    table = table / torch.where(length > 0, length, torch.ones(()))
    near = np.argwhere((table.T @ table).abs().numpy() > _CORRELATED)
    group = np.arange(len(features))
    for left, right in owner[near].tolist():
        group[group == group[left]] = group[right]
    found = [
        [one for one, its in zip(features, group, strict=True) if its == number] for number in dict.fromkeys(group)
    ]
    return [some for some in found if len(some) > 1]


def some_rows(batches: RowFeed) -> Nested:
    """Up to 10,000 rows of the input, spread evenly over them."""
    rows = len(batches.source)
    chosen = torch.arange(rows) if rows <= _LOOKED_AT else torch.linspace(0, rows - 1, _LOOKED_AT).long()
    return batches.take(chosen).input


def rows_in_batch(session_size: int, batches: RowFeed) -> int:
    """Rows of a batch that only predicts: many small ones cost more than a few large ones, up to 4 MiB of input."""
    one = batches.take(torch.tensor([0])).input
    each = sum(leaf.nbytes for leaf in leaves(one) if isinstance(leaf, Tensor))
    return max(session_size, min(8192, (4 << 20) // max(each, 1)))
