"""Choices that make a run faster: the memory layout of images, the library that multiplies matrices, denormal numbers.

All change last bits, so a choice is made from counts and never by the clock, is kept in checkpoints, and holds for all
passes of a run. A new choice is a field here, a line in `active` and a line in `choose`.
"""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import Batch, Nested, OptionError, flushes_denormals, leaves, map_leaves, tried
from lumbre.devices import Precision, can_flush, flushed_denormals, onednn_gains, onednn_products
from lumbre.preflight import FEW_ROWS
from lumbre.run._net import Net
from lumbre.run._options import Options
from lumbre.run._setting import Setting
from lumbre.steps import channels_last, mean_product, runs_channels_last

_PRODUCT_WORTH_IT = 3_000_000  # multiplications, on average over the products of a forward pass
_STEPS_TO_DENORMALS = 1_000  # after which a momentum of 0.9 may have fallen from 1e-4 to under 1e-38


@dataclass(frozen=True, slots=True)
class Choices:
    """What was chosen.

    Attributes:
        channels_last: the module is trained with the channels of images last.
        onednn_products: oneDNN is asked for products of matrices.
        flush_denormal: denormal numbers are 0.
    """

    channels_last: bool = False
    onednn_products: bool = False
    flush_denormal: bool = False

    @contextmanager
    def active(self, model: nn.Module | None = None) -> Generator[None]:
        """The choices in force: for a `model` that trains all of them, else those of the process alone."""
        with onednn_products(self.onednn_products), flushed_denormals(self.flush_denormal):
            if model is None:
                yield
                return
            with channels_last(model, self.channels_last):
                yield

    @property
    def words(self) -> list[str]:
        """What was chosen, for people."""
        named = {
            "denormal numbers as 0": self.flush_denormal,
            "channels last": self.channels_last,
            "products by oneDNN": self.onednn_products,
        }
        return [words for words, chosen in named.items() if chosen]

    def state(self) -> dict[str, bool]:
        """What a checkpoint keeps."""
        return asdict(self)


def choices_from(document: Mapping[str, Any], device: torch.device) -> Choices:
    """The choices that a file holds, as far as this machine can follow them."""
    return Choices(
        channels_last=document.get("channels_last") is True,
        onednn_products=document.get("onednn_products") is True and onednn_gains(device),
        flush_denormal=document.get("flush_denormal") is True,
    )


def choose(net: Net, first: Batch, options: Options, setting: Setting, batches: int | None) -> Choices:
    """What the module gains from, as a few rows tell; the engine "eager" keeps layout and products as they are.

    Raises:
        OptionError: denormal numbers are to be 0 on a processor that cannot do so.
    """
    precision = setting.precision
    trial = net.trial(first, precision)
    flush = options.flush_denormal
    if flush is None:
        steps = None if batches is None else batches * options.epoch_range[1]
        flush = flushes_denormals() or _gains_by_flushing(
            net.model, trial, setting, min(steps or inf, options.max_steps or inf)
        )
    elif flush and not can_flush():
        raise OptionError("flush_denormal=True", "a processor that can take denormal numbers for 0", "leave it out")
    if trial is None or options.engine == "eager":
        return Choices(flush_denormal=flush)
    last = runs_channels_last(net.model, first.input, trial, half=precision.name != "float32")
    chosen = Choices(channels_last=last, flush_denormal=flush)
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


def _gains_by_flushing(
    model: nn.Module, trial: Callable[[], tuple[Nested, Tensor]] | None, setting: Setting, steps: float
) -> bool:
    """Whether a run is long enough for denormal numbers to show, and its first batch has the same bits without.

    A net or a loss may need them: `log(mask + 1e-45)` is -103 where the mask is 0, and else -inf.
    """
    if trial is None or steps < _STEPS_TO_DENORMALS or setting.device.type != "cpu":
        return False
    seen: list[list[Tensor]] = []
    try:
        for wanted in (False, True):
            with flushed_denormals(wanted), torch.no_grad(), tried(model, trial):
                seen.append([leaf for leaf in leaves(trial()) if isinstance(leaf, Tensor)])
        same = can_flush() and all(map(torch.equal, *seen))
    except Exception:  # the first step will say what is wrong
        same = False
    return all(setting.world.gather(same))
