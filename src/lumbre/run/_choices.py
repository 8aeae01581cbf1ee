"""Choices that make a run faster: the memory layout of images, and the library that multiplies matrices.

Both change last bits, so a choice is made from counts and never by the clock, is kept in checkpoints, and holds for all
passes of a run. A new choice is a field here, a line in `active` and a line in `choose`.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import Batch, Nested, leaves, map_leaves
from lumbre.devices import Precision, onednn_gains, onednn_products
from lumbre.preflight import FEW_ROWS
from lumbre.run._net import Net
from lumbre.steps import channels_last, mean_product, runs_channels_last

_PRODUCT_WORTH_IT = 3_000_000  # multiplications, on average over the products of a forward pass


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen.

    Attributes:
        channels_last: the module is trained with the channels of images last.
        onednn_products: oneDNN is asked for products of matrices.
    """

    channels_last: bool = False
    onednn_products: bool = False

    @contextmanager
    def active(self, model: nn.Module | None = None) -> Generator[None]:
        """The choices in force: for a `model` that trains all of them, else those of the process alone."""
        with onednn_products(self.onednn_products):
            if model is None:
                yield
                return
            with channels_last(model, self.channels_last):
                yield

    @property
    def words(self) -> list[str]:
        """What was chosen, for people."""
        named = {"channels last": self.channels_last, "products by oneDNN": self.onednn_products}
        return [words for words, chosen in named.items() if chosen]

    def state(self) -> dict[str, bool]:
        """What a checkpoint keeps."""
        return asdict(self)


def choices_from(document: Mapping[str, Any], device: torch.device) -> Choices:
    """The choices that a file holds, as far as this machine can follow them."""
    return Choices(
        channels_last=document.get("channels_last") is True,
        onednn_products=document.get("onednn_products") is True and onednn_gains(device),
    )


def choose(net: Net, first: Batch, engine: str, precision: Precision) -> Choices:
    """What the module gains from, as a few rows tell; the engine "eager" asks for nothing."""
    trial = net.trial(first, precision)
    if trial is None or engine == "eager":
        return Choices()
    last = runs_channels_last(net.model, first.input, trial, half=precision.name != "float32")
    chosen = Choices(channels_last=last)
    with chosen.active(net.model):
        return replace(chosen, onednn_products=_gains_by_onednn(net.model, net.call, first, precision))


def _gains_by_onednn(model: nn.Module, call: Callable[[Nested], Nested], first: Batch, precision: Precision) -> bool:
    """Whether the products of a forward pass are large enough for oneDNN, as a few rows tell."""
    numbers = sum(leaf.numel() for leaf in leaves(first.input) if isinstance(leaf, Tensor))
    weights = max((value.numel() for value in model.parameters() if value.ndim > 1), default=0)
    if numbers * weights < _PRODUCT_WORTH_IT:  # a small net is not run to find out
        return False
    if precision.name != "float32" or not onednn_gains(precision.device):
        return False
    rows = min(FEW_ROWS, first.size)  # as in a check, so that torch makes its kernels once
    few = map_leaves(lambda leaf: leaf[:rows] if isinstance(leaf, Tensor) else leaf, first.input)
    return mean_product(model, lambda: call(few)) * first.size / rows >= _PRODUCT_WORTH_IT
