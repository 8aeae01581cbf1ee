"""Which parts of a dict are input and target."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, did_you_mean
from lumbre.data._numbers import as_tensor

Names: TypeAlias = str | list[str] | None
"""The name of a part, or of several; None for all the others."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The names of the parts of a row or a batch.

    Attributes:
        target: a name, or several; None for dicts without one.
        features: of the input; None for all parts but the target.
        strict: whether a dict must have all of them.
    """

    target: Names
    features: Names = None
    strict: bool = True

    def pair(self, item: Any) -> Any:
        """A row or a batch as (input, target); what is no dict stays as it is.

        Raises:
            DataError: a part is missing.
        """
        if not isinstance(item, Mapping):
            return item
        target = None if self.target is None else self._chosen(item, self.target)
        features = self.features
        if features is None:
            features = [str(key) for key in item if key not in self.targets]
            features = features[0] if len(features) == 1 else features
        return self._chosen(item, features), target

    @property
    def targets(self) -> list[str]:
        """The names of the targets."""
        return [self.target] if isinstance(self.target, str) else self.target or []

    def _chosen(self, item: Mapping[str, Any], names: str | list[str]) -> Any:
        if isinstance(names, str):
            return _as_numbers(item[names]) if self._has(item, names) else None
        found = {name: _as_numbers(item[name]) for name in names if self._has(item, name)}
        return found or None

    def _has(self, item: Mapping[str, Any], name: str) -> bool:
        if name in item or not self.strict:
            return name in item
        known = [str(key) for key in item]
        raise DataError(
            f"no {name!r} in a dict of {', '.join(map(repr, known))}",
            "the names of parts that are there",
            f"{did_you_mean(name, known)}target=..., and features=[...] where not all others are the input",
        )


def with_tensors(row: Any) -> Any:
    """A row whose lists of numbers are tensors, where it is a dict."""
    return {key: _as_numbers(value) for key, value in row.items()} if isinstance(row, Mapping) else row


def _as_numbers(value: Any) -> Any:
    """Lists of numbers as tensors, which torch's default_collate would turn by their side; floats in torch's dtype."""
    if isinstance(value, float):
        return torch.tensor(value)
    if isinstance(value, (np.ndarray, np.number)):
        return as_tensor(value)
    if isinstance(value, (list, tuple)) and value and holds_numbers(value):
        return torch.stack(list(value)) if isinstance(value[0], Tensor) else as_tensor(np.asarray(value))
    return value


def holds_numbers(value: Any) -> bool:
    """Whether it is a number, an array, a tensor, or a list of such."""
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return isinstance(value, (bool, int, float, np.number, np.ndarray, Tensor))
