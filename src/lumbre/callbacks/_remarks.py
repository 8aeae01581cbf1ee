"""What is noticed while a run goes on, and which parameters moved."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot

from torch import Tensor, nn

from lumbre.base import norm_of, own_method
from lumbre.core import Callback, Context

_KEPT = 20_000_000
_FEW_STEPS, _ENOUGH_STEPS, _LONG = 3, 20, 100


@dataclass(frozen=True, slots=True)
class Moved:
    """What a run did to a parameter.

    Attributes:
        name: of the parameter.
        numbers: how many it has.
        trainable: whether it requires a gradient.
        gradient: norm of its gradient in the last step; None where it got none, or the engine keeps none.
        start: its norm before the run.
        change: norm of what was added to it; None for models too large to keep a copy.
    """

    name: str
    numbers: int
    trainable: bool
    gradient: float | None
    start: float
    change: float | None

    @property
    def changed(self) -> bool | None:
        """Whether any number of it is another now."""
        return None if self.change is None else self.change != 0  # NaN is another number, too

    @property
    def ratio(self) -> float | None:
        """The change as a share of its norm before."""
        return None if self.change is None or not self.start else self.change / self.start


class Remarks(Callback):
    """Notices at the end of an epoch what looks wrong in the history, and says each once, in a line with its code.

    `fit()` adds one by itself unless `preflight=False`. It looks at losses and times only, so it costs nothing in a
    step; parameters are compared once, before and after the run. LB101: the training loss does not move. LB102: it
    diverges. LB103: it jumps up and down. LB104: validation is far better than training. LB105: the validation loss
    has risen for epochs while the training loss falls. LB106: the model waits for data. LB107: parameters that did not
    change in a run of at least 20 updates; in a shorter one, those that got no gradient. LB108: a group of parameters
    that changes ten thousand times less than another. LB109: what the checks before the run did not look at. LB110: a
    run that ended no better than the best constant prediction. LB111: validation far worse than that, beside training
    that is far better. LB112: a loss that can fall without end, and does. LB113: an epoch that trained in evaluation
    mode.

    Attributes:
        codes: all there are.
        lines: what was said.
        ledger: what the run did to each parameter, after it.
        left_out: what the checks before the run did not look at, and why.
        constant: the loss of the best prediction that looks at no input, of "train" and "valid", where it is known.
        endless: whether the loss can fall without end.
        own_step: whether the module takes its steps by itself.

    Args:
        say: what to do with a line, besides keeping it in `lines`; `print` for example.
        ignore: codes to leave out.
    """

    codes = tuple(f"LB{number}" for number in range(101, 114))

    def __init__(self, say: Callable[[str], object] | None = None, *, ignore: tuple[str, ...] = ()) -> None:
        self.lines: list[str] = []
        self.ledger: list[Moved] = []
        self.left_out: Sequence[str] = ()
        self.constant: Mapping[str, float] = {}
        self.endless = self.own_step = False
        self._say, self._said = say, set(ignore)
        self._train: list[float] = []
        self._valid: list[float] = []
        self._before: dict[str, Tensor] = {}
        self._norms: dict[str, float] = {}
        self._first = True

    def on_fit_begin(self, ctx: Context) -> None:
        """Keep the parameters as they are, of a model that is not too large."""
        self.lines, self.ledger = [], []
        self.own_step = own_method(ctx.model, "step")
        self._train, self._valid, self._first = [], [], True
        named = ctx.named_parameters()
        self._norms = {name: norm_of(one) for name, one in named.items()}
        small = sum(one.numel() for one in named.values()) <= _KEPT
        self._before = {name: one.detach().clone() for name, one in named.items()} if small else {}
        if self.left_out:
            self._remark("LB109", f"not looked at before the run: {'; '.join(self.left_out)}")

    def on_train_end(self, ctx: Context) -> None:
        """Look at the mode that the epoch has trained in."""
        if self._first and not ctx.model.training and any(_in_two_modes(one) for one in ctx.model.modules()):
            self._remark(
                "LB113",
                f"epoch {ctx.epoch}: training ended in evaluation mode, without dropout and with BatchNorm as it was; "
                "self.train() where a step or callback has called eval()",
            )

    def on_epoch_end(self, ctx: Context) -> None:
        """Look at the history."""
        for set_name, metric, epoch, value in reversed(ctx.history.records):
            if epoch != ctx.epoch:
                break
            if metric == "loss" and isinstance(value, float) and set_name in ("train", "valid"):
                (self._train if set_name == "train" else self._valid).append(value)
        first, self._first = self._first, False
        of_groups = self._of_groups(ctx) if first else ()
        for code, line in (*self._of_training(), *self._of_validation(), *_of_times(ctx), *of_groups):
            self._remark(code, f"epoch {ctx.epoch}: {line}")

    def on_fit_end(self, ctx: Context) -> None:
        """Compare the parameters with what they were."""
        held = {id(p) for one in ctx.optimizers.values() for group in one.param_groups for p in group["params"]}
        for name, one in ctx.named_parameters().items():
            before = self._before.get(name)
            same_shape = before is not None and before.shape == one.shape
            change = _distance(one.detach(), before) if before is not None and same_shape else None
            gradient = None if one.grad is None else norm_of(one.grad)
            start = self._norms.get(name, float("nan"))
            self.ledger.append(Moved(name, one.numel(), one.requires_grad, gradient, start, change))
        moving = {moved.name.rpartition(".")[0] for moved in self.ledger if moved.changed}
        still = [
            moved.name
            for moved, one in zip(self.ledger, ctx.named_parameters().values(), strict=True)
            if moved.trainable and moved.changed is False and id(one) in held and not _cancels(moved, one, moving)
        ]
        if ctx.step < _ENOUGH_STEPS:
            # What stands behind a branch that begins at zero, or is dropped in a step by chance, moves later. What got
            # no gradient is named already; an engine that keeps no gradients does not say which that is.
            without = {moved.name for moved in self.ledger if moved.gradient is None}
            known = ctx.step >= _FEW_STEPS and len(without) < len(self.ledger)
            still = [name for name in still if known and name in without]
        if still and ctx.step:
            more = f" and {len(still) - 3} more" if len(still) > 3 else ""
            self._remark("LB107", f"did not change in {ctx.step} steps: {', '.join(still[:3])}{more}")
        self._before = {}
        if ctx.step >= _LONG:
            for code, line in self._of_guesses():
                self._remark(code, line)

    def _remark(self, code: str, line: str) -> None:
        if code in self._said:
            return
        self._said.add(code)
        self.lines.append(f"{code} {line}")
        if self._say is not None:
            self._say(self.lines[-1])

    def _of_groups(self, ctx: Context) -> Iterator[tuple[str, str]]:
        """How far the first epoch has moved each group of parameters, as a share of what they were."""
        names = {id(one): name for name, one in ctx.named_parameters().items()}
        shares: list[tuple[float, str]] = []
        for group in (group for one in ctx.optimizers.values() for group in one.param_groups):
            changes: list[float] = []
            norms: list[float] = []
            known = [(names.get(id(one), ""), one) for one in group["params"] if one.requires_grad]
            for name, one in known:
                before = self._before.get(name)
                if before is not None and before.shape == one.shape:
                    changes.append(norm_of(one.detach() - before))
                    norms.append(self._norms[name])
            if hypot(*changes) > 0 and hypot(*norms) > 0:
                shares.append((hypot(*changes) / hypot(*norms), known[0][0]))
        if len(shares) >= 2 and (low := min(shares))[0] < 1e-4 * (high := max(shares))[0]:
            yield (
                "LB108",
                f"the group of {low[1]} moved by {low[0]:.1g} of its size, that of {high[1]} by {high[0]:.1g}; are "
                "their learning rates meant?",
            )

    def _of_guesses(self) -> Iterator[tuple[str, str]]:
        """Whether anything was learned that a prediction without a look at the input does not know."""
        train, valid = self._train, self._valid
        of_train, of_valid = self.constant.get("train"), self.constant.get("valid")
        if len(train) < 5 or of_train is None or not (of_train > 0 and min(train) > 0):
            return
        if valid and of_valid is not None and of_valid > 0:
            best, guess, name = min(valid), of_valid, "validation"
            if best > guess and valid[-1] > 2 * guess and train[-1] < 0.5 * of_train:
                yield (
                    "LB111",
                    f"validation loss {valid[-1]:.4g}, where a constant prediction has {guess:.4g}, beside a training "
                    f"loss of {train[-1]:.4g}: validation rows are not the same kind of rows, or have other labels",
                )
                return
        else:
            best, guess, name = min(train), of_train, "training"
        if best >= guess:
            yield (
                "LB110",
                f"no better than a constant prediction, whose {name} loss is {guess:.4g}; the best epoch has "
                f"{best:.4g}: do inputs say anything about the targets?",
            )

    def _of_training(self) -> Iterator[tuple[str, str]]:
        loss = self._train
        if self.endless and len(loss) >= 2 and loss[-1] < 0 and loss[-1] < loss[-2] - 0.1 * abs(loss[-2]):
            line = f"the training loss falls below 0, to {loss[-1]:.4g}, and can fall without end"
            yield "LB112", f"{line}; a margin or a bound is missing, or a term has the wrong sign"
        if len(loss) >= 5 and max(loss) - min(loss) <= 1e-3 * abs(loss[0]) and abs(loss[0]) > 1e-6:
            yield "LB101", f"the training loss has not moved from {loss[0]:.4g}; try recipe.lr_finder(data)"
        if len(loss) >= 4 and min(loss) > 0 and loss[-1] > 2 * min(loss) and loss[-1] > loss[-2] > loss[-3]:
            line = f"the training loss diverges, from {min(loss):.4g} to {loss[-1]:.4g}"
            own = "are gradients cleared in your step (optimizer.zero_grad())? If so, "
            yield "LB102", f"{line}; {own if self.own_step else ''}a lower lr may help"
        if len(loss) >= 9:
            steps = [b - a for a, b in zip(loss[-9:], loss[-8:], strict=False)]
            turns = all(a * b < 0 for a, b in pairwise(steps))
            if turns and sum(map(abs, steps)) / len(steps) > 0.3 * abs(sum(loss[-9:]) / 9):
                yield "LB103", "the training loss jumps up and down from epoch to epoch; a lower lr may help"

    def _of_validation(self) -> Iterator[tuple[str, str]]:
        train, valid = self._train, self._valid
        if len(valid) != len(train) or len(valid) < 5:
            return
        settled = abs(train[-1] - train[-2]) < 0.1 * abs(train[-2])
        if settled and min(valid[-3:]) > 0 and all(v < 0.3 * t for v, t in zip(valid[-3:], train[-3:], strict=True)):
            yield "LB104", f"validation loss {valid[-1]:.4g} far below training loss {train[-1]:.4g}; are they alike?"
        best = min(range(len(valid)), key=valid.__getitem__)
        if len(valid) - 1 - best >= 5 and valid[-1] > 1.1 * valid[best] > 0 and train[-1] < train[best]:
            yield (
                "LB105",
                f"over-fitting since epoch {best + 1}: validation loss {valid[best]:.4g} then, {valid[-1]:.4g} now",
            )


def _in_two_modes(part: nn.Module) -> bool:
    return isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd))  # pyright: ignore[reportPrivateUsage]


def _cancels(moved: Moved, one: Tensor, moving: set[str]) -> bool:
    """Whether it is a bias that the loss subtracts from itself, as a distance of two outputs of one layer does."""
    layer, _, kind = moved.name.rpartition(".")
    return kind.startswith("bias") and one.ndim == 1 and moved.gradient == 0 and layer in moving


def _distance(one: Tensor, other: Tensor) -> float:
    """The norm of the difference, which is 0 for equal tensors alone: squares of small numbers are 0 in float32."""
    difference = one - other
    return norm_of(difference) or float(difference.abs().sum())  # of a part without numbers there is no maximum


def _of_times(ctx: Context) -> Iterator[tuple[str, str]]:
    phases = ctx.history.phase_seconds
    total, waiting = sum(phases.values()), phases.get("data", 0.0)
    if ctx.epoch >= 2 and total > 5 and waiting > 0.5 * total:
        yield "LB106", f"{waiting / total:.0%} of the time goes into waiting for data; num_workers=4 may help"
