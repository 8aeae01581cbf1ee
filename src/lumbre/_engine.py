"""The choice of the engine: which form of step a module and its optimizers ask for, and with which options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor, optim

from lumbre._parts import NamedLosses
from lumbre._session import Session
from lumbre.base import Engine, Nested, OptionError, RecipeError
from lumbre.callbacks import Accumulate, GradientClip
from lumbre.core import Callback
from lumbre.steps import Body, Clip, Eager, EagerClosure, EagerCustom, EagerSeveral, Inside, needs_closure

_C = TypeVar("_C", bound=Callback)


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What callbacks ask of the step itself, so that every engine does it.

    Attributes:
        clip: bounds the gradients, or None.
        accumulate: batches whose gradients make one update.
    """

    clip: Clip | None
    accumulate: int


def step_options(callbacks: Sequence[Callback]) -> StepOptions:
    """Read the options of the step from the callbacks that stand for them."""
    clip, accumulate = _only(callbacks, GradientClip), _only(callbacks, Accumulate)
    return StepOptions(
        clip=None if clip is None else Clip(clip.max_norm, clip.norm_type, clip.max_value),
        accumulate=1 if accumulate is None else accumulate.batches,
    )


def make_engine(
    session: Session,
    call: Callable[[Nested], Nested],
    optimizers: Mapping[str, optim.Optimizer],
    options: StepOptions,
    seed_step: Callable[[str, int, int], None],
    *,
    step: Callable[[], object],
    inside: Inside | None,
) -> tuple[Engine, Callable[[Tensor, optim.Optimizer], None]]:
    """The engine for this module and its optimizers, and what `ctx.minimize` does in it.

    Args:
        session: model, loss, device and precision.
        call: the module, made ready for the form of its input.
        optimizers: by name.
        options: of the step.
        seed_step: seeds the generators for (stream name, epoch, batch).
        step: calls the module's own `step(ctx)`.
        inside: told of inside events, or None.

    Raises:
        RecipeError: losses and optimizers do not belong together.
        OptionError: an option cannot apply to this form of step.
    """
    body = Body(
        call=call,
        autocast=session.precision.autocast,
        scaler=session.precision.scaler(),
        clip=options.clip,
        inside=inside,
    )
    model, loss, device = session.model, session.loss, session.device
    closures = [type(optimizer).__name__ for optimizer in optimizers.values() if needs_closure(optimizer)]
    if hasattr(model, "step"):
        _refuse_accumulation(options, f"{type(model).__name__}.step, which makes its own updates")
        custom = EagerCustom(
            model=model,
            step=step,
            body=body,
            loss_function=None if isinstance(loss, NamedLosses) else loss,
            optimizers=tuple(optimizers.values()),
            device=device,
        )
        return custom, custom.minimize
    assert loss is not None
    if closures:
        _refuse_accumulation(options, f"{closures[0]}, which evaluates the loss itself")
        if len(optimizers) > 1 or body.scaler is not None or isinstance(loss, NamedLosses):
            raise RecipeError(
                f"{closures[0]}, which evaluates the loss itself, beside other optimizers or under float16",
                "it alone, in float32 or bfloat16",
                "one optimizer over all parameters; or a step(self, ctx) of the module",
            )
        optimizer = next(iter(optimizers.values()))
        return EagerClosure(
            body=body, loss_function=loss, optimizer=optimizer, device=device, seed_step=seed_step
        ), _no_minimize
    if isinstance(loss, NamedLosses):
        if set(loss.parts) != set(optimizers):
            raise RecipeError(
                f"the losses {', '.join(f'loss_{name}' for name in loss.parts)} and the optimizers "
                f"{', '.join(optimizers)}",
                "a loss for each optimizer, by the same names, or one loss for all",
                f"define {', '.join(f'loss_{name}(self, pred, target)' for name in optimizers)}; "
                "or loss(self, pred, target)",
            )
        _refuse_accumulation(options, "several losses, each of which makes its own update")
        several = EagerSeveral(body=body, loss_functions=loss.parts, optimizers=optimizers, device=device)
        return several, _no_minimize
    return Eager(
        body=body,
        loss_function=loss,
        optimizers=optimizers,
        device=device,
        accumulate=options.accumulate,
        summed=getattr(loss, "reduction", "mean") == "sum",
    ), _no_minimize


def _only(callbacks: Sequence[Callback], kind: type[_C]) -> _C | None:
    found = [callback for callback in callbacks if isinstance(callback, kind)]
    if len(found) > 1:
        raise OptionError(f"{len(found)} callbacks {kind.__name__}", "one", "leave out all but one")
    return found[0] if found else None


def _refuse_accumulation(options: StepOptions, what: str) -> None:
    if options.accumulate > 1:
        raise OptionError(
            f"Accumulate({options.accumulate}) beside {what}",
            "one loss and one update for each group of batches",
            "leave Accumulate out",
        )


def _no_minimize(loss: Tensor, optimizer: optim.Optimizer) -> None:
    raise RecipeError(
        "ctx.minimize(...) outside a module's own step(ctx)",
        "a module that defines step(self, ctx)",
        "leave the update to fit(), or define step in the module",
    )
