"""Statistics of tensors: exact ones gathered over batches in bounded memory, and a quick sketch of a single tensor.

Means and deviations are merged batch by batch (Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for
Computing Sample Variances", 1979). Quantiles are exact without a sort: float32 numbers ordered as integers are counted
by their upper 16 bits in a first pass, and by their lower 16 in a second, where a quantile lies (radix selection).
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Those that are told unless others are asked for."""

BINS = 60
"""Of a histogram."""

_CHUNK = 1 << 18
"""Values at a time on the CPU: what is made of them stays in its cache, which is six times as fast."""

_CHUNK_DEVICE = 1 << 24
_HALF = 1 << 16
_SKETCHED = 1 << 16
_TAIL = 0.005
_NEAR_END = 0.01


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often values lie in each of some equal bins.

    Attributes:
        low: where the first bin begins.
        high: where the last one ends.
        counts: of each bin. What lies below or above, a half percent at each end, is not counted.
    """

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Numbers that describe the values of one layer's tensor.

    Attributes:
        layer: name of the layer or the parameter; `lstm[0]` is the first part of a tuple, `relu#2` a second call.
        type: class of the layer.
        shape: of a row's tensor, or of a parameter.
        count: how many values there were.
        mean: of them.
        std: their standard deviation, over `count`.
        minimum: the lowest.
        maximum: the highest.
        quantiles: values by share, such as 0.5; as `numpy.quantile` gives them for float32.
        zeros: share of values that are zero.
        nonfinite: share of values that are NaN or infinite.
        l1_norm: sum of absolute values.
        l2_norm: Euclidean norm.
        units: how many units (channels, features) the layer has; None for parameters.
        dead: of these, how many are never positive, where the layer never gives negative values, as ReLU does; None
            elsewhere.
        saturated: share of values within a hundredth of the ends, for layers that squash, such as Tanh and Sigmoid;
            None elsewhere.
        ratio: Euclidean norm of an update or a gradient over that of the weights before it; None elsewhere.
        histogram: of the values, None where there are no finite ones.
    """

    layer: str
    type: str
    shape: tuple[int, ...]
    count: int
    mean: float
    std: float
    minimum: float
    maximum: float
    quantiles: Mapping[float, float]
    zeros: float
    nonfinite: float
    l1_norm: float
    l2_norm: float
    units: int | None = None
    dead: int | None = None
    saturated: float | None = None
    ratio: float | None = None
    histogram: Histogram | None = field(default=None, repr=False)

    def row(self) -> dict[str, Any]:
        """The numbers by name, for a line of a table; quantiles as `q50` and so on."""
        texts = {"layer": self.layer, "type": self.type, "shape": self.shape, "count": self.count}
        middle = {name: getattr(self, name) for name in ("mean", "std", "minimum", "maximum")}
        quantiles = {f"q{100 * share:g}": value for share, value in self.quantiles.items()}
        names = ("zeros", "nonfinite", "l1_norm", "l2_norm", "units", "dead", "saturated", "ratio")
        return texts | middle | quantiles | {name: getattr(self, name) for name in names}


class Gathered:
    """The statistics of one tensor, batch by batch; each batch is shown twice, once to each pass.

    Args:
        layer: its name.
        type: class of the layer.
        quantiles: which ones.
        unit_dim: dimension of the units; None where they are not looked at.
        ends: values at which it is saturated, or None.
    """

    def __init__(
        self,
        layer: str,
        type: str,
        quantiles: Sequence[float],
        *,
        unit_dim: int | None = None,
        ends: tuple[float, float] | None = None,
    ) -> None:
        self.layer, self.type, self.quantiles = layer, type, tuple(quantiles)
        self.shape: tuple[int, ...] = ()
        self._unit_dim, self._ends = unit_dim, ends
        self._count = self._seen_again = 0
        self._sums: Tensor | None = None
        self._unit_maxima: Tensor | None = None
        self._raw: Tensor | None = None
        self._between: tuple[Tensor, Tensor, Tensor] | None = None
        self._linear = torch.zeros(0)
        self._range: tuple[float, float] | None = None

    def first(self, values: Tensor) -> None:
        """Count a batch in the first pass."""
        if not values.numel():
            return
        if self._unit_dim is not None and values.ndim > self._unit_dim:
            maxima = values.transpose(0, self._unit_dim).reshape(values.shape[self._unit_dim], -1).amax(1)
            known = self._unit_maxima
            self._unit_maxima = maxima if known is None else torch.maximum(known, maxima)
        for chunk in _chunks(values):
            sums = _sums(chunk, self._ends)
            self._sums = sums if self._sums is None else _merged(self._sums, self._count, sums, chunk.numel())
            self._count += chunk.numel()
            counts = torch.bincount(_bits(chunk) >> 16 & 0xFFFF, minlength=_HALF)
            self._raw = counts if self._raw is None else self._raw.add_(counts)

    def second(self, values: Tensor) -> None:
        """Count a batch in the second pass."""
        if not values.numel():
            return
        _, lookup, lower = self._prepared()
        for chunk in _chunks(values):
            self._seen_again += chunk.numel()
            bits = _bits(chunk)
            place = lookup.index_select(0, bits >> 16 & 0xFFFF)
            lower += torch.bincount(place * _HALF + (bits & 0xFFFF), minlength=len(lower))
            if self._range is not None:
                self._linear += _binned(_as_float(chunk), *self._range)

    def _ranks(self) -> list[int]:
        positions = [share * (self._count - 1) for share in self.quantiles]
        return sorted({int(edge) for position in positions for edge in (math.floor(position), math.ceil(position))})

    def _prepared(self) -> tuple[Tensor, Tensor, Tensor]:
        """Once: counts of the upper halves up to each, in order; the place of those that hold a wanted rank, by their
        bits; and counts of the lower halves at each place. With the range of the histogram.
        """
        if self._between is None:
            assert self._raw is not None
            device = self._raw.device
            by_order = self._raw[_bits_in_order(device)]
            below = by_order.cumsum(0)
            ranks = torch.tensor(self._ranks(), device=device)
            wanted = _bits_in_order(device)[torch.searchsorted(below, ranks, right=True).unique()]
            lookup = torch.zeros(_HALF, dtype=torch.int64, device=device)  # at place 0 all others are counted
            lookup[wanted] = torch.arange(1, len(wanted) + 1, device=device)
            self._between = below, lookup, torch.zeros((len(wanted) + 1) * _HALF, dtype=torch.int64, device=device)
            self._range = _range(by_order)
            self._linear = torch.zeros(BINS, dtype=torch.int64, device=device)
        return self._between

    def _quantile(self, share: float) -> float:
        below, lookup, lower = self._prepared()
        position = share * (self._count - 1)
        values: list[float] = []
        for rank in (math.floor(position), math.ceil(position)):
            at = int(torch.searchsorted(below, rank, right=True))
            bits = _bits_of(at)
            place = int(lookup[bits])
            within = lower[place * _HALF : (place + 1) * _HALF]
            negative = bits >= _HALF // 2
            before = int(below[at - 1]) if at else 0
            steps = (within.flip(0) if negative else within).cumsum(0)
            step = min(int(torch.searchsorted(steps, rank - before, right=True)), _HALF - 1)
            values.append(_value(bits, _HALF - 1 - step if negative else step))
        low, high = values
        return low if low == high else low + (position - math.floor(position)) * (high - low)

    def result(self) -> Statistics:
        """The statistics of all batches.

        Raises:
            DataError: the two passes saw different data.
        """
        assert self._sums is not None
        if self._seen_again != self._count:
            raise DataError(
                f"{self._count:,} values of {self.layer} in a first pass and {self._seen_again:,} in a second",
                "data that is the same each time it is read",
                "pass a list of batches or a Dataset instead of a generator",
            )
        described = _described(self._sums.tolist(), self._count, self._ends)
        has_nan = math.isnan(described["minimum"])
        units, dead = _units(self._unit_maxima, described["minimum"])
        counts = () if self._range is None else tuple(self._linear.tolist())
        return Statistics(
            layer=self.layer,
            type=self.type,
            shape=self.shape,
            count=self._count,
            **described,
            quantiles={share: math.nan if has_nan else self._quantile(share) for share in self.quantiles},
            units=units,
            dead=dead,
            histogram=None if self._range is None else Histogram(*self._range, counts),
        )


@dataclass(slots=True)
class Sketch:
    """The statistics of a single tensor, still on its device: made without waiting for it.

    Quantiles and histogram are those of at most 65,536 of its values, evenly taken; the others are of all.
    """

    layer: str
    type: str
    shape: tuple[int, ...]
    count: int
    ends: tuple[float, float] | None
    sums: Tensor
    quantiles: Tensor
    counts: Tensor
    unit_maxima: Tensor | None
    ratio: Tensor | None = None

    def result(self) -> Statistics:
        """The statistics; waits for the device."""
        described = _described(self.sums.tolist(), self.count, self.ends)
        low, high, *values = self.quantiles.tolist()
        units, dead = _units(self.unit_maxima, described["minimum"])
        whole = math.isfinite(low) and math.isfinite(high)
        return Statistics(
            layer=self.layer,
            type=self.type,
            shape=self.shape,
            count=self.count,
            **described,
            quantiles=dict(zip(QUANTILES, values, strict=True)),
            units=units,
            dead=dead,
            ratio=None if self.ratio is None else float(self.ratio),
            histogram=Histogram(*_widened(low, high), tuple(self.counts.tolist())) if whole else None,
        )


def sketch(
    layer: str,
    type: str,
    values: Tensor,
    *,
    shape: tuple[int, ...] | None = None,
    unit_dim: int | None = None,
    ends: tuple[float, float] | None = None,
    ratio: Tensor | None = None,
) -> Sketch:
    """Describe `values`, a tensor with at least one value, without waiting for its device."""
    values = values.detach()
    flat = values.reshape(-1)
    few = _sorted(_as_float(flat[:: -(-flat.numel() // _SKETCHED)]))
    ranks, between = _ranks(few.numel(), few.device)
    found = few.index_select(0, ranks)
    edges, lower, upper = found[:2], found[2 : 2 + len(QUANTILES)], found[2 + len(QUANTILES) :]
    quantiles = torch.cat([edges, torch.where(lower == upper, lower, lower + between * (upper - lower))])
    quantiles = torch.where(few[-1].isnan(), few[-1], quantiles)  # a sort puts NaN last
    low, high = edges
    wide = high > low
    low, high = torch.where(wide, low, low - 0.5), torch.where(wide, high, high + 0.5)
    first, *others = _chunks(flat)
    sums, count = _sums(first, ends), first.numel()
    for chunk in others:
        sums = _merged(sums, count, _sums(chunk, ends), chunk.numel())
        count += chunk.numel()
    maxima = None
    if unit_dim is not None and values.ndim > unit_dim:
        maxima = values.transpose(0, unit_dim).reshape(values.shape[unit_dim], -1).amax(1)
    return Sketch(
        layer=layer,
        type=type,
        shape=tuple(values.shape) if shape is None else shape,
        count=flat.numel(),
        ends=ends,
        sums=sums,
        quantiles=quantiles,
        counts=_binned_sorted(few, low, high),
        unit_maxima=maxima,
        ratio=ratio,
    )


def _sorted(values: Tensor) -> Tensor:
    """float32 numbers in order, NaN last; on a processor by NumPy, which is twenty times as fast."""
    if values.device.type != "cpu":
        return values.sort().values
    return torch.from_numpy(np.sort(values.numpy()))  # pyright: ignore[reportUnknownMemberType]


@functools.lru_cache(maxsize=256)
def _ranks(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of so many values in order: the ranks of the histogram's edges, and those below and above each of `QUANTILES`;
    and where between these two it lies, as a share."""
    positions = [share * (count - 1) for share in QUANTILES]
    ranks = [*_edges(count), *map(math.floor, positions), *map(math.ceil, positions)]
    between = [at - math.floor(at) for at in positions]
    return torch.tensor(ranks, device=device), torch.tensor(between, dtype=torch.float32, device=device)


def _chunks(values: Tensor) -> tuple[Tensor, ...]:
    return values.reshape(-1).split(_CHUNK if values.device.type == "cpu" else _CHUNK_DEVICE)


def _edges(count: int) -> tuple[int, int]:
    """The ranks between which the histogram of so many values lies."""
    return math.floor(_TAIL * (count - 1)), math.ceil((1 - _TAIL) * (count - 1))


def _as_float(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float32 else values.float()


def _precise(values: Tensor) -> Tensor:
    return values.float() if values.device.type == "mps" else values.double()


def _sums(values: Tensor, ends: tuple[float, float] | None) -> Tensor:
    """Mean, squared deviation, minimum, maximum, zeros, finite ones, sum of |x|, sum of squares, saturated ones."""
    precise = _precise(values)
    count = precise.numel()
    mean, squares = precise.mean(), torch.dot(precise, precise)
    low, high = precise.aminmax()
    zeros, nonfinite = count - precise.count_nonzero(), (precise * 0).count_nonzero()
    absolute = precise.abs().sum()
    saturated = torch.zeros((), dtype=precise.dtype, device=precise.device)
    if ends is not None:
        margin = _NEAR_END * (ends[1] - ends[0])
        saturated = ((precise <= ends[0] + margin) | (precise >= ends[1] - margin)).sum().to(precise.dtype)
    precise = precise - mean
    counts = [zeros.to(precise.dtype), (count - nonfinite).to(precise.dtype)]
    return torch.stack([mean, torch.dot(precise, precise), low, high, *counts, absolute, squares, saturated])


def _merged(one: Tensor, count: int, other: Tensor, other_count: int) -> Tensor:
    total = count + other_count
    shift = other[0] - one[0]
    merged = one + other
    merged[0] = one[0] + shift * other_count / total
    merged[1] += shift.square() * count * other_count / total
    merged[2], merged[3] = torch.minimum(one[2], other[2]), torch.maximum(one[3], other[3])
    return merged


def _described(sums: list[float], count: int, ends: tuple[float, float] | None) -> dict[str, Any]:
    mean, squared, minimum, maximum, zeros, finite, absolute, squares, saturated = sums
    return {
        "mean": mean,
        "std": math.sqrt(squared / count),
        "minimum": minimum,
        "maximum": maximum,
        "zeros": zeros / count,
        "nonfinite": 1 - finite / count,
        "l1_norm": absolute,
        "l2_norm": math.sqrt(squares),
        "saturated": None if ends is None else saturated / count,
    }


def _units(maxima: Tensor | None, minimum: float) -> tuple[int | None, int | None]:
    if maxima is None:
        return None, None
    return len(maxima), int((maxima <= 0).sum()) if minimum >= 0 else None


def _bits(values: Tensor) -> Tensor:
    """The bits of float32 numbers, int32."""
    return _as_float(values).contiguous().view(torch.int32)


def _bits_of(order: int) -> int:
    """The upper half of float32 numbers that stands at this place when they are sorted: negative ones run backwards."""
    return _HALF - 1 - order if order < _HALF // 2 else order - _HALF // 2


def _bits_in_order(device: torch.device) -> Tensor:
    half = _HALF // 2
    return torch.cat([torch.arange(_HALF - 1, half - 1, -1, device=device), torch.arange(half, device=device)])


def _value(upper: int, lower: int) -> float:
    """The float32 number with these halves."""
    bits = upper * _HALF + lower
    return float(torch.tensor([bits - (bits >> 31 << 32)], dtype=torch.int32).view(torch.float32))


def _range(by_order: Tensor) -> tuple[float, float] | None:
    """Where the histogram begins and ends, from counts of upper halves in order; None without finite values."""
    finite = by_order.clone()
    finite[:128] = finite[_HALF - 128 :] = 0  # infinities and NaN lie at the two ends
    total = int(finite.sum())
    if not total:
        return None
    edges = torch.tensor(_edges(total), device=finite.device)
    low, high = map(_bits_of, torch.searchsorted(finite.cumsum(0), edges, right=True).tolist())
    # In a half, numbers grow away from zero: below it the last one is the lowest.
    negative = _HALF // 2
    return _widened(
        _value(low, _HALF - 1 if low >= negative else 0), _value(high, 0 if high >= negative else _HALF - 1)
    )


def _widened(low: float, high: float) -> tuple[float, float]:
    """A range of some width."""
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _binned(values: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """How many values lie in each bin, int64 of shape (bins,)."""
    scaled = (values - low) / (high - low) * BINS
    inside = (scaled >= 0) & (scaled <= BINS)
    place = torch.where(inside, scaled, torch.zeros_like(scaled)).long().clamp_(0, BINS - 1)
    return torch.zeros(BINS, dtype=torch.int64, device=values.device).index_add_(0, place, inside.long())


def _binned_sorted(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """As `_binned`, of values in order."""
    edges = torch.arange(BINS + 1.0, device=values.device)
    edges[-1] = torch.nextafter(edges[-1], edges[-1] + 1)  # what lies at the upper end belongs to the last bin
    return torch.searchsorted((values - low) / (high - low) * BINS, edges).diff()
