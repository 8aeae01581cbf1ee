"""A model with all that is needed to use it: a run holds it while it trains, a `Fitted` afterwards."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lumbre.base import (
    Batch,
    DataError,
    Divisor,
    Losses,
    LumbreError,
    Nested,
    RecipeError,
    Response,
    RowLoss,
    Scale,
    as_path,
    as_scalar,
    caller,
    divisor_of,
    is_out_of_memory,
    map_leaves,
    nothing_for_nothing,
    own_method,
    preserved_randomness,
    scale_of,
    with_row,
)
from lumbre.core import History
from lumbre.data import FrameEncoding, forms, in_words, same_forms
from lumbre.devices import Precision, kept_memory
from lumbre.metrics import ignored_by
from lumbre.processes import Sharded, World
from lumbre.report import RunRecord
from lumbre.run._beside import BESIDE, Beside
from lumbre.run._choices import Choices
from lumbre.run._loss import learned_by_loss, loss_module
from lumbre.run._net import LossFunction, loss_function, make_module
from lumbre.run._spec import Spec
from lumbre.storage import LOSS_PREFIX, write_archive


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A module on its device, with the recipe and the data's encoding that belong to it.

    Attributes:
        recipe: what it was built from.
        model: the module.
        loss: the loss function; None for a model loaded with its class alone, or with a step of its own.
        device: where it is.
        precision: of its forward passes.
        seed: of the run.
        batch_size: of the run.
        encoding: how frames become tensors, or None.
        classes: names of the classes, or None.
        record: what a report says of the run.
        choices: what makes it faster.
        world: the processes that share the run.
        sharded: what is trained in the model's place, where each process holds a part of it; the model is empty then.
        advice: sentences for the user, said before the first epoch.
        seen: the scale of predictions where neither recipe nor module nor loss says it: seen from what a loss calls, or
            as its file tells.
        beside: knows what the module held beside its tensors when it was built; None where nothing was noted.
        after: what was found out after training, as JSON holds it: "temperature", "calibration", "intervals",
            "baselines".
    """

    recipe: Spec
    model: nn.Module
    loss: LossFunction | None
    device: torch.device
    precision: Precision
    seed: int
    batch_size: int
    encoding: FrameEncoding | None
    classes: tuple[str, ...] | None
    record: RunRecord = field(default_factory=RunRecord)
    choices: Choices = field(default_factory=Choices)
    world: World = field(default_factory=World)
    sharded: Sharded | None = None
    advice: list[str] = field(default_factory=list[str])
    seen: Scale = field(default_factory=Scale)
    beside: Beside | None = field(default=None, repr=False, compare=False)
    after: Mapping[str, Any] = field(default_factory=dict[str, Any])
    # Filled once it is known that the loss can take the weights of rows.
    _weighing: list[bool] = field(default_factory=list[bool], init=False, repr=False, compare=False)
    # How module and `predict` are called with the structures of this pass: to look at a signature takes as long as a
    # small batch.
    _calls: dict[Any, Callable[[Nested], Nested]] = field(
        default_factory=dict[Any, Callable[[Nested], Nested]], init=False, repr=False, compare=False
    )

    @property
    def scale(self) -> Scale:
        """What the module's predictions are, as the recipe, the module or the loss says; else what was seen."""
        found = scale_of(self.loss, self.model, self.recipe.response)
        found = self.seen if found == Scale() else found
        return replace(found, temperature=self.after.get("temperature", 1.0), ignored=self.ignored)

    @property
    def ignored(self) -> int | None:
        """The label that the loss leaves out, as it says, or as was seen; None where it names none."""
        said = ignored_by(self.loss)
        return self.seen.ignored if said is None else said

    def divisor(self, *, may_ignore: bool = True, weighted: bool = False) -> Divisor | None:
        """What the loss divides by, as `divisor_of` gives it for what the loss is, or was seen to be."""
        return divisor_of(self.loss, may_ignore=may_ignore, weighted=weighted, seen=self.seen.labels)

    @contextmanager
    def running(self, *, batches: int | None) -> Generator[None]:
        """What a pass over so many batches runs in; the caller's random state is as it was."""
        with kept_memory(batches != 1), self.choices.active(), preserved_randomness(self.device):
            try:
                yield
            finally:
                self._calls.clear()

    @contextmanager
    def comparing(self, input: Nested, target: Nested = None, *, judged: bool = False) -> Generator[None]:
        """A call of the module, whose prediction may be `judged` by the loss: where it fails for data of other forms
        than those of the training, that is said.

        Raises:
            DataError: in place of what torch says.
        """
        try:
            yield
        except LumbreError:
            raise
        except Exception as error:
            record = self.record.data.get("train")
            if record is None or is_out_of_memory(error):
                raise
            for name, given, known in (("input", input, record.input), ("target", target, record.target)):
                if given is not None and known is not None and not same_forms(forms(given), known):
                    raise DataError(
                        f"{name} of the form {in_words(forms(given))}: {str(error)[:200]}",
                        f"{in_words(known)}, as in training",
                        "the same columns, sizes and types; x[None] makes a batch of a single row",
                    ) from error
            if not judged:
                raise
            if target is None and record.target is not None:
                raise DataError(
                    "data without a target", f"a target as in training: {in_words(record.target)}", "(x, y)"
                ) from error
            raise DataError(
                f"rows for which the module or its loss fails: {type(error).__name__}: {str(error)[:200]}",
                "inputs and targets as in training, such as class numbers below the number of classes",
                "compare these rows with those of the training",
            ) from error

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """Prediction and loss of a batch, without gradients."""
        if self.loss is None:
            raise RecipeError(
                "a model that was loaded with its class alone, so that it has no loss to be judged with",
                "a model with its recipe",
                "lumbre.load(path, lumbre.setup(Net, loss=..., optimizer=..., metrics=...))",
            )
        with torch.no_grad(), self.precision.autocast(), self.comparing(batch.input, batch.target, judged=True):
            pred = with_row(self._call(self.model, batch.input), batch.target, batch.size)
            return pred, self._losses(self.loss, pred, batch)

    def losses(self, pred: Nested, batch: Batch) -> Losses:
        """The loss of predictions that `valid_step` gave before, and of a batch with their targets."""
        assert self.loss is not None
        with torch.no_grad(), self.precision.autocast():
            return self._losses(self.loss, pred, batch)

    def _losses(self, loss: LossFunction, pred: Nested, batch: Batch) -> Losses:
        weighted = batch.weights is not None
        losses = as_scalar(loss(pred, batch.target)) if not weighted else None
        if losses is None or (isinstance(losses, Tensor) and losses.ndim):  # it gives a value for each row
            rows = RowLoss(loss)
            if weighted and batch.size and not self._weighing:  # a share without rows holds padding alone
                rows.check(pred, batch.target, batch.size)
                self._weighing.append(True)
            losses = rows(pred, batch.weighted_target)
        if isinstance(losses, Tensor) and (divisor := self.divisor(weighted=weighted)) is not None:
            losses = nothing_for_nothing(losses, divisor(batch.weighted_target))
        return losses

    def predict_step(self, input: Nested) -> Nested:
        """The prediction for a batch in float32, without gradients."""
        with torch.no_grad():
            return self.prediction(input)

    def prediction(self, input: Nested) -> Nested:
        """The prediction for a batch in float32: by the module's `predict`, where it has one, else `forward`.

        Raises:
            RecipeError: `predict` takes something else than a batch, or fails for it.
        """
        model: Any = self.model
        own = own_method(model, "predict")
        try:
            with self.precision.autocast(), self.comparing(input):
                pred = self._call(model.predict if own else model, input)
        except (TypeError, AttributeError, RuntimeError) as error:
            if not own or isinstance(error, LumbreError) or is_out_of_memory(error):
                raise
            raise RecipeError(
                f"{type(error).__name__} in {type(model).__name__}.predict(), called with a batch: {str(error)[:200]}",
                "a method predict(self, x) that gives the predictions for a batch, as forward(x) takes it",
                "another name for the method, if it takes something else; then forward() predicts",
            ) from error
        return pred if self.precision.name == "float32" else map_leaves(_widened, pred)

    def _call(self, function: Callable[..., Nested], input: Nested) -> Nested:
        """The prediction of the module, or of its `predict`, for an input of any structure."""
        if not isinstance(input, (dict, tuple, list)):
            return caller(function, input)(input)
        key = function is self.model, type(input), tuple(input) if isinstance(input, dict) else len(input)
        if key not in self._calls:
            self._calls[key] = caller(function, input)
        return self._calls[key](input)

    @property
    def units(self) -> Response | None:
        """Brings predictions and targets to the target's units, where training saw it scaled; else None."""
        return None if self.encoding is None else self.encoding.units

    def predicted(self, input: Nested) -> Nested:
        """As `predict_step`, in the units of the target."""
        pred = self.predict_step(input)
        return pred if self.units is None else self.units(pred)

    def described(self, engine: str) -> str:
        """The sentence about the engine, and what else makes it fast."""
        return "; ".join([engine, *self.choices.words])

    @property
    def loss_module(self) -> nn.Module | None:
        """The loss, where it is a module beside the model; else None."""
        return loss_module(self.loss, self.model)

    @property
    def trained(self) -> nn.Module:
        """What is trained: the model, or what stands in its place."""
        return self.model if self.sharded is None else self.sharded.model

    def whole(self) -> "Session":
        """This session with the whole model in every process."""
        if self.sharded is None:
            return self
        self.sharded.restore()
        return replace(self, sharded=None, loss=loss_function(self.recipe, self.model, self.device))

    def save(self, path: str | Path, history: History, engine: str) -> None:
        """Write model, hyper-parameters, encoding and history to an archive.

        Where each process holds a part of the model, all must call this, and the first writes.
        """
        state = self.model.state_dict() if self.sharded is None else self.sharded.state()
        if not self.world.leads:
            return
        path = as_path(path, 'fitted.save("model.lumbre")')
        document = {
            "module": type(self.model).__name__,
            "hparams": _plain(self.recipe.hparams),
            "opt_hparams": _plain(self.recipe.opt_hparams),
            "recipe": repr(self.recipe),
            "encoding": None if self.encoding is None else asdict(self.encoding),
            "classes": self.classes,
            "history": asdict(history),
            "engine": engine,
            "precision": self.precision.name,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "onednn_products": self.choices.onednn_products,
            "flush_denormal": self.choices.flush_denormal,
            "record": asdict(self.record),
            "scale": [self.scale.kind, self.scale.name, self.ignored, self.seen.labels],
            "after": dict(self.after),
        }
        write_archive(path, {**state, **self._learned_by_loss(), **self._beside_tensors()}, document)

    def _beside_tensors(self) -> dict[str, Any]:
        """What modules keep beside tensors, where training has changed it, under one name."""
        if self.beside is None or self.sharded is not None:
            return {}
        found = self.beside.kept(
            self.model,
            self.loss_module,
            lambda: make_module(self.recipe.module, self.recipe.hparams),
            lambda model, rows: replace(self, model=model).predict_step(rows),
        )
        return {BESIDE: found} if found else {}

    def _learned_by_loss(self) -> dict[str, Tensor]:
        """What the loss has learned, under names that stand apart from the module's."""
        learned = learned_by_loss(self.loss_module, self.recipe.loss, self.model)
        return {f"{LOSS_PREFIX}{name}": value for name, value in learned.items()}


def _widened(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that JSON can hold as they are; of others only how they print, marked as not stored."""
    return {name: _stored(value) for name, value in values.items()}


def _stored(value: Any) -> Any:
    return _marked(value) if _is_plain(value) else {"__not_stored__": repr(value)}


def _marked(value: Any) -> Any:
    """Tuples with a mark, since JSON has lists alone."""
    if isinstance(value, np.generic):
        return value.item()  # NumPy's numbers, as Python's
    if isinstance(value, tuple):
        return {"__tuple__": [_marked(part) for part in value]}
    if isinstance(value, list):
        return [_marked(part) for part in value]
    return {key: _marked(part) for key, part in value.items()} if isinstance(value, dict) else value


def _is_plain(value: Any) -> bool:
    """Whether a value comes back as what it was: an enum would be a number, a named tuple one without names."""
    if isinstance(value, np.generic):
        return type(value.item()) in (bool, int, float, str)
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        named = all(isinstance(key, str) for key in value) and not value.keys() & {"__tuple__", "__not_stored__"}
        return named and all(map(_is_plain, value.values()))
    return value is None or type(value) in (bool, int, float, str)
