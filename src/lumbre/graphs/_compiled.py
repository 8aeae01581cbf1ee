"""The engines of one graph, compiled or recorded: all steps but the first and those of short batches run by it."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Loss, Losses, Meter, Nested, Noted, detached, leaves
from lumbre.graphs._capture import CHANGES, Captured, plain_attributes, shapes_of, state_tensors
from lumbre.graphs._compile import CaptureError
from lumbre.graphs._proof import MOST_ROUNDING, ROUNDINGS, TOLERANCE, UPDATE_TOLERANCE, distance, nudge
from lumbre.graphs._refused import print_of_step, refusal, remember
from lumbre.graphs._small_products import products_left_out
from lumbre.steps._body import Body, clear
from lumbre.steps._eager import Eager

_WARM_UP_STEPS = 2
_TRIES = 10
_Chance: TypeAlias = tuple[Any, ...]


class Compiled:
    """Runs the training step as one graph, as long as that gives what eager execution gives.

    Before the first step of the graph counts, its loss and gradients are compared with those of the eager step on the
    same batch and the same random numbers. Rounding may tip a maximum in pooling or a ReLU, and send a gradient another
    way: where gradients lie apart, and much farther than eager ones move when each weight moves by its last digit, the
    next batches decide. A graph that differs, cannot be made, or is overtaken by a change of the model is left, and the
    run goes on eagerly; `reason` says why. What can be known from the eager step is asked before anything is compiled,
    one that differs is compiled once, and the same run again finds the refusal on disk.

    Args:
        eager: does what the graph does not: short batches, and the updates where gradients are accumulated.
        model: the module, and a loss with state of its own: all that a step may change.
        body: the parts of the step.
        loss_function: gives a scalar for prediction and target.
        optimizers: by name.
        device: where the parameters are.
        meter: of the training pass, which the graph updates, too, where its metrics keep sums.
        watched: whether callbacks hear batches, and may so change the model between steps.
        dtype: to which forward passes round; float32 where they compute as the weights are.
        why: why the run is compiled.
        replay: record a CUDA graph of torch's own kernels instead of compiling others.
    """

    def __init__(
        self,
        *,
        eager: Eager,
        model: nn.Module,
        body: Body,
        loss_function: Loss,
        optimizers: tuple[optim.Optimizer, ...],
        device: torch.device,
        meter: Meter,
        watched: bool,
        dtype: torch.dtype,
        why: str,
        replay: bool = False,
    ) -> None:
        self._eager = eager
        self._model = model
        self._body = body
        self._loss_function = loss_function
        self._optimizers = optimizers
        self._device = device
        self._meter = meter
        self._watched = watched
        self._dtype = dtype
        self._tolerance = TOLERANCE[dtype]
        self._why = why
        self._replay = replay
        self.name = "cuda_graph" if replay else "compiled"
        self._graph: Captured | None = None
        self._proved = False
        self._difference = 0.0
        self._tries = 0
        self._made_for: str | None = None
        self._left: str | None = None
        self._key = ""
        self._steps = 0
        self.measured = False

    @property
    def updates(self) -> int:
        """Updates of the weights so far."""
        return self._eager.updates

    @property
    def skipped(self) -> int:
        """Batches whose update was skipped: none, as nothing is compiled in float16."""
        return self._eager.skipped

    @property
    def reason(self) -> str:
        """What ran, and why."""
        made = "recorded" if self._replay else "compiled"
        if self._left is not None:
            return f"{self._eager.reason}; not {made}: {self._left}"
        if not self._proved and self._tries:
            return f"{self._eager.reason}; not {made}: gradients of {self._tries} batches differed from eager ones"
        if not self._proved:
            return f"{self._eager.reason}; too few steps to be {made}"
        left_out = products_left_out() if self.name == "compiled" and self._device.type == "cpu" else None
        return (
            f"{self.name}: the whole step as one graph on {self._device}, {self._steps} steps of it, the first within "
            f"{self._difference:.0e} of the eager one; {self._why}" + (f"; {left_out}" if left_out else "")
        )

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """One step, by the graph where it fits."""
        self.measured = False
        graph = self._graph
        if graph is None:
            other = self._made_for is not None and shapes_of(batch) != self._made_for
            if self._left is not None or other or self.updates < _WARM_UP_STEPS or self._eager.held:
                return self._eager.train_step(batch, epoch, step)
            return self._first(batch, epoch, step)
        if (step == 1 or self._watched) and not graph.valid():
            self._leave("the model or its optimizer was changed while it was training")
            return self._eager.train_step(batch, epoch, step)
        if not graph.fits(batch) or (self._eager.held and not self._proved):
            return self._beside(graph, batch, epoch, step)
        if not self._proved:
            return self._first(batch, epoch, step)
        self.measured = graph.measured
        return self._count(batch, graph(batch), epoch, step)

    def _beside(self, graph: Captured, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """An eager step that leaves its gradients where the graph keeps them."""
        if self._eager.keep_gradients:
            return self._eager.train_step(batch, epoch, step)
        kept = [(parameter, parameter.grad) for parameter in self._parameters()]
        result = self._eager.train_step(batch, epoch, step)
        for parameter, gradient in kept:
            if gradient is not None and parameter.grad is not None:
                gradient.copy_(parameter.grad)
            parameter.grad = gradient
        graph.catch_up()
        return result

    def _parameters(self) -> list[nn.Parameter]:
        return [p for optimizer in self._optimizers for group in optimizer.param_groups for p in group["params"]]

    def _count(self, batch: Batch, result: tuple[Nested, Tensor], epoch: int, step: int) -> tuple[Nested, Losses]:
        pred, loss = result
        self._eager.watch(batch, pred, loss, epoch, step)
        self._steps += 1
        return pred, loss

    def _leave(self, why: str) -> None:
        self._graph, self._proved, self._left = None, False, why
        self._meter.release()

    def _first(self, batch: Batch, epoch: int, step: int) -> tuple[Nested, Losses]:
        """Make the graph, where there is none, and let it do this step if it proves equal."""
        parameters = self._parameters()
        held = self._held()
        before = [value.detach().clone() for value in held]
        chance = _chance(self._device)
        summand = 1.0 if self._eager.summed else float(batch.size)
        weight = summand if self._eager.accumulate > 1 else None
        kept = [p.grad for p in parameters]

        def start_anew() -> None:
            _restore(held, before, chance)
            if self._graph is not None:
                for parameter, gradient in zip(parameters, kept, strict=True):
                    parameter.grad = gradient
                self._graph.catch_up()
            if weight is not None:
                for optimizer in self._optimizers:
                    optimizer.zero_grad(set_to_none=False)

        made = self._graph is None
        noted = Noted((self._model, self._loss_function))  # what the module counts in by itself
        try:
            if made:
                self._recall(batch, weight, before, chance)
            loss, expected, buffers = self._eager_look(batch, weight, parameters, start_anew)
            moved = self._eager_update(parameters) if self._replay and weight is None else None
            start_anew()
            if self._graph is None:
                check = partial(self._compare, loss, buffers)
                self._graph, self._made_for = self._captured(batch, weight, start_anew, check), shapes_of(batch)
                self._eager.keep_gradients = weight is not None
                kept = [p.grad for p in parameters]
            graph = self._graph
            result = graph.first if made else graph(batch)
            self._compare(loss, buffers, result[1])
            difference = distance([p.grad for p in parameters], expected)
            near = difference <= self._tolerance
            if near:
                self._compare_update(before[: len(parameters)], moved)
            elif not self._proved:  # else it was proved before the run was interrupted
                start_anew()
                near = self._rounded(difference, batch, weight, parameters, expected)
                start_anew()
                result = graph(batch) if near else result
            if near and not self._proved:
                self._proved, self._difference = True, difference
        except CaptureError as error:
            remember(self._key, str(error), error.__cause__)
            self._leave(str(error))
            self._eager.keep_gradients = False
            _restore(held, before, chance)
            noted.put_back()
            clear(self._optimizers)
            return self._eager.train_step(batch, epoch, step)
        except BaseException:  # Ctrl-C, or no more memory: the model stays as the last whole step has left it
            _restore(held, before, chance)
            raise
        if not self._proved:
            return self._beside(graph, batch, epoch, step)
        self.measured = graph.measured
        return self._count(batch, (detached(result[0]), result[1].detach()), epoch, step)

    def _recall(self, batch: Batch, weight: float | None, before: list[Tensor], chance: _Chance) -> None:
        """Raise where an earlier run has come to this very step and has refused its graph."""
        groups = [
            {key: value for key, value in group.items() if key != "params"}
            for optimizer in self._optimizers
            for group in optimizer.param_groups
        ]
        parts = [part for part in leaves((batch.input, batch.weighted_target, batch.mixed)) if part is not None]
        facts = (
            self._replay,
            self._dtype,
            weight,
            self._body.clip,
            shapes_of(batch),
            groups,
            self._proved,
            self._tries,
        )
        tensors = [part for part in (*before, *parts, *chance) if isinstance(part, Tensor)]
        self._key = print_of_step((self._model, self._loss_function, *self._optimizers), facts, tensors)
        why = refusal(self._key)
        if why is not None:
            raise CaptureError(why)

    def _eager_look(
        self, batch: Batch, weight: float | None, parameters: list[nn.Parameter], start_anew: Callable[[], None]
    ) -> tuple[Tensor, list[Tensor | None], list[Tensor]]:
        """Loss, gradients and buffers of the eager step; or raise for a step of which no graph could be right."""
        attributes = [plain_attributes(part) for part in self._model.modules()]
        loss, expected = self._eager_gradients(batch, weight, parameters)
        buffers = [value.clone() for value in self._model.buffers()]
        if attributes != [plain_attributes(part) for part in self._model.modules()]:
            raise CaptureError(CHANGES)
        if self._graph is None:
            start_anew()
            again, _ = self._eager_gradients(batch, weight, parameters)
            if not distance([again], [loss]) <= self._tolerance and bool(loss.isfinite()):
                raise CaptureError("the step gives another loss when it is done again from the same state")
        return loss, expected, buffers

    def _eager_gradients(
        self, batch: Batch, weight: float | None, parameters: list[nn.Parameter]
    ) -> tuple[Tensor, list[Tensor | None]]:
        """Loss and gradients of the eager step."""
        pred, loss = self._body.forward(batch, self._loss_function)
        clear(self._optimizers)
        divisor = self._body.divisor
        scale = 1.0 if weight is None else weight if divisor is None else divisor(batch.weighted_target)
        self._body.backward(pred, loss if weight is None else loss * scale)
        if self._body.clip is not None and weight is None:
            self._body.clip(parameters)
        return loss.detach(), [None if p.grad is None else p.grad.clone() for p in parameters]

    def _compare(self, expected: Tensor, buffers: list[Tensor], loss: Tensor) -> None:
        """Raise for a loss or buffers other than eager ones. Rounding that tips a maximum shows in neither."""
        difference = distance([loss.detach()], [expected])
        if not difference <= self._tolerance:
            raise CaptureError(f"the loss differs from the eager one by {difference:.2g}")
        difference = distance(list(self._model.buffers()), buffers)
        if not difference <= self._tolerance:
            raise CaptureError(f"buffers differ from eager ones by {difference:.2g}")

    def _compare_update(self, old: list[Tensor], moved: list[Tensor] | None) -> None:
        if moved is not None:
            steps = [(p - o, m - o) for p, m, o in zip(self._parameters(), moved, old, strict=True)]
            difference = distance([made for made, _ in steps], [wanted for _, wanted in steps])
            if not difference <= UPDATE_TOLERANCE:
                raise CaptureError(f"the update differs from the eager one by {difference:.2g}")

    def _rounded(
        self,
        difference: float,
        batch: Batch,
        weight: float | None,
        parameters: list[nn.Parameter],
        expected: list[Tensor | None],
    ) -> bool:
        """Whether rounding explains by how much the gradients lie apart; or raise, if that cannot be or goes on."""
        differ = f"gradients differ from eager ones by {difference:.2g}"
        if not difference <= MOST_ROUNDING:
            raise CaptureError(differ)
        nudge(parameters, self._dtype)
        rounding = distance(self._eager_gradients(batch, weight, parameters)[1], expected)
        if difference <= ROUNDINGS * rounding:
            return True
        self._tries += 1
        if self._tries >= _TRIES:
            raise CaptureError(f"{differ}, rounding of weights by {rounding:.2g}, the last of {_TRIES} batches alike")
        return False

    def _captured(
        self,
        batch: Batch,
        weight: float | None,
        start_anew: Callable[[], None],
        check: Callable[[Tensor], None],
    ) -> Captured:
        """The graph, with the update of the meter in it where that can be traced and gives what the meter gives.

        `check` raises for the loss of a graph that differs: it is not compiled once more without the meter.
        """
        parts = (self._model, self._body, self._loss_function, self._optimizers, batch, weight)
        if self._meter.adder(batch.size) is not None:
            before = [value.clone() for value in self._meter.tensors()]
            try:
                graph = Captured(*parts, meter=self._meter, replay=self._replay)
            except CaptureError:
                if len(before) == 1:  # the loss alone, which any graph can add
                    raise
            else:
                check(graph.first[1])
                if self._adds_alike(graph, batch, before):
                    return graph
            self._meter.release()
            start_anew()
        return Captured(*parts, replay=self._replay)

    def _adds_alike(self, graph: Captured, batch: Batch, before: list[Tensor]) -> bool:
        """Whether the first step of `graph` has added to the meter what the meter adds by itself.

        The sums stay those of the graph, to their last bit: a run that goes on from here has a graph of its own.
        """
        add = self._meter.adder(batch.size)
        assert add is not None
        tensors = self._meter.tensors()
        found = [value.clone() for value in tensors]
        with torch.no_grad():
            _copy_all(before, tensors)
            add(graph.first[0], batch.weighted_target, graph.first[1])
            pairs = [(f, e) for f, e in zip(found, tensors, strict=True) if e.numel()]
            alike = all((f - e).abs().max() <= self._tolerance * e.abs().max().clamp_min(1) for f, e in pairs)
            _copy_all(found, tensors)
        return alike

    def _eager_update(self, parameters: list[nn.Parameter]) -> list[Tensor]:
        """Where the optimizers bring the parameters by themselves."""
        for optimizer in self._optimizers:
            optimizer.step()
        return [parameter.detach().clone() for parameter in parameters]

    def _held(self) -> list[Tensor]:
        """Everything that a step changes, the optimizers' parameters first."""
        mine = self._parameters()
        others = [p for p in self._model.parameters() if not any(p is one for one in mine)]
        kept = [*self._model.buffers(), *state_tensors(self._optimizers), *self._meter.tensors()]
        return [*mine, *others, *kept]

    def valid_step(self, batch: Batch) -> tuple[Nested, Losses]:
        """Forward and loss, without gradients."""
        return self._eager.valid_step(batch)

    def end_epoch(self) -> None:
        """Raise for a loss that the device kept to itself until now."""
        self._eager.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """For which batches the graph is made, whether it is proved, or why it was left: a run goes on alike."""
        return {
            **self._eager.state_dict(),
            "made_for": self._made_for,
            "proved": self._proved,
            "tries": self._tries,
            "difference": self._difference,
            "left": self._left,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the graph is made anew at the first batch that it is for."""
        self._eager.load_state_dict(state)
        self._made_for, self._left, self._steps = state["made_for"], state["left"], state["steps"]
        self._proved = state.get("proved", self._made_for is not None)
        self._tries, self._difference = state.get("tries", 0), state.get("difference", 0.0)


def _chance(device: torch.device) -> _Chance:
    """The state of the generators that a step may draw from."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, random.getstate(), np.random.get_state()


def _restore(held: list[Tensor], before: list[Tensor], chance: _Chance) -> None:
    """Everything as it was before the step was tried."""
    with torch.no_grad():
        _copy_all(before, held)
    torch.set_rng_state(chance[0])
    if chance[1] is not None:
        torch.cuda.set_rng_state(chance[1])
    random.setstate(chance[2])
    np.random.set_state(chance[3])


def _copy_all(values: list[Tensor], places: list[Tensor]) -> None:
    for value, place in zip(values, places, strict=True):
        place.copy_(value)
