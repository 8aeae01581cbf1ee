"""Rows parted by chance, and by nothing else than the seed."""

from typing import Any

import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, stream
from lumbre.data._accept import accept
from lumbre.data._frames import FrameData
from lumbre.data._sources import Taken


def split_rows(rows: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Row numbers for training and for validation, each in the order of the data.

    Args:
        rows: how many there are.
        fraction: share of them held out for validation, rounded to whole rows.
        seed: the run's seed.

    Raises:
        OptionError: the fraction is not in (0, 1), or leaves one side without rows.
    """
    if not 0 < fraction < 1:
        raise OptionError(
            f"valid_data={fraction!r}",
            "data, or a fraction between 0 and 1",
            "valid_data=0.2 holds out a fifth; leave it away to train without validation",
        )
    held_out = round(rows * fraction)
    if not 0 < held_out < rows:
        raise OptionError(
            f"valid_data={fraction} of {rows} rows, which is {held_out} rows",
            "at least one row on each side",
            f"a fraction between {1 / rows:.2g} and {1 - 1 / rows:.2g}, or data of its own",
        )
    generator = torch.Generator().manual_seed(stream(seed, "split"))
    permutation = torch.randperm(rows, generator=generator)
    return permutation[held_out:].sort().values, permutation[:held_out].sort().values


def split(data: Any, *fractions: float, seed: int = 0) -> tuple[Any, ...]:
    """Part `data` by chance into sets that share no row.

    Args:
        data: tensors, arrays, frame data or a map-style Dataset: what `fit()` takes, but for loaders and streams.
        *fractions: share of each part, adding up to 1.
        seed: another seed gives other parts; the same seed the same ones.

    Returns:
        One part for each fraction, each of which `fit()`, `evaluate()` and `predict()` take.

    Raises:
        OptionError: the fractions are not positive, do not add up to 1, or leave a part without rows.
        DataError: the data has no rows that can be counted.

    Example:
        >>> import torch, lumbre as lb
        >>> train, valid, test = lb.split((torch.randn(10, 3), torch.randn(10)), 0.6, 0.2, 0.2)
        >>> len(train), len(valid), len(test)
        (6, 2, 2)
    """
    if len(fractions) < 2 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
        raise OptionError(
            f"the fractions {', '.join(f'{fraction:g}' for fraction in fractions) or '(none)'}",
            "two or more positive fractions that add up to 1",
            "lumbre.split(data, 0.6, 0.2, 0.2)",
        )
    accepted = accept(data, seed)
    if not hasattr(accepted, "fetch") and not isinstance(accepted, FrameData):
        raise DataError(
            f"a {type(data).__name__}, whose rows cannot be counted",
            "tensors, frame data or a map-style Dataset",
            "make two loaders, one of each part of the data behind it",
        )
    rows = len(accepted)  # type: ignore[arg-type]
    ends = [round(rows * sum(fractions[: i + 1])) for i in range(len(fractions))]
    sizes = [end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    if min(sizes) == 0:
        raise OptionError(
            f"{rows} rows to part into {sizes}",
            "at least one row in each part",
            "fewer parts, or larger fractions for the small ones",
        )
    permutation = torch.randperm(rows, generator=torch.Generator().manual_seed(stream(seed, "parts")))
    parts = [part.sort().values for part in permutation.split(sizes)]
    if isinstance(accepted, FrameData):
        return tuple(accepted.take(part) for part in parts)
    return tuple(Taken(accepted, part) for part in parts)  # type: ignore[arg-type]
