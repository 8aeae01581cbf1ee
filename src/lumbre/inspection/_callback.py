"""A look inside a model while it trains."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lumbre.base import at_least, one_of
from lumbre.core import Callback, Context
from lumbre.inspection._layers import choose_both, ends, row_dim, unit_dim, unit_dims
from lumbre.inspection._record import drawing
from lumbre.inspection._statistics import Histogram, Sketch, Statistics, sketch
from lumbre.inspection._watch import Watch

if TYPE_CHECKING:
    import pandas as pd

WHAT = ("activations", "gradients", "weights", "weight_gradients", "updates")
"""What can be recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one layer was like in one step of the training.

    Attributes:
        what: "activations", "gradients", "weights", "weight_gradients" or "updates".
        epoch: counted from 1.
        step: batches trained on before it, over all epochs.
        statistics: of the tensor in this batch. Quantiles and histogram are those of at most 65,536 of its values.
    """

    what: str
    epoch: int
    step: int
    statistics: Statistics


class Inspect(Callback):
    """Record what goes on inside a model, every so many steps of the training.

    The numbers of the training stay the same to the last bit. Hooks stand only while a step that is sampled runs. Such
    a step takes as long as a few others, as each tensor is read several times. Where there would be more than `samples`
    of them, every second one is dropped and they are taken half as often from then on: memory and time are bounded.

    - activations: what layers put out, in training mode (the first call of the model in the step).
    - gradients: of the batch's loss with respect to that. Under float16 they carry the scale of the loss.
    - weights: before the step.
    - weight_gradients: as the optimizer gets them, after clipping; `ratio` is their norm over that of the weights.
    - updates: the change of weights in the step; `ratio` is its norm over that of the weights. About 0.001 is usual.

    Args:
        layers: names or patterns of names, such as "encoder.*"; all layers without parts where not given.
        every: batches from one sample to the next.
        what: what is recorded.
        samples: at most so many steps are kept.

    Attributes:
        records: a `Sample` for each layer, thing and sampled step.

    Raises:
        OptionError: an option is impossible; in the run, a name or a pattern fits no layer.

    Example:
        >>> import lumbre as lb, torch
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> look = lb.inspect.Inspect(every=2)
        >>> line = lb.setup(torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD)
        >>> line = line.set_hparams(in_features=1, out_features=1).set_opt_hparams(lr=0.1)
        >>> _ = line.fit((x, 2 * x), epochs=2, callbacks=look, verbose=False)
        >>> sorted(look.frame()["layer"].unique())
        ['bias', 'output', 'weight']
    """

    def __init__(
        self,
        layers: str | Sequence[str] | None = None,
        *,
        every: int = 100,
        what: Sequence[str] = WHAT,
        samples: int = 200,
    ) -> None:
        what = (what,) if isinstance(what, str) else tuple(what)
        for name in what:
            one_of("what", name, WHAT, fix='what=("activations",)')
        at_least(1, every=every)
        at_least(2, samples=samples)
        self.layers, self.every, self.what, self.samples = layers, every, what, samples
        self.records: list[Sample] = []
        # Heard by loops that tell of a failure; elsewhere the hooks go with the forward pass.
        self.on_failure = self._let_go
        self._begin()

    def _begin(self) -> None:
        self._seen = 0
        self._interval = self.every
        self._sampling = self._awaits = False
        self._watch: Watch | None = None
        self._waiting: list[tuple[str, Sketch]] = []
        self._before: dict[str, Tensor] = {}
        self._step = self._epoch = self._rows = self._updates = 0

    def on_fit_begin(self, ctx: Context) -> None:
        """Find the layers, and start afresh."""
        self._let_go(ctx)
        self._begin()
        self.records = []
        self._layers, self._parameters = choose_both(ctx.model, self.layers)
        self._dims = unit_dims(ctx.model)
        self._types = {
            name: type(ctx.model.get_submodule(name.rpartition(".")[0])).__name__ for name in self._parameters
        }

    def on_train_batch_begin(self, ctx: Context) -> None:
        """Set the hooks for a step that is sampled."""
        self._take_update(ctx)  # of an epoch's end, where gradients are accumulated
        self._sampling = self._seen % self._interval == 0
        self._rows = 0 if ctx.batch is None else ctx.batch.size
        self._seen += 1
        if not self._sampling:
            return
        self._write()
        self._step, self._epoch, self._updates = self._seen - 1, ctx.epoch, ctx.step
        if {"activations", "gradients"} & set(self.what):
            self._watch = Watch(ctx.model, self._layers, self._see)
            self._watch.close_after_forward()
        self._awaits = True
        if "updates" in self.what:
            self._before = {name: value.detach().clone() for name, value in self._parameters.items()}
        if "weights" in self.what:
            for name, value in self._parameters.items():
                self._take("weights", name, self._types[name], value)

    def _see(self, name: str, part: nn.Module | None, tensor: Tensor) -> None:
        kind = name if part is None else type(part).__name__
        rows = row_dim(part, name, tensor, self._rows)
        shape = tuple(size for at, size in enumerate(tensor.shape) if at != rows)
        if "activations" in self.what:
            units = None if part is None else unit_dim(self._dims.get(part), tensor)
            self._take("activations", name, kind, tensor, shape=shape, unit_dim=units, ends=ends(part))
        if "gradients" in self.what and tensor.requires_grad:
            tensor.register_hook(lambda gradient: self._take("gradients", name, kind, gradient, shape=shape))

    def _take(self, what: str, name: str, kind: str, values: Tensor, **more: Any) -> None:
        if values.numel():
            with torch.no_grad(), torch.autocast(values.device.type, enabled=False):
                self._waiting.append((what, sketch(name, kind, values, **more)))

    def on_before_step(self, ctx: Context) -> None:
        """Look at the gradients that the optimizer gets."""
        if not self._awaits or "weight_gradients" not in self.what:
            return
        for name, value in self._parameters.items():
            if value.grad is not None:
                gradient = value.grad.coalesce().values() if value.grad.is_sparse else value.grad
                ratio = gradient.norm() / value.detach().norm()
                self._take("weight_gradients", name, self._types[name], gradient, ratio=ratio)

    def on_train_batch_end(self, ctx: Context) -> None:
        """Look at the update, and write down what was seen."""
        self._take_update(ctx)
        if self._sampling:
            self._close()
        self._write()

    def _take_update(self, ctx: Context) -> None:
        """Look at the first update since the sampled batch began; where gradients are accumulated it comes later."""
        if not self._awaits or ctx.step == self._updates:
            return
        for name, before in self._before.items():
            update = self._parameters[name].detach() - before
            self._take("updates", name, self._types[name], update, ratio=update.norm() / before.norm())
        self._awaits, self._before = False, {}

    def _write(self) -> None:
        """Read what was sketched from the device, and keep at most so many samples."""
        if not self._waiting:
            return
        self.records += [
            Sample(what=what, epoch=self._epoch, step=self._step, statistics=found.result())
            for what, found in self._waiting
        ]
        self._waiting = []
        if len({record.step for record in self.records}) > self.samples:
            self._interval *= 2
            self.records = [record for record in self.records if record.step % self._interval == 0]

    def on_interrupt(self, ctx: Context) -> None:
        """Take the hooks away."""
        self._let_go(ctx)

    def on_fit_end(self, ctx: Context) -> None:
        """Take the hooks away."""
        self._let_go(ctx)

    def _let_go(self, ctx: Context) -> None:
        self._close()
        self._awaits, self._waiting, self._before = False, [], {}

    def _close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch, self._sampling = None, False

    def state_dict(self) -> dict[str, Any]:
        """What was recorded, and how often."""
        records = [asdict(record) for record in self.records]
        for record in records:
            quantiles = record["statistics"]["quantiles"]
            record["statistics"]["quantiles"] = [list(pair) for pair in quantiles.items()]
        return {"records": records, "seen": self._seen, "interval": self._interval}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with kept records."""
        self.records = [_sample(record) for record in state["records"]]
        self._seen, self._interval = state["seen"], state["interval"]

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with a row for each sample: what, epoch, step, and the columns of `Statistics`."""
        import pandas as pd

        return pd.DataFrame(
            [
                {"what": record.what, "epoch": record.epoch, "step": record.step, **record.statistics.row()}
                for record in self.records
            ]
        )

    def plot(self, what: str = "activations") -> Any:
        """How things went during the training, a panel for each layer; a plotnine object.

        Args:
            what: "activations", "gradients", "weights" or "weight_gradients" as ridges: a histogram for each of some
                samples, the first at the bottom; or "updates": the ratio of updates to weights by step.

        Raises:
            MissingExtraError: plotnine is not installed.
            DataError: nothing of the kind was recorded.
        """
        plots = drawing()
        return plots.update_ratios(self.records) if what == "updates" else plots.training_ridges(self.records, what)


def _sample(record: dict[str, Any]) -> Sample:
    statistics = dict(record["statistics"])
    histogram = statistics["histogram"]
    statistics["quantiles"] = dict(statistics["quantiles"])
    statistics["shape"] = tuple(statistics["shape"])
    if histogram is not None:
        statistics["histogram"] = Histogram(histogram["low"], histogram["high"], tuple(histogram["counts"]))
    return Sample(what=record["what"], epoch=record["epoch"], step=record["step"], statistics=Statistics(**statistics))
