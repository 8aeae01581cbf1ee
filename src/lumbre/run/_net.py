"""Makes module, loss and optimizers from a `Spec`; together they are a `Net`."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn, optim
from torch.nn.parameter import is_lazy

from lumbre.base import (
    Batch,
    DataError,
    Loss,
    NamedLosses,
    Nested,
    RecipeError,
    RowLoss,
    caller,
    class_of,
    did_you_mean,
    loss_hint,
    own_method,
    total_loss,
    tried,
)
from lumbre.devices import Precision
from lumbre.run._beside import Beside
from lumbre.run._loads import watched_loads
from lumbre.run._loss import loss_module, own_loss, trained_by_loss
from lumbre.run._setting import Setting
from lumbre.run._spec import Spec
from lumbre.steps import build_optimizer, fuse, sparse_tables

LossFunction: TypeAlias = Loss | NamedLosses


@dataclass(frozen=True, slots=True)
class Net:
    """What is trained, and by what.

    Attributes:
        model: the module, on its device.
        call: the module, made ready for the form of its input.
        loss: the loss function; None for a module with a step of its own.
        optimizers: by name.
        beside: what module and loss held beside tensors when they were built.
        weighted: rows have weights, which the loss is to take.
        unloaded: saved weights of which none came into the module while it was built, in words.
    """

    model: nn.Module
    call: Callable[[Nested], Nested]
    loss: LossFunction | None
    optimizers: dict[str, optim.Optimizer]
    beside: Beside
    weighted: bool = False
    unloaded: tuple[str, ...] = ()

    @property
    def step_loss(self) -> LossFunction | None:
        """The loss as steps call it: with the targets of batches, that have their weights with them."""
        loss = self.loss
        return loss if loss is None or isinstance(loss, NamedLosses) or not self.weighted else RowLoss(loss)

    @property
    def loss_module(self) -> nn.Module | None:
        """The loss, where it is a module beside the model, with buffers or parameters of its own; else None."""
        return loss_module(self.loss, self.model)

    @property
    def scalar_loss(self) -> Loss | None:
        """The loss as one number; None for a module with a step of its own, of which nothing more can be asked."""
        loss = self.step_loss
        if loss is None or own_method(self.model, "step"):
            return None
        return (lambda pred, target: total_loss(loss(pred, target))) if isinstance(loss, NamedLosses) else loss

    def loss_tried(self) -> AbstractContextManager[None]:
        """Training mode of the loss that leaves no trace in it, for what is tried before the run."""
        return nullcontext() if self.loss_module is None else tried(self.loss_module)

    def tried(self) -> AbstractContextManager[None]:
        """Training mode of the module that leaves no trace in it."""
        return tried(self.model)

    def trial(self, first: Batch, precision: Precision) -> Callable[[], tuple[Nested, Tensor]] | None:
        """Prediction and loss of a batch, to try things out; None for a module with a step of its own."""
        scalar = self.scalar_loss
        if scalar is None:
            return None

        def forward() -> tuple[Nested, Tensor]:
            with precision.autocast():
                pred = self.call(first.input)
                return pred, scalar(pred, first.weighted_target)

        return forward


def make_net(spec: Spec, first: Batch, setting: Setting) -> Net:
    """The parts of `spec`, made for batches like `first`: the module from the run's own seed, on its device.

    Raises:
        RecipeError: parts are missing, or do not fit together.
        DataError: the loss needs a target, and the data has none.
    """
    setting.seed_step("init", 0, 0)
    unloaded: list[str] = []
    with watched_loads(unloaded):
        model = make_module(spec.module, spec.hparams)
    model = model.to(setting.device)
    call = caller(model, first.input)
    if any(is_lazy(value) for value in (*model.parameters(), *model.buffers())):
        with torch.no_grad():
            call(first.input)  # lazy layers learn their shapes, so that the optimizer finds parameters
        _refuse_unknown_shapes(model)
    loss = loss_function(spec, model, setting.device)
    _check_loss(model, loss, first)
    optimizers = make_optimizers(spec, model, loss, setting.device)
    if isinstance(loss, NamedLosses) and not own_method(model, "step"):
        _check_names(type(model).__name__, list(loss.parts), list(optimizers))
    beside = Beside(model, loss_module(loss, model), first)
    return Net(model, call, loss, optimizers, beside, unloaded=tuple(unloaded))


def _refuse_unknown_shapes(model: nn.Module) -> None:
    """See that each lazy layer has learned its shape.

    Raises:
        RecipeError: a pass did not come to one, which could be neither trained nor saved.
    """
    unknown = {
        name.rpartition(".")[0] or type(model).__name__
        for name, value in (*model.named_parameters(), *model.named_buffers())
        if is_lazy(value)
    }
    if unknown:
        raise RecipeError(
            f"lazy layers that a pass in training mode does not come to: {', '.join(sorted(unknown)[:5])}",
            "layers that learn their shapes from the first batch",
            "nn.Linear(in_features, out_features) and the like, with the sizes written out; or leave them out",
        )


def make_module(module: Any, hparams: Mapping[str, Any]) -> nn.Module:
    """A module built from its class or factory with `hparams`, or the very instance given.

    Raises:
        RecipeError: a hyper-parameter is missing or unknown, or what was built is no module.
    """
    check_hparams(module, hparams)
    if isinstance(module, nn.Module):
        return _that_switches(module)
    built = module(**hparams)
    if not isinstance(built, nn.Module):
        name = getattr(module, "__name__", type(module).__name__)
        raise RecipeError(
            f"{name}, which gave a {type(built).__name__}",
            "a torch.nn.Module",
            "return the module at the end of the function",
        )
    return _that_switches(built)


def _that_switches(module: nn.Module) -> nn.Module:
    """The module, if it can be brought to training and evaluation; the programs of `torch.export` can't.

    Raises:
        RecipeError: it can't.
    """
    try:
        if isinstance(module, torch.fx.GraphModule):
            module.train(module.training)
    except NotImplementedError as error:
        raise RecipeError(
            f"an exported program, which cannot be trained: {error}",
            "a module that can be switched between training and evaluation",
            "the module from which torch.export.export() made it",
        ) from error
    return module


def check_hparams(module: Any, hparams: Mapping[str, Any]) -> None:
    """See that a module's class or factory can be called with `hparams`.

    Raises:
        RecipeError: a hyper-parameter is missing or unknown, or the module is built already.
    """
    name = getattr(module, "__name__", type(module).__name__)
    if isinstance(module, nn.Module):
        if hparams:
            raise RecipeError(
                f"set_hparams({', '.join(hparams)}) for a {name} that is built already",
                "hyper-parameters for a class that fit() builds",
                f"setup({name}, ...) with the class, not setup({name}(...), ...)",
            )
        return
    parameters = inspect.signature(module).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [p.name for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes = f"the hyper-parameters of {name}: {', '.join(known) or 'it takes none'}"
    for given in hparams:
        if given not in known and not takes_any:
            raise RecipeError(
                f"set_hparams({given}=...)",
                takes,
                f"{did_you_mean(given, known)}Correct or remove it",
            )
    missing = [key for key in known if parameters[key].default is inspect.Parameter.empty and key not in hparams]
    if missing:
        raise RecipeError(
            f"{name} without the hyper-parameters {', '.join(missing)}",
            takes,
            f".set_hparams({', '.join(f'{key}=...' for key in missing)})",
        )


def make_optimizers(
    recipe: Spec, model: nn.Module, loss: LossFunction | None, device: torch.device
) -> dict[str, optim.Optimizer]:
    """The recipe's optimizer over the parameters of module and loss, or those that the module configures, by name.

    Raises:
        RecipeError: there is none, or it cannot be made with the options given.
    """
    sparse = bool(sparse_tables(model))
    of_loss = trained_by_loss(loss_module(loss, model), model)
    if recipe.optimizer is not None:
        named = {**dict(model.named_parameters()), **of_loss}
        if len(named) < len(dict(model.named_parameters())) + len(of_loss):
            raise RecipeError(
                f'a {type(model).__name__} with parameters under the name "loss", and a loss with parameters',
                "one of both under that name, so that groups can name them",
                "rename the module's part, or make the loss a part of the module: def loss(self, pred, target)",
            )
        made = build_optimizer(recipe.optimizer, named.items(), recipe.opt_hparams, device, sparse=sparse)
        return {"optimizer": made}
    if not own_method(model, "configure_optimizers"):
        raise no_optimizer(type(model).__name__)
    if of_loss:
        raise RecipeError(
            f"a loss with parameters ({', '.join(of_loss)}) beside {type(model).__name__}.configure_optimizers()",
            "an optimizer that trains them",
            "setup(..., optimizer=...), which trains module and loss; or make the loss a part of the module",
        )
    made = _configured(model, recipe.opt_hparams)
    for one in made.values():
        fuse(one, device, sparse=sparse)
    return made


def _configured(model: nn.Module, opt_hparams: Mapping[str, Any]) -> dict[str, optim.Optimizer]:
    """The optimizers that a module configures, by name.

    Raises:
        RecipeError: it configures something else, or does not take an option.
    """
    configured: Any = model
    kind = type(model).__name__
    parameters = inspect.signature(configured.configure_optimizers).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        for option in opt_hparams:
            if option not in parameters:
                raise RecipeError(
                    f"set_opt_hparams({option}=...) for {kind}.configure_optimizers",
                    f"options that it takes: {', '.join(parameters) or 'none'}",
                    f"{did_you_mean(option, parameters)}Leave it out, or add it to configure_optimizers(self, ...)",
                )
    built = configured.configure_optimizers(**opt_hparams)
    by_name: dict[Any, Any] = built if isinstance(built, dict) else {"optimizer": built}
    for name, optimizer in by_name.items():
        if not isinstance(optimizer, optim.Optimizer) or not isinstance(name, str):
            raise RecipeError(
                f"{kind}.configure_optimizers(), which gave a {type(optimizer).__name__} as {name!r}",
                "a torch.optim.Optimizer, or a dict of them by name",
                "return torch.optim.Adam(self.parameters(), lr=...); schedules stand among the callbacks of fit(): "
                "lumbre.callbacks.LRScheduler(StepLR, optimizer=name, step_size=1)",
            )
    if not by_name:
        raise no_optimizer(kind)
    return by_name


def loss_function(recipe: Spec, model: nn.Module, device: torch.device) -> LossFunction | None:
    """A copy of the recipe's loss on the device, else the module's `loss`, or its `loss_<name>`s, or None."""
    if recipe.loss is not None:
        return own_loss(recipe.loss, recipe.module, device)
    if own_method(model, "loss"):
        return model.loss  # pyright: ignore[reportReturnType]
    names = _loss_methods(class_of(model))
    return NamedLosses({name.removeprefix("loss_"): getattr(model, name) for name in names}) if names else None


def has_loss(module: object) -> bool:
    """Whether a module or its class brings a loss, or a step that needs none."""
    return any(own_method(module, name) for name in ("loss", "step")) or bool(_loss_methods(class_of(module)))


def _loss_methods(kind: type) -> list[str]:
    return [name for name in dir(kind) if name.startswith("loss_") and callable(getattr(kind, name))]


def no_loss(name: str) -> RecipeError:
    """The error for a recipe without a loss."""
    return RecipeError(
        f"no loss for {name}",
        "a loss function, or a module that defines loss(self, pred, target), or step(self, ctx)",
        "setup(..., loss=nn.CrossEntropyLoss()) for classes, nn.MSELoss() for measurements; "
        'loss=lambda pred, target: pred["loss"] for a module that computes its own, as those of transformers do',
    )


def _check_names(kind: str, losses: list[str], optimizers: list[str]) -> None:
    """See that each optimizer has its loss.

    Raises:
        RecipeError: one has none. Where all are without, what begins with "loss_" is no loss but a helper.
    """
    methods = ", ".join(f"loss_{name}" for name in losses)
    if not set(losses) & set(optimizers):
        raise RecipeError(
            f"no loss for {kind}: {methods} would be for optimizers called {', '.join(losses)}, and there "
            f"is only {', '.join(optimizers)}",
            "a loss function, or a module that defines loss(self, pred, target), or step(self, ctx)",
            f"setup(..., loss=...), or loss(self, pred, target) in the module; {methods} may stay beside it",
        )
    if set(losses) != set(optimizers):
        raise RecipeError(
            f"the losses {methods} and the optimizers {', '.join(optimizers)}",
            "a loss for each optimizer, by the same names, or one loss for all",
            f"define {', '.join(f'loss_{name}(self, pred, target)' for name in optimizers)}; "
            "or loss(self, pred, target)",
        )


def no_optimizer(name: str) -> RecipeError:
    """The error for a recipe without an optimizer."""
    return RecipeError(
        f"no optimizer for {name}",
        "an optimizer class, or a module that defines configure_optimizers(self, **opt_hparams)",
        "setup(..., optimizer=torch.optim.AdamW)",
    )


def _check_loss(model: nn.Module, loss: LossFunction | None, first: Batch) -> None:
    if loss is None and not own_method(model, "step"):
        raise no_loss(type(model).__name__)
    if first.target is None and isinstance(loss, nn.modules.loss._Loss):  # pyright: ignore[reportPrivateUsage]
        raise DataError(
            f"data without a target for {type(loss).__name__}",
            "pairs of input and target",
            loss_hint(first.input, None, None)
            or "(x, y); or define loss(self, pred, target) in the module, if it needs no target",
        )
