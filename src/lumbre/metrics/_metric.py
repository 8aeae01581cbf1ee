"""What a metric is."""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import torch
from torch import Tensor

from lumbre.base import Nested

State: TypeAlias = Any
"""What a metric carries from batch to batch: a tensor, which adds up; a list of tensors, which is put end to end; or
a tuple of such states. So its form says how the states of two parts of the data become one; see `merge`."""


class Metric(ABC):
    """A number (or a tensor) gathered over the batches of a pass.

    Three functions without memory of their own: `init` gives an empty state, `update` the state after one more
    batch, `compute` the value of a state. The states of two parts of the data, merged entry by entry (tensors are
    added, lists of tensors put end to end), are the state of the whole; so the value does not depend on how the rows
    were cut into batches or spread over devices.

    Where rows have weights, `update` gets these as `weights`, of shape (rows,), if it has a parameter of that name
    (`weights=None`), as all metrics of this package do: a row of weight 2 counts like the row twice, one of weight 0
    not at all. A metric without it is refused in such a run.

    Attributes:
        name: how progress lines show it; in the history it stands in lower case. Give it to the constructor
            (`Accuracy(name="Top1")`) to have two of a kind.
        higher_is_better: which way is up, for callbacks that look for the best epoch; None when neither is.
        by_class: the value is a list with an entry for each class, or a square table of them; history and evaluation
            then show a dict with the classes' names, where the data has names, else their numbers.
        of_response: the prediction is taken on the scale of the target, such as `exp` of what a Poisson loss takes;
            otherwise as the module gives it.
        merges: its states are merged as said above where processes share the data; otherwise `compute` sees to it.

    Example:
        >>> import torch, lumbre as lb
        >>> class Positives(lb.metrics.Metric):
        ...     name = "Positives"
        ...
        ...     def init(self, device):
        ...         return torch.zeros((), device=device)
        ...
        ...     def update(self, state, pred, target):
        ...         return state + (pred > 0).sum()
        ...
        ...     def compute(self, state):
        ...         return state.item()
        >>> metric = Positives()
        >>> state = metric.update(
        ...     metric.init(torch.device("cpu")), torch.tensor([1.0, -1.0, 3.0]), None
        ... )
        >>> metric.compute(state)
        2.0
    """

    name: str = ""
    higher_is_better: bool | None = None
    by_class: bool = False
    of_response: bool = False
    merges: bool = True

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or self.name or type(self).__name__

    @abstractmethod
    def init(self, device: torch.device) -> State:
        """The state before the first batch, on `device`."""

    @abstractmethod
    def update(self, state: State, pred: Nested, target: Nested) -> State:
        """The state after one more batch. Stays on the device: no `.item()` here."""

    @abstractmethod
    def compute(self, state: State) -> object:
        """The value: a float, or anything that JSON can hold."""

    def ignoring(self, index: int, *, checked: bool = False) -> "Metric":
        """The metric for a run whose loss ignores targets of `index`: itself, unless it looks at targets of classes.

        Args:
            index: the target that does not count.
            checked: the loss refuses every other target that is no class, so that the metric need not.
        """
        return self

    def packed(self, state: State) -> State:
        """The state as numbers, texts and tensors, in lists, tuples and dicts, for a file; most are such already."""
        return state

    def unpacked(self, packed: State, device: torch.device) -> State:
        """The state that `packed` was given, on `device`, where its tensors are."""
        return packed


def merge(left: State, right: State) -> State:
    """The state of two parts of the data together."""
    if isinstance(left, tuple):
        return tuple(merge(*pair) for pair in zip(left, right, strict=True))
    return left + right  # adds tensors, and puts lists end to end


Sums: TypeAlias = tuple[Tensor, Tensor]
"""A sum and the number of its terms, both of shape ()."""


def widest(device: torch.device) -> torch.dtype:
    """float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def no_sums(device: torch.device) -> Sums:
    """A sum of nothing, in float64 where the device has it, and the number of its terms in int64."""
    total = torch.zeros((), dtype=widest(device), device=device)
    return total, torch.zeros((), dtype=torch.int64, device=device)


def mean(state: Sums) -> float:
    """The sum over the number of its terms; NaN before the first."""
    total, count = state[0].item(), state[1].item()
    return total / count if count else float("nan")


class Mean(Metric):
    """A metric that is a mean: its state is the sum of the terms so far, and their number."""

    def init(self, device: torch.device) -> Sums:
        """A sum of nothing."""
        return no_sums(device)

    def compute(self, state: Sums) -> float:
        """Sum over number; NaN before the first term."""
        return mean(state)
