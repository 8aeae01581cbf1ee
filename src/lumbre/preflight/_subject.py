"""What the checks look at: facts of a run that is about to begin, and two passes of its first batch, made once."""

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn, optim

from lumbre.base import Batch, Loss, Nested, as_scalar, cloned, detached, leaves, map_leaves, untouched
from lumbre.devices import same_chance
from lumbre.preflight._chain import is_chain_of_rows
from lumbre.preflight._dry import Taken, dry_step
from lumbre.preflight._recorder import (
    BINARY,
    CLASSES,
    ELEMENTWISE,
    Call,
    LayerCall,
    Recorder,
    Shape,
    in_two_modes,
    loss_inputs,
    recorded_layers,
)
from lumbre.steps import Clip


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a scheduler of torch, or a function of the step, would move the learning rate over the run.

    Attributes:
        name: its class; "" of a function, of which some steps are known.
        length: steps it is made for; None where it has no end.
        rates: of each of its steps.
        failure: what it says when it is stepped too often; "" where it never does.
    """

    name: str
    length: int | None
    rates: tuple[float, ...]
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a callback watches with a mode that it was given, and which way is better by the metric."""

    callback: str
    value: str
    mode: str
    better: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What was chosen for the run, beside module, data and optimizers.

    Attributes:
        watched: what callbacks watch with a mode of the user's own.
        draws: how likely each training row is drawn, of shape (rows,); None draws every row once an epoch.
        moved_alone: whether an augmentation moves pixels, and the target that lies on them stays.
        batches: of an epoch; None where they cannot be counted.
    """

    watched: Sequence[Watched] = ()
    draws: Tensor | None = None
    moved_alone: bool = False
    batches: int | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """The first batch, taken through module and loss.

    Attributes:
        pred: what the module gave, with its graph.
        forward: calls of torch's functions in the module.
        layers: calls of layers with weights, in their order.
        norms: calls of batch normalisations, in their order.
        switched: modules whose mode the pass has changed, by name.
        loss: what the loss gave; None where it failed.
        losses: calls of torch's functions in the loss.
        failure: what module or loss raised.
        in_loss: whether it was the loss.
        gradients: of the parameters by name, None for those that got none.
        backward: what the way back through the graph raised.
        shapes: before and after each view() and its like, in module and loss.
        modes: of each module when the pass began, by name.
        graph_kept: whether something that hangs on the module has a graph after the pass; known of training alone.
        sums: of single numbers, in the loss.
        drew: whether the module drew random numbers.
        asked: how often the loss called the layer of the module that it called most.
        changed: whether the call changed parameters or buffers.
    """

    pred: Nested = None
    forward: Sequence[Call] = ()
    layers: Sequence[LayerCall] = ()
    norms: Sequence[LayerCall] = ()
    switched: Sequence[str] = ()
    loss: Any = None
    losses: Sequence[Call] = ()
    failure: Exception | None = None
    in_loss: bool = False
    gradients: dict[str, Tensor | None] = field(default_factory=dict[str, "Tensor | None"])
    backward: Exception | None = None
    shapes: Sequence[tuple[Shape, Shape]] = ()
    modes: dict[str, bool] = field(default_factory=dict[str, bool])
    graph_kept: bool = False
    sums: Sequence[Call] = ()
    drew: bool = False
    asked: int = 0
    changed: bool = False


@dataclass(kw_only=True)
class Subject:
    """What is looked at.

    Attributes:
        model: the module, on its device.
        call: the module, made ready for the form of its input.
        loss: the loss function; None for a module with a step of its own, of which nothing more can be asked.
        batch: the first training batch.
        device: where it is.
        columns: (input, target) of all training rows where they are in memory as the module sees them, else None.
        valid: the same of the validation rows.
        test: the same of the rows to test on.
        seen: (input, target) of training rows, of all or of some, before anything augments them; None where none
            can be read but the first batch.
        seen_valid: the same of the validation rows.
        seen_test: the same of the rows to test on.
        valid_name: what the validation rows are called: "validation", of several sets such as "validation (near)".
        seen_also: the same of further validation sets, by such names; None for one of rows that are trained on.
        twice: (shared, all) of the rows of a set, by its name or "test", that are training rows by their numbers in
            one data set.
        in_order: whether a loader gives the rows in the order in which they lie in `columns`.
        held: the first batch of each set that is not trained on, "validation" and "test"; or what reading it raised.
        drawn_anew: the sets, "validation" and "test", whose inputs are others when they are read again.
        changing: whether training rows are others each time they are read, though the same random numbers are drawn.
        unloaded: saved weights of which none came into the module while it was built, in words.
        unseen: what cannot be looked at, in words.
        fewest_rows: rows of the smallest batch of an epoch, where that is known; where processes share a batch, of the
            smallest part of it, which may be none: then a row is computed that does not count.
        processes: how many share a batch.
        settled: whether modes and batches in training are what the module and the data say: no callback changes them.
        shuffled: whether an order is drawn for each epoch; None where a loader decides.
        batch_size: rows in a batch.
        optimizers: the optimizers by name.
        metrics: what is measured.
        accumulated: batches for an update.
        steps: updates of the run; None where they cannot be counted.
        clip: what bounds the gradients.
        scheduled: whether something moves the learning rates during the run.
        own_step: whether the module takes its steps by itself.
        schedules: of torch's schedulers.
        categories: levels of each column of text or categories, the target's included, where the data is a frame.
        rows: to train on, where they can be counted.
        chosen: what else was chosen for the run.
        most_numbers: checks that compare every row leave larger data alone.
        shared: what one check has computed and another asks for, too, by a name.
    """

    model: nn.Module
    call: Callable[[Nested], Nested]
    loss: Loss | None
    batch: Batch
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    columns: tuple[Nested, Nested] | None = None
    valid: tuple[Nested, Nested] | None = None
    test: tuple[Nested, Nested] | None = None
    seen: tuple[Nested, Nested] | None = None
    seen_valid: tuple[Nested, Nested] | None = None
    seen_test: tuple[Nested, Nested] | None = None
    valid_name: str = "validation"
    seen_also: Mapping[str, tuple[Nested, Nested] | None] = field(
        default_factory=dict[str, "tuple[Nested, Nested] | None"]
    )
    twice: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, "tuple[int, int]"])
    in_order: bool = False
    held: Mapping[str, Batch | Exception] = field(default_factory=dict[str, "Batch | Exception"])
    drawn_anew: Sequence[str] = ()
    changing: bool = False
    unloaded: Sequence[str] = ()
    unseen: Sequence[str] = ()
    fewest_rows: int | None = None
    processes: int = 1
    settled: bool = True
    shuffled: bool | None = True
    batch_size: int | None = None
    optimizers: dict[str, optim.Optimizer] = field(default_factory=dict[str, optim.Optimizer])
    metrics: Sequence[Any] = ()
    accumulated: int = 1
    steps: int | None = None
    clip: Clip = field(default_factory=Clip)
    scheduled: bool = False
    own_step: bool = False
    schedules: Sequence[Schedule] = ()
    categories: Mapping[str, int] = field(default_factory=dict[str, int])
    rows: int | None = None
    chosen: Chosen = field(default_factory=Chosen)
    most_numbers: int = 50_000_000
    shared: dict[Any, Any] = field(default_factory=dict[Any, Any])

    @cached_property
    def target(self) -> Nested:
        """The targets of all rows where they are in memory, else of some, else of the first batch."""
        target = self.batch.target if self.columns is None else self.columns[1]
        if self.columns is None and self.seen is not None and _alike(self.seen[1], target):
            target = self.seen[1]
        return detached(target)

    @property
    def judged(self) -> dict[str, tuple[Nested, Nested] | None]:
        """What is known of the rows of each set that is not trained on, by its name."""
        return {self.valid_name: self.seen_valid, **self.seen_also, "test": self.seen_test}

    @property
    def has_one_row(self) -> bool:
        """Whether some batch of an epoch, or some process's part of it, is computed as a single row."""
        return self.fewest_rows is not None and self.fewest_rows <= 1

    @cached_property
    def evaluated(self) -> Pass:
        """The first batch in evaluation mode, with graph."""
        return self._pass(training=False)

    @cached_property
    def trained(self) -> Pass:
        """The first batch in training mode, with gradients."""
        return self._pass(training=True)

    @cached_property
    def shortest(self) -> Pass | None:
        """As many rows as the smallest batch of the run has, in evaluation mode; None where no batch is smaller.

        One row alone is another matter. What is known to judge each row by itself takes any number.
        """
        rows, known = self.fewest_rows, self.row_by_row and self.loss_of_torch
        if rows is None or not 2 <= rows < self.batch.size or self.evaluated.failure is not None or known:
            return None
        given = (self.batch.input, self.batch.target)
        if not all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == self.batch.size for leaf in leaves(given)):
            return None

        def cut(leaf: Any) -> Any:
            return leaf[:rows]

        batch = Batch(map_leaves(cut, given[0]), map_leaves(cut, given[1]), rows)
        return replace(self, batch=batch, shared={})._pass(training=False)

    @cached_property
    def stepped(self) -> Pass:
        """The first batch in training mode, after a small step of every weight down its gradient."""
        gradients = self.trained.gradients
        steps = [(one, gradients.get(name)) for name, one in self.model.named_parameters()]
        with untouched(self.model, self.device, self.loss), torch.no_grad():
            for one, gradient in steps:
                if gradient is not None:
                    one.sub_(gradient.sign(), alpha=1e-2)
            return self._pass(training=True)

    def moved(self, seed: int) -> Pass:
        """The first batch in training mode, with gradients, after every weight was moved by chance."""
        with untouched(self.model, self.device, self.loss), torch.no_grad():
            torch.manual_seed(seed)
            for one in self.model.parameters():
                if one.requires_grad and one.is_floating_point():
                    spread = float(one.std()) if one.numel() > 1 else float(one.abs())
                    one.add_(torch.randn_like(one), alpha=0.5 * spread + 0.05)
            return self._pass(training=True)

    @cached_property
    def loss_of_torch(self) -> bool:
        """Whether the loss is what one call of torch's gave: a mean or a sum, of which all is known."""
        found = self.evaluated
        return any(call.result is found.loss for call in loss_inputs(found.losses, (*CLASSES, *BINARY, *ELEMENTWISE)))

    @property
    def asks_the_net(self) -> bool:
        """Whether a call of the loss is several of the net: to ask it for other predictions costs much."""
        return self.evaluated.asked > 2

    @cached_property
    def row_by_row(self) -> bool:
        """Whether the module is known to judge each row alone, and to keep nothing from call to call."""
        known = self.call is self.model and self.evaluated.failure is None
        return known and is_chain_of_rows(self.model, self.batch.input, self.batch.size, self.evaluated.layers)

    def placed(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Pass:
        """The first batch in training mode, with gradients, with other numbers in the parameters.

        Args:
            pairs: parameters, and the numbers that stand in for theirs.
        """
        with untouched(self.model, self.device, self.loss), torch.no_grad():
            for one, other in pairs:
                one.copy_(other)
            return self._pass(training=True)

    def loss_at(self, pairs: Sequence[tuple[Tensor, Tensor]]) -> Any:
        """The loss of `placed(pairs)` alone, without gradients; None where it cannot be computed."""
        assert self.loss is not None
        input = cloned(self.batch.input)
        with untouched(self.model, self.device, self.loss, training=True), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.no_grad():
                for one, other in pairs:
                    one.copy_(other)
            try:
                with torch.enable_grad():
                    return as_scalar(self.loss(self.call(input), self.batch.target))
            except Exception:
                return None

    def elsewhere(self, batches: int) -> Iterator[Pass]:
        """Other rows in training mode, with gradients: a few batches of those that are at hand, spread over them."""
        if self.seen is None or self.loss is None:
            return
        rows, size = min((len(leaf) for leaf in tensors(self.seen) if leaf.ndim), default=0), self.batch.size
        alike = _forms(self.seen) == _forms((self.batch.input, self.batch.target))
        for at in range(1, batches + 1):
            begin = (rows - size) * at // batches
            if not alike or begin <= 0:
                return

            def cut(leaf: Any, begin: int = begin) -> Any:
                return leaf[begin : begin + size].to(self.device) if isinstance(leaf, Tensor) else leaf

            batch = Batch(map_leaves(cut, self.seen[0]), map_leaves(cut, self.seen[1]), size)
            yield replace(self, batch=batch, shared={})._pass(training=True)

    @cached_property
    def taken(self) -> Taken | None:
        """A step of the module's own without its updates; None where it has none, or it cannot be shown alone."""
        if not self.own_step or not self.optimizers:
            return None
        found = dry_step(self.model, self.optimizers, self.batch, self.device)
        return found if found.failure is None else None

    @property
    def loss_calls(self) -> Sequence[Call]:
        """Calls of torch's functions in the loss; of a step of the module's own, in the step."""
        if self.own_step:
            return [] if self.taken is None else self.taken.calls
        return () if self.evaluated.failure and not self.evaluated.in_loss else self.evaluated.losses

    def predict(self, input: Nested, *, moved: bool = False, training: bool = False, seed: int = 0) -> Nested:
        """What the module gives in evaluation mode, by the same chance at each call.

        Args:
            input: of a batch.
            moved: with weights nearby, and the means and spreads of this batch in place of running ones, which say
                nothing before the first step.
            training: in training mode, but for torch's own layers: with running means and without dropout.
            seed: of what is drawn.
        """
        kept = [(one, one.detach().clone()) for one in self.model.parameters()] if moved else []
        with untouched(self.model, self.device, training=training), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if self.evaluated.changed:  # set up by the first rows that it sees, they shall be the same for all calls
                self.call(cloned(self.batch.input))
            same_chance(self.device, seed)
            for part in self.model.modules() if training else ():
                part.training = part.training and not in_two_modes(part)
            try:
                for one, value in kept:
                    spread = float(value.std()) if value.numel() > 1 else 0.0
                    one.add_(torch.randn_like(value), alpha=0.1 * spread + 1e-3)
                for part in self.model.modules() if moved else ():
                    if isinstance(getattr(part, "running_var", None), Tensor):
                        part.training = True
                # A module may switch gradients on in its forward().
                return detached(self.call(input))
            finally:
                for one, value in kept:
                    one.copy_(value)

    def loss_of(self, pred: Nested, target: Nested) -> Any:
        """The loss of a prediction, by the same chance at each call."""
        assert self.loss is not None
        with untouched(self.model, self.device, self.loss), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same_chance(self.device)
            return self.loss(pred, target)

    def one_row(self) -> Pass:
        """The first row alone through the module in training mode; nothing of its loss."""
        norms: list[LayerCall] = []
        row = map_leaves(lambda leaf: leaf[:1].clone() if isinstance(leaf, Tensor) else leaf, self.batch.input)
        with (
            untouched(self.model, self.device, self.loss, training=True),
            torch.no_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            same_chance(self.device)
            try:
                with recorded_layers(self.model, [], norms):
                    return Pass(self.call(row), norms=norms)
            except Exception as error:  # whatever the user's module raises is the finding
                return Pass(norms=norms, failure=error)

    def _pass(self, *, training: bool) -> Pass:
        forward, losses = Recorder(units=training), Recorder()
        layers, norms, asked = (list[LayerCall]() for _ in range(3))
        batch = self.batch
        # A module may work in place on what it is given; the first batch is still to be trained on.
        input = cloned(batch.input)
        with (
            untouched(self.model, self.device, self.loss, training=training),
            torch.enable_grad(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            modes = {name: part.training for name, part in self.model.named_modules()}
            # What forward() adds is taken away afterwards.
            named = {name: one for name, one in self.model.named_parameters() if one.requires_grad}
            state, held = _generator_state(self.device), _held(self.model)
            try:
                with recorded_layers(self.model, layers, norms), forward:
                    pred = self.call(input)
            except Exception as error:  # whatever the user's module raises is the finding
                return Pass(forward=forward.calls, layers=layers, norms=norms, failure=error, modes=modes)
            switched = [
                name for name, part in self.model.named_modules() if modes.get(name, part.training) != part.training
            ]
            drew, changed = not torch.equal(state, _generator_state(self.device)), held != _held(self.model)
            done = Pass(pred, forward.calls, layers, norms, switched, shapes=forward.shapes, modes=modes, drew=drew)
            done = replace(done, changed=changed)
            if self.loss is None:
                return done
            try:
                with recorded_layers(self.model, asked, []), losses:
                    value: Any = as_scalar(self.loss(pred, batch.target))
            except Exception as error:
                return replace(done, losses=losses.calls, failure=error, in_loss=True)
            kept = training and _keeps_graph(self.model)
            found, failure = _gradients(value, named) if training else ({}, None)
            done = replace(done, loss=value, losses=losses.calls, gradients=found, backward=failure, graph_kept=kept)
            most = max(Counter(call.name for call in asked).values(), default=0)
            return replace(done, shapes=[*forward.shapes, *losses.shapes], sums=losses.sums, asked=most)


def _held(model: nn.Module) -> list[tuple[int, int]]:
    """Which parameters and buffers a module has, and how often they were written to."""
    return [(id(one), one._version) for one in (*model.parameters(), *model.buffers())]


def _keeps_graph(model: nn.Module) -> bool:
    """Whether something that hangs on the module has a graph."""
    held = (value for part in model.modules() for name, value in vars(part).items() if name != "_parameters")
    return any(isinstance(leaf, Tensor) and leaf.grad_fn is not None for value in held for leaf in _held_in(value))


def _held_in(value: Any) -> list[Any]:
    try:
        return list(leaves(value)) if isinstance(value, (Tensor, list, tuple, dict)) else []
    except Exception:  # other things than tensors
        return []


def _gradients(loss: Any, named: dict[str, nn.Parameter]) -> tuple[dict[str, Tensor | None], Exception | None]:
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad or not named:
        return {}, None
    try:
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    except RuntimeError as error:  # not every graph that fails here fails in a step
        return {}, error
    gradients: dict[str, Tensor | None] = dict(zip(named, found, strict=True))
    return {k: one.to_dense() if one is not None and one.is_sparse else one for k, one in gradients.items()}, None


def _generator_state(device: torch.device) -> Tensor:
    """The state of torch's generators, of the processor and of the GPU where one is used."""
    state = torch.get_rng_state()
    return torch.cat([state, torch.cuda.get_rng_state(device)]) if device.type == "cuda" else state


def _alike(some: Nested, target: Nested) -> bool:
    """Whether targets are as those of a batch: an augmentation may have changed these."""
    on = getattr(target, "device", None)
    return isinstance(some, Tensor) and some.device == on and _forms(some) == _forms(target)


def _forms(value: Nested) -> list[Any]:
    return [(leaf.dtype, leaf.shape[1:]) if isinstance(leaf, Tensor) else type(leaf) for leaf in leaves(value)]


def tensors(value: Nested) -> list[Tensor]:
    """The tensors among the leaves."""
    return [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
