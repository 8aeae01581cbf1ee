"""Averages of the weights over training: EMA and SWA. The model ends with the averaged weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from lumbre.base import may_change, only_numbers, own_part, shared_like
from lumbre.callbacks._learning_rate import hold_rate, release_rate
from lumbre.callbacks._weights import OF_LOSS
from lumbre.core import Callback, Context


class EMA(Callback):
    """Keep an exponential moving average of the weights: validate, save and end with it.

    After each update, `average = d * average + (1 - d) * weights` with `d = decay`, which warm-up holds down at first:
    `d = min(decay, (1 + n) / (10 + n))` for the n-th update. Buffers, such as BatchNorm's statistics, are averaged in
    the same way, and so are the parameters that a loss has of its own; buffers of the loss stay as they are. Training
    itself goes on with the plain weights.

    Args:
        decay: between 0 and 1; the average reaches back about 1 / (1 - decay) updates.
        warm_up: start with a short memory, so that the first weights are soon forgotten.

    Raises:
        OptionError: decay is not between 0 and 1.

    References:
        Polyak and Juditsky: Acceleration of stochastic approximation by averaging, 1992. The warm-up is that of
        TensorFlow's ExponentialMovingAverage.

    Example:
        >>> import lumbre as lb
        >>> average = lb.callbacks.EMA(decay=0.999)
    """

    def __init__(self, decay: float = 0.999, *, warm_up: bool = True) -> None:
        only_numbers("a number between 0 and 1", 0.999, lambda value: 0 < value < 1, decay=decay)
        self.decay = decay
        self.warm_up = warm_up
        self._average = _Average()
        self._seen = 0
        self._count = 0

    def on_fit_begin(self, ctx: Context) -> None:
        """Start from the first weights."""
        self._average.begin(ctx)
        self._seen = self._count = 0

    def on_epoch_begin(self, ctx: Context) -> None:
        """Train on with the plain weights."""
        self._average.swap_out()

    def on_train_batch_end(self, ctx: Context) -> None:
        """Take in the weights, where they were updated."""
        if ctx.step != self._seen:
            self._seen = ctx.step
            self._count += 1
            decay = min(self.decay, (1 + self._count) / (10 + self._count)) if self.warm_up else self.decay
            self._average.add(get_ema_multi_avg_fn(decay), self._count)

    def on_train_end(self, ctx: Context) -> None:
        """Validate with the average."""
        self.on_train_batch_end(ctx)  # an update at the end of the epoch comes after its last batch
        self._average.swap_in()

    def on_interrupt(self, ctx: Context) -> None:
        """End with the average."""
        self._average.swap_in()

    def state_dict(self) -> dict[str, Any]:
        """The average, how many weights are in it, and the plain weights while the model holds the average."""
        return {**self._average.state(), "seen": self._seen, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a kept average."""
        self._average.load(state)
        self._seen, self._count = state["seen"], state["count"]


class SWA(Callback):
    """Average the weights of the last epochs, at a high learning rate: the model ends with a flatter minimum.

    BatchNorm gathers its statistics anew for the averaged weights, in one pass over the training data; one that was
    held in evaluation mode keeps its own. The parameters of a loss are averaged with the module's. SWA decides with
    which weights the run ends, so `EMA`, `KeepBestModel` and `EarlyStopping(restore_best=True)` are refused beside it.

    Args:
        start: share of the epochs after which averaging starts, in [0, 1).
        lr: learning rate from then on, of every group, whatever a schedule says; None leaves it.

    Raises:
        OptionError: start is out of its range.

    References:
        Izmailov et al.: Averaging Weights Leads to Wider Optima and Better Generalization, UAI 2018.

    Example:
        >>> import lumbre as lb
        >>> average = lb.callbacks.SWA(start=0.75, lr=0.05)
    """

    def __init__(self, start: float = 0.75, *, lr: float | None = None) -> None:
        only_numbers("a share of the epochs in [0, 1)", 0.75, lambda share: 0 <= share < 1, start=start)
        only_numbers("a learning rate", 0.05, lambda rate: rate >= 0, lr=lr)
        self.start = start
        self.lr = lr
        self._average = _Average()
        self._count = 0
        self._resting: list[str] = []

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh."""
        self._average.begin(ctx)
        self._count = 0
        self._resting = []

    def _averages(self, ctx: Context) -> bool:
        return ctx.epoch > int(self.start * ctx.epochs[1])

    def on_train_begin(self, ctx: Context) -> None:
        """Set the learning rate. A schedule of the run leaves it alone from then on."""
        if self.lr is not None and self._averages(ctx):
            for optimizer in ctx.optimizers.values():
                hold_rate(optimizer, self.lr)

    def on_train_end(self, ctx: Context) -> None:
        """Remember what was held in evaluation mode while the epoch was trained."""
        self._resting = [name for name, part in ctx.model.named_modules() if not part.training]

    def on_epoch_end(self, ctx: Context) -> None:
        """Take in the weights of the epoch."""
        if self._averages(ctx):
            self._average.add(get_swa_multi_avg_fn(), self._count)
            self._count += 1

    def on_fit_end(self, ctx: Context) -> None:
        """Leave the average in the model."""
        for optimizer in ctx.optimizers.values():
            release_rate(optimizer)
        if not self._count:
            return
        self._average.swap_in()
        ctx.model.train()
        for name, part in ctx.model.named_modules():
            if name in self._resting:
                part.training = False  # a BatchNorm that was frozen stays as it is
        norms = [part for part in ctx.model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]  # pyright: ignore[reportPrivateUsage]
        norms = [norm for norm in norms if norm.track_running_stats and norm.training]
        if norms:
            momenta = [norm.momentum for norm in norms]
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None  # a plain mean over the batches
            ctx.see_training_data()
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
        ctx.model.eval()

    def on_failure(self, ctx: Context) -> None:
        """Give the learning rate free."""
        for optimizer in ctx.optimizers.values():
            release_rate(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """The average, how many weights are in it, and the plain weights while the model holds the average."""
        return {**self._average.state(), "count": self._count, "resting": self._resting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a kept average."""
        self._average.load(state)
        self._count = state["count"]
        self._resting = list(state.get("resting", []))  # checkpoints of before do not say it


class _Average:
    """A second set of the floating-point tensors of module and loss, which can change places with the first."""

    def __init__(self) -> None:
        self._own: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}
        self._model = nn.Module()
        self._loose: list[str] = []
        self.inside = False

    def begin(self, ctx: Context) -> None:
        state: dict[str, Any] = ctx.model.state_dict()  # a module may add what is no tensor
        own = {name: one for name, one in state.items() if isinstance(one, Tensor) and one.is_floating_point()}
        of_model = {id(one) for one in ctx.model.parameters()}
        beside = {name: one for name, one in ctx.named_parameters().items() if id(one) not in of_model}
        own |= {OF_LOSS + name: value.detach() for name, value in beside.items()}
        # Weights that are tied stand there under each of their names: what changes places twice is where it was.
        places = {name: _place(value) for name, value in own.items()}
        first = {place: name for name, place in reversed(places.items())}
        self._own = {name: value for name, value in own.items() if first[places[name]] == name}
        self._kept = {name: value.clone() for name, value in self._own.items()}
        self._model = ctx.model
        buffers = [name for name, _ in ctx.model.named_buffers() if name in self._own]
        self._loose = [name for name in buffers if may_change(ctx.model, name)]
        self.inside = False

    def _look(self) -> None:
        """Follow the buffers for which the module has made new tensors. One of another shape has no average."""
        for name in self._loose:
            place, _, leaf = name.rpartition(".")
            now = getattr(self._model.get_submodule(place), leaf, None)
            own = self._own.get(name)
            if own is None:
                continue
            if now is None or now.shape != own.shape or now.dtype != own.dtype:
                del self._own[name], self._kept[name]
            else:
                self._own[name] = now.detach()

    def state(self) -> dict[str, Any]:
        if self.inside:
            return {"average": self._own, "plain": self._kept}
        return {"average": self._kept, "plain": None}

    def load(self, state: dict[str, Any]) -> None:
        plain = state["plain"]
        self.inside = plain is not None
        held = state["average"] if plain is None else plain
        for name in self._kept.keys() - held.keys():  # a buffer that grew; a loss, which older checkpoints left out
            del self._own[name], self._kept[name]
        with torch.no_grad():
            for name, value in self._kept.items():
                value.copy_(shared_like(held[name], value))

    def add(self, average: Callable[..., None], count: int) -> None:
        self._look()
        with torch.no_grad():
            average(list(map(own_part, self._kept.values())), list(map(own_part, self._own.values())), count)

    def swap_in(self) -> None:
        if not self.inside:
            self._swap()

    def swap_out(self) -> None:
        if self.inside:
            self._swap()

    def _swap(self) -> None:
        self._look()
        # Values change places, not tensors: the optimizer and captured graphs hold on to the tensors.
        together: dict[int, list[tuple[Tensor, Tensor]]] = {}
        for own, kept in zip(self._own.values(), self._kept.values(), strict=True):
            together.setdefault(_place(own)[0], []).append((own, kept))
        with torch.no_grad():
            for pairs in together.values():  # those that lie in one memory may overlap
                held = [own.clone() for own, _ in pairs]
                for own, kept in pairs:
                    own.copy_(kept)
                for (_, kept), value in zip(pairs, held, strict=True):
                    kept.copy_(value)
        self.inside = not self.inside


def _place(value: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies in memory, its storage first."""
    own = own_part(value)
    if own.numel() == 0:
        return id(value), 0
    return own.untyped_storage().data_ptr(), own.storage_offset(), own.shape, own.stride(), own.dtype
