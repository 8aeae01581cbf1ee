"""The composition root: a recipe, data and options become a `Plan` that the loop can run."""

import inspect
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim
from torch.nn.parameter import is_lazy

from lumbre._feeds import TrainingData, feed, training_data
from lumbre._options import Options
from lumbre._session import Session
from lumbre.base import DataError, Loss, Nested, RecipeError, did_you_mean
from lumbre.core import Context, Listeners, Plan
from lumbre.data import LoaderFeed, RowFeed
from lumbre.devices import Precision, resolve_device, seeder
from lumbre.metrics import LossMeter, Metric
from lumbre.preflight import Findings, Subject, run_checks
from lumbre.steps import Eager, build_optimizer, caller

if TYPE_CHECKING:
    from lumbre._recipe import Recipe


def build(recipe: "Recipe", data: Any, options: Options) -> tuple[Plan, Session, Findings]:
    """Make a run ready, and look for mistakes in it."""
    seed = secrets.randbits(32) if options.seed is None else options.seed
    device = resolve_device(options.device)
    precision = Precision(options.precision, device)
    given = training_data(data, options.valid_data, seed)
    train, valid = _feeds(given, options, device, seed)
    first = train.first()
    seed_step = seeder(seed, device)
    seed_step("init", 0, 0)
    model = make_module(recipe.module, recipe.hparams).to(device)
    call = caller(model, first.input)
    if any(is_lazy(parameter) for parameter in model.parameters()):
        with torch.no_grad():
            call(first.input)
    loss = loss_function(recipe, model, device)
    if loss is None:
        raise no_loss(type(model).__name__)
    if first.target is None and isinstance(loss, nn.modules.loss._Loss):  # pyright: ignore[reportPrivateUsage]
        raise DataError(
            f"data without a target for {type(loss).__name__}",
            "pairs of input and target",
            "(x, y); or define loss(self, pred, target) in the module, if it needs no target",
        )
    optimizer = make_optimizer(recipe, model, device)
    session = Session(
        recipe=recipe,
        model=model,
        loss=loss,
        device=device,
        precision=precision,
        seed=seed,
        batch_size=train.order.batch_size if isinstance(train, RowFeed) else first.size,
        encoding=given.encoding,
        classes=given.classes,
    )
    findings = Findings([])
    if options.preflight:
        fewest = train.order.fewest_rows if isinstance(train, RowFeed) else None
        findings = run_checks(Subject(model, call, loss, first, given.columns, fewest))
    plan = _plan(session, call, optimizer, train, valid, options, seed_step)
    return plan, session, findings


def _feeds(
    given: TrainingData, options: Options, device: torch.device, seed: int
) -> tuple[RowFeed | LoaderFeed, RowFeed | LoaderFeed | None]:
    """Training and validation batches. A ready validation loader is left as it is."""
    rows = not hasattr(given.train, "loader")
    shuffle = True if rows and options.shuffle is None else options.shuffle
    common: dict[str, Any] = {"batch_size": options.batch_size, "num_workers": options.num_workers}
    train = feed(given.train, device, seed, shuffle=shuffle, drop_last=options.drop_last, **common)
    if given.valid is None:
        return train, None
    ready = hasattr(given.valid, "loader")
    return train, feed(given.valid, device, seed, **({} if ready else common))


def _plan(
    session: Session,
    call: Callable[[Nested], Nested],
    optimizer: optim.Optimizer,
    train: RowFeed | LoaderFeed,
    valid: RowFeed | LoaderFeed | None,
    options: Options,
    seed_step: Callable[[str, int, int], None],
) -> Plan:
    listeners = Listeners(options.callback_list)
    gathered = {} if valid is None else {"valid": session.recipe.metrics.valid}
    gathered["train"] = session.recipe.metrics.train
    context = Context(
        model=session.model,
        optimizer=optimizer,
        device=session.device,
        epochs=options.epoch_range,
        batches_per_epoch=train.length,
        monitored=tuple(
            f"{set_name}_{name}"
            for set_name, metrics in gathered.items()
            for name in ("loss", *(metric.name.lower() for metric in metrics if not metric.by_class))
        ),
        save=lambda path: session.save(path, context.history, engine.reason),
    )
    assert session.loss is not None
    engine = Eager(
        call=call,
        loss_function=session.loss,
        optimizer=optimizer,
        device=session.device,
        autocast=session.precision.autocast,
        scaler=session.precision.scaler(),
        inside=_inside(listeners, context) if listeners.inside else None,
    )
    return Plan(
        model=session.model,
        engine=engine,
        train=train,
        valid=valid,
        train_meter=make_meter(session, session.recipe.metrics.train),
        valid_meter=make_meter(session, session.recipe.metrics.valid),
        epochs=options.epoch_range,
        context=context,
        listeners=listeners,
        seed_step=seed_step,
    )


def _inside(listeners: Listeners, context: Context) -> Callable[[str, Nested, Tensor | None], None]:
    def inside(event: str, pred: Nested, loss: Tensor | None, /) -> None:
        context.pred, context.loss = pred, loss
        listeners.fire(event, context)

    return inside


def make_meter(session: Session, metrics: tuple[Metric, ...]) -> LossMeter:
    """The meter of one pass."""
    summed = getattr(session.loss, "reduction", "mean") == "sum"
    return LossMeter(metrics, session.device, summed=summed, classes=session.classes)


def make_module(module: Any, hparams: Mapping[str, Any]) -> nn.Module:
    """A module built from its class or factory with `hparams`, or the very instance given.

    Raises:
        RecipeError: a hyper-parameter is missing or unknown, or what was built is no module.
    """
    name = getattr(module, "__name__", type(module).__name__)
    if isinstance(module, nn.Module):
        if hparams:
            raise RecipeError(
                f"set_hparams({', '.join(hparams)}) for a {name} that is built already",
                "hyper-parameters for a class that fit() builds",
                f"setup({name}, ...) with the class, not setup({name}(...), ...)",
            )
        return module
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
    built = module(**hparams)
    if not isinstance(built, nn.Module):
        raise RecipeError(
            f"{name}, which gave a {type(built).__name__}",
            "a torch.nn.Module",
            "return the module at the end of the function",
        )
    return built


def make_optimizer(recipe: "Recipe", model: nn.Module, device: torch.device) -> optim.Optimizer:
    """The recipe's optimizer over the module's parameters, or the one that the module configures.

    Raises:
        RecipeError: there is none, or it cannot be made with the options given.
    """
    configure = getattr(model, "configure_optimizers", None)
    if recipe.optimizer is not None:
        return build_optimizer(recipe.optimizer, model.named_parameters(), recipe.opt_hparams, device)
    if configure is None:
        raise no_optimizer(type(model).__name__)
    built = configure(**recipe.opt_hparams)
    if not isinstance(built, optim.Optimizer):
        raise RecipeError(
            f"{type(model).__name__}.configure_optimizers(), which gave a {type(built).__name__}",
            "one torch.optim.Optimizer",
            "return torch.optim.Adam(self.parameters(), lr=...)",
        )
    return built


def loss_function(recipe: "Recipe", model: nn.Module, device: torch.device) -> Loss | None:
    """The recipe's loss, brought to the device, else the module's own `loss` method, else None."""
    if recipe.loss is None:
        return getattr(model, "loss", None)
    return recipe.loss.to(device) if isinstance(recipe.loss, nn.Module) else recipe.loss


def no_loss(name: str) -> RecipeError:
    """The error for a recipe without a loss."""
    return RecipeError(
        f"no loss for {name}",
        "a loss function, or a module that defines loss(self, pred, target)",
        "setup(..., loss=nn.CrossEntropyLoss()) for classes, nn.MSELoss() for measurements",
    )


def no_optimizer(name: str) -> RecipeError:
    """The error for a recipe without an optimizer."""
    return RecipeError(
        f"no optimizer for {name}",
        "an optimizer class, or a module that defines configure_optimizers(self, **opt_hparams)",
        "setup(..., optimizer=torch.optim.AdamW)",
    )
