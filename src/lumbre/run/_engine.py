"""Chooses the engine that executes the steps, and reads the options of a step from the callbacks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn, optim

from lumbre.base import (
    Batch,
    Divisor,
    Engine,
    Meter,
    Nested,
    OptionError,
    RecipeError,
    mkl_is_slow,
    needs_closure,
    needs_graph,
    one_of,
    own_method,
    reduction_of,
    traits,
)
from lumbre.callbacks import EMA, Accumulate, GradientClip, Progress, Remarks, TimeLimit
from lumbre.core import INSIDE, Callback
from lumbre.graphs import Compiled, obstacle
from lumbre.processes import Sharded, Together
from lumbre.run._loss import trained_by_loss
from lumbre.run._net import LossFunction, NamedLosses, Net
from lumbre.run._session import Session
from lumbre.run._setting import Setting
from lumbre.steps import (
    Body,
    Clip,
    Clips,
    Eager,
    EagerClosure,
    EagerCustom,
    EagerSeveral,
    Inside,
    bfloat16_gain,
    forward_flops,
    parameters_of,
    sparse_tables,
)

_C = TypeVar("_C", bound=Callback)

_HARMLESS = (Progress, EMA, Remarks, TimeLimit)
_ASKED = ("compiled", "cuda_graph")
# Steps after which a compiled run has repaid its compilation, by floating-point operations of a forward pass.
_TINY_FLOPS, _TINY_STEPS = 5e6, 50_000
_SMALL_FLOPS, _SMALL_STEPS = 50e6, 25_000
_DENSE_FLOPS = 200e6  # as small nets, where nothing is convolved and products gain
_ATTENTION_FLOPS, _ATTENTION_STEPS = 1e9, 10_000
_STEPS_WORTH_A_TRIAL = 1_000  # a trial takes the time of about six
_FLOPS_WORTH_A_TRIAL = 3e8  # below that, calling torch takes longer than computing
_GAIN_WORTH_SAYING = 1.3


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How steps are to be executed, and what callbacks ask of the step itself, so that every engine does it.

    Attributes:
        engine: "auto", "eager", "compiled" or "cuda_graph".
        steps: how many steps the run will take at most; None when only the end will tell.
        clips: bound the gradients of the optimizer of that name; of all together for None.
        accumulate: batches whose gradients make one update.
        inside: a callback that listens to an event inside the step, and the event; or None.
        watched: whether callbacks hear batches, and may change the model between steps.
        processes: how many share the run.
        batches: in an epoch; None when only the end will tell.
    """

    engine: str
    steps: int | None
    clips: Mapping[str | None, Clip]
    accumulate: int
    inside: str | None
    watched: bool
    processes: int
    batches: int | None


def step_options(
    callbacks: Sequence[Callback], engine: str, epochs: int, batches: int | None, processes: int
) -> StepOptions:
    """Read the options of the step from the callbacks that stand for them."""
    clips, accumulate = [one for one in callbacks if isinstance(one, GradientClip)], _only(callbacks, Accumulate)
    if len(clips) > 1 and len({one.optimizer for one in clips} - {None}) < len(clips):
        _only(clips, GradientClip)
    inside = [
        f"{type(one).__name__}.on_{event}" for one in callbacks for event in INSIDE if hasattr(one, f"on_{event}")
    ]
    return StepOptions(
        engine=engine,
        steps=None if batches is None else batches * epochs,
        clips={one.optimizer: Clip(one.max_norm, one.norm_type, one.max_value) for one in clips},
        accumulate=1 if accumulate is None else accumulate.batches,
        inside=inside[0] if inside else None,
        watched=any(
            hasattr(one, f"on_train_batch_{when}")
            for one in callbacks
            if not isinstance(one, _HARMLESS)
            for when in ("begin", "end")
        ),
        processes=processes,
        batches=batches,
    )


def make_engine(
    session: Session,
    net: Net,
    options: StepOptions,
    seed_step: Callable[[str, int, int], None],
    *,
    first: Batch,
    meter: Meter,
    divisor: Divisor | None,
    step: Callable[[], object],
    inside: Inside | None,
) -> tuple[Engine, Callable[[Tensor, optim.Optimizer], None]]:
    """The engine for this module and its optimizers, and what `ctx.minimize` does in it.

    Args:
        session: device, precision and processes.
        net: module, loss and optimizers.
        options: of the step.
        seed_step: seeds the generators for (stream name, epoch, batch).
        first: the first batch.
        meter: of the training pass.
        divisor: what the loss divides by, where that is not the number of rows.
        step: calls the module's own `step(ctx)`.
        inside: told of inside events, or None.

    Raises:
        RecipeError: losses and optimizers do not belong together.
        OptionError: an option cannot apply to this form of step.
    """
    model, call, loss, optimizers = net.model, net.call, net.step_loss, net.optimizers
    _check_sparse(model, optimizers, options)
    body, device = _body(session, call, optimizers, options, divisor, inside), session.device
    closures = [type(optimizer).__name__ for optimizer in optimizers.values() if needs_closure(optimizer)]
    if own_method(model, "step"):
        _refuse_more(options, f"{type(model).__name__}.step, which makes its own updates")
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
        return _closure_engine(closures[0], body, loss, optimizers, options, device, seed_step), _no_minimize
    if isinstance(loss, NamedLosses):
        return _several_engine(body, loss, optimizers, options, device), _no_minimize
    eager = Eager(
        body=body,
        loss_function=loss,
        optimizers=optimizers,
        device=device,
        accumulate=options.accumulate,
        batches=options.batches if options.processes > 1 else None,
        summed=reduction_of(net.loss) == "sum",
    )
    if options.processes > 1:
        how = "each holding a part of the model (FSDP)" if session.sharded is not None else "each with a copy (DDP)"
        eager.reason += f", in {options.processes} processes, {how}"
    why = _why_compile(options, session, call, first)
    if why is None:
        return eager, _no_minimize
    hindrance = _hindrance(options, body, net, device)
    if hindrance is not None:
        if options.engine in _ASKED:
            raise OptionError(
                f'engine="{options.engine}" where {hindrance}', "a run whose step can be one graph", 'engine="auto"'
            )
        eager.reason += f"; not compiled: {hindrance}"
        return eager, _no_minimize
    loss_module = net.loss_module
    return Compiled(
        eager=eager,
        model=model if loss_module is None else nn.ModuleList([model, loss_module]),  # a step changes both
        body=body,
        loss_function=loss,
        optimizers=tuple(optimizers.values()),
        device=device,
        meter=meter,
        watched=options.watched,
        dtype=session.precision.dtype,
        why=why,
        replay=options.engine == "cuda_graph",
    ), _no_minimize


def _check_sparse(model: nn.Module, optimizers: Mapping[str, optim.Optimizer], options: StepOptions) -> None:
    """See that SparseAdam, which takes nothing but sparse gradients, gets nothing else.

    Raises:
        RecipeError: it has other parameters.
        OptionError: gradients are to be clipped.
    """
    sparse = set(map(id, sparse_tables(model).values()))
    for optimizer in optimizers.values():
        if not isinstance(optimizer, optim.SparseAdam):
            continue
        if options.clips:
            raise OptionError(
                "GradientClip beside SparseAdam, which takes sparse gradients alone",
                "dense gradients, whose norm can be taken",
                "optimizer=torch.optim.Adam, for which gradients are made dense; or leave GradientClip out",
            )
        named = model.named_parameters()
        mine = set(map(id, parameters_of(optimizer)))
        dense = [name for name, one in named if id(one) in mine and id(one) not in sparse]
        if dense:
            raise RecipeError(
                f"SparseAdam for {', '.join(dense[:3])}, whose gradients are dense",
                "tables of embeddings with sparse=True alone",
                "optimizer=torch.optim.Adam, for which sparse gradients are made dense; or configure_optimizers() of "
                'the module: {"tables": SparseAdam([self.table.weight]), "rest": Adam(...)}',
            )


def _body(
    session: Session,
    call: Callable[[Nested], Nested],
    optimizers: Mapping[str, optim.Optimizer],
    options: StepOptions,
    divisor: Divisor | None,
    inside: Inside | None,
) -> Body:
    shared = call if isinstance(call, (Together, Sharded)) else None
    return Body(
        call=call,
        autocast=session.precision.autocast,
        scaler=session.precision.scaler(),
        clip=_clip(options.clips, optimizers),
        inside=inside,
        processes=session.world.size,
        unsynced=nullcontext if shared is None else shared.unsynced,
        agree=None if shared is None else shared.agree,
        exchange=shared.exchange if isinstance(shared, Together) else None,
        sparse=bool(sparse_tables(session.model)),
        curved=any(map(needs_graph, optimizers.values())),
        divisor=divisor,
        total=session.world.total,
    )


def _clip(clips: Mapping[str | None, Clip], optimizers: Mapping[str, optim.Optimizer]) -> Clip | Clips | None:
    """One bound on all gradients, or one for each of the optimizers that are named.

    Raises:
        OptionError: there is no optimizer of that name.
    """
    parts: list[tuple[Clip, frozenset[int]]] = []
    for name, clip in clips.items():
        if name is None:
            return clip
        one_of("optimizer", name, optimizers)
        parts.append((clip, frozenset(id(one) for group in optimizers[name].param_groups for one in group["params"])))
    return Clips(tuple(parts)) if parts else None


def _closure_engine(
    name: str,
    body: Body,
    loss: LossFunction,
    optimizers: Mapping[str, optim.Optimizer],
    options: StepOptions,
    device: torch.device,
    seed_step: Callable[[str, int, int], None],
) -> Engine:
    _refuse_more(options, f"{name}, which evaluates the loss itself")
    if len(optimizers) > 1 or body.scaler is not None or isinstance(loss, NamedLosses):
        raise RecipeError(
            f"{name}, which evaluates the loss itself, beside other optimizers or under float16",
            "it alone, in float32 or bfloat16",
            "one optimizer over all parameters; or a step(self, ctx) of the module",
        )
    optimizer = next(iter(optimizers.values()))
    return EagerClosure(body=body, loss_function=loss, optimizer=optimizer, device=device, seed_step=seed_step)


def _several_engine(
    body: Body,
    loss: NamedLosses,
    optimizers: Mapping[str, optim.Optimizer],
    options: StepOptions,
    device: torch.device,
) -> Engine:
    _refuse_more(options, "several losses, each of which makes its own update")
    return EagerSeveral(body=body, loss_functions=loss, optimizers=optimizers, device=device)


def _why_compile(options: StepOptions, session: Session, call: Callable[[Nested], Nested], first: Batch) -> str | None:
    """Why the step should be compiled, or None.

    "auto" decides by counts and never by the clock, so that the same run chooses alike every time: compiling takes 7 to
    100 seconds the first time. It saves the cost of calling torch some hundred times a step, which shows on small nets,
    and of going through memory once for each operation; of large convolutions nothing that can be foretold. Measured on
    one core, nets below 5 MFLOP repay it after 40,000 to 75,000 steps, larger ones after 12,000 to 50,000, transformers
    after 6,000 to 15,000 (benchmarks/choice.py).
    """
    steps = options.steps
    if options.engine != "auto":
        return "as was asked" if options.engine in _ASKED else None
    if steps is None or steps < min(_TINY_STEPS, _SMALL_STEPS, _ATTENTION_STEPS):
        return None
    if session.device.type != "cpu" or session.sharded is not None:
        return None
    counts = forward_flops(session.model, lambda: call(first.input))
    flops = sum(counts.values())
    fewest = _fewest_steps(counts, flops)
    if fewest is None or steps < fewest:
        return None
    return f"{steps:,} steps of a net of {flops / 1e6:.3g} MFLOP forward repay the compilation"


def _fewest_steps(counts: Mapping[str, int], flops: int) -> int | None:
    """From how many steps on a net is compiled, or None where that is not known to gain."""
    convolved = any("convolution" in name for name in counts)
    if flops <= _TINY_FLOPS:
        return _TINY_STEPS
    if not convolved and flops <= _ATTENTION_FLOPS and any("bmm" in name or "attention" in name for name in counts):
        return _ATTENTION_STEPS
    if flops <= _SMALL_FLOPS or (not convolved and flops <= _DENSE_FLOPS and mkl_is_slow()):
        return _SMALL_STEPS
    return None


def precision_advice(
    model: nn.Module, setting: Setting, forward: Callable[[], tuple[Nested, Tensor]], steps: int
) -> list[str]:
    """What bfloat16 would gain, measured on a batch, if it is much and the run is long enough to measure it."""
    device = setting.device
    if setting.precision.name != "float32" or device.type not in ("cpu", "cuda") or steps < _STEPS_WORTH_A_TRIAL:
        return []
    if sum(forward_flops(model, forward).values()) < _FLOPS_WORTH_A_TRIAL:
        return []
    gain = bfloat16_gain(model, forward, device)
    if gain < _GAIN_WORTH_SAYING:
        return []
    return [f'fit(..., precision="bfloat16") would be {gain:.1f} times as fast here, as measured on a batch.']


def _hindrance(options: StepOptions, body: Body, net: Net, device: torch.device) -> str | None:
    """Why the step cannot be one graph, or None."""
    optimizers = net.optimizers
    if trained_by_loss(net.loss_module, net.model):
        return "the loss has parameters of its own"
    if options.inside is not None:
        return f"{options.inside} listens inside the step"
    if options.processes > 1:
        return f"{options.processes} processes share the run"
    if body.scaler is not None:
        return "float16 scales the loss"
    if isinstance(body.clip, Clips):
        return "gradients are clipped by the optimizer's name"
    if body.sparse:
        return "some gradients are sparse"
    for optimizer in optimizers.values():
        if not traits(optimizer).traced:
            return f"{type(optimizer).__name__} is not among the optimizers that are known to trace"
        if any(isinstance(group.get("lr"), Tensor) for group in optimizer.param_groups):
            return "the learning rate is a tensor"
    if options.engine == "cuda_graph":
        return _recording_hindrance(options, optimizers, device)
    return obstacle(device)


def _recording_hindrance(
    options: StepOptions, optimizers: Mapping[str, optim.Optimizer], device: torch.device
) -> str | None:
    if device.type != "cuda":
        return f"the device is {device}"
    for optimizer in optimizers.values():
        if options.accumulate == 1 and not all(group.get("fused") for group in optimizer.param_groups):
            return f"{type(optimizer).__name__} is not fused, and would keep the learning rate of the recorded step"
    return None


def _only(callbacks: Sequence[Callback], kind: type[_C]) -> _C | None:
    found = [callback for callback in callbacks if isinstance(callback, kind)]
    if len(found) > 1:
        raise OptionError(f"{len(found)} callbacks {kind.__name__}", "one", "leave out all but one")
    return found[0] if found else None


def _refuse_more(options: StepOptions, what: str) -> None:
    if options.processes > 1:
        raise OptionError(
            f"{options.processes} processes for {what}",
            "one process, or a module with one loss whose gradients processes can exchange",
            "start the script without torchrun",
        )
    if options.accumulate > 1:
        raise OptionError(
            f"Accumulate({options.accumulate}) beside {what}",
            "one loss and one update for each group of batches",
            "leave Accumulate out",
        )
    if options.engine in _ASKED:
        raise OptionError(f'engine="{options.engine}" for {what}', "a run whose step can be one graph", 'engine="auto"')


def _no_minimize(loss: Tensor, optimizer: optim.Optimizer) -> None:
    raise RecipeError(
        "ctx.minimize(...) outside a module's own step(ctx)",
        "a module that defines step(self, ctx)",
        "leave the update to fit(), or define step in the module",
    )
