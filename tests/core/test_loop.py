"""The loop with fakes in every seam: order of events, stopping, interrupts."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.base import Batch
from lumbre.core import AROUND, INSIDE, Context, Listeners, Plan, train

INTERRUPT = "interrupt"


class TwoBatches:
    length = 2

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for _ in range(2):
            yield Batch(torch.zeros(3, 1), None, 3)


class FakeEngine:
    name = "fake"
    measured = False
    reason = "fake"

    def __init__(self, interrupt_at: tuple[int, int] | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.updates = 0
        self.interrupt_at = interrupt_at

    def train_step(self, batch: Batch, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        self.steps.append((epoch, step))
        self.updates += 1
        if (epoch, step) == self.interrupt_at:
            raise KeyboardInterrupt
        return batch.input, torch.tensor(1.0)

    def valid_step(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return batch.input, torch.tensor(2.0)

    def end_epoch(self) -> None: ...


class FakeMeter:
    def reset(self) -> None:
        self.total = 0.0

    def update(self, batch: Batch, pred: Any, loss: Tensor, *, added: bool = False) -> None:
        self.total += loss.item()

    def compute(self) -> dict[str, object]:
        return {"loss": self.total}

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total = state["total"]

    def merged(self, states: list[dict[str, Any]]) -> dict[str, Any]:
        return {"total": sum(state["total"] for state in states)}


def recorder(into: list[str]) -> lb.Callback:
    handlers = {f"on_{event}": lambda self, ctx, event=event: into.append(event) for event in AROUND}
    return type("Recorder", (lb.Callback,), handlers)()


def plan(
    *callbacks: lb.Callback, epochs: tuple[int, int] = (0, 2), valid: bool = True, interrupt_at: Any = None
) -> Plan:
    model = nn.Linear(1, 1)
    listeners = Listeners(callbacks)
    context = Context(
        model=model,
        optimizers={"optimizer": optim.SGD(model.parameters())},
        device=torch.device("cpu"),
        epochs=epochs,
        batches_per_epoch=2,
        monitored={"valid_loss": False, "train_loss": False},
        save=lambda path: None,
        minimize=lambda loss, optimizer: None,
        see_training_data=lambda: None,
    )
    return Plan(
        model=model,
        engine=FakeEngine(interrupt_at),
        train=TwoBatches(),
        valid=TwoBatches() if valid else None,
        train_meter=FakeMeter(),
        valid_meter=FakeMeter(),
        epochs=epochs,
        context=context,
        listeners=listeners,
        seed_step=lambda name, epoch, batch: None,
        switch=model.train,
    )


def test_events_come_in_their_order() -> None:
    seen: list[str] = []
    train(plan(recorder(seen), epochs=(0, 1)))
    batch = ["train_batch_begin", "train_batch_end"]
    valid_batch = ["valid_batch_begin", "valid_batch_end"]
    assert seen == [
        "fit_begin", "epoch_begin", "train_begin", *batch * 2, "train_end",
        "valid_begin", *valid_batch * 2, "valid_end", "epoch_end", "fit_end",
    ]  # fmt: skip


def test_history_holds_both_sets() -> None:
    run = plan()
    train(run)
    assert run.context.history.records == [
        ("train", "loss", 1, 2.0),
        ("valid", "loss", 1, 4.0),
        ("train", "loss", 2, 2.0),
        ("valid", "loss", 2, 4.0),
    ]
    assert run.context.history.last() == {"train_loss": 2.0, "valid_loss": 4.0}
    assert len(run.context.history.train_seconds) == len(run.context.history.valid_seconds) == 2
    assert run.context.step == 4


@pytest.mark.parametrize(("fewest", "done"), [(0, 1), (3, 3)])
def test_a_stop_waits_for_the_fewest_epochs(fewest: int, done: int) -> None:
    class Stop(lb.Callback):
        def on_epoch_end(self, ctx: lb.Context) -> None:
            ctx.stop(f"enough in {ctx.epoch}")

    run = plan(Stop(), epochs=(fewest, 9))
    train(run)
    assert run.context.history.epochs == done
    assert run.context.stop_reason == "enough in 1"


def test_an_interrupt_keeps_model_and_history() -> None:
    seen: list[str] = []
    run = plan(recorder(seen), epochs=(0, 9), interrupt_at=(3, 2))
    train(run)
    assert run.context.history.epochs == 2
    assert seen[-2:] == ["interrupt", "fit_end"]
    assert "Interrupted in epoch 3 of 9" in str(run.context.stop_reason)


def test_logged_values_stand_in_the_history() -> None:
    class Log(lb.Callback):
        def on_valid_end(self, ctx: lb.Context) -> None:
            ctx.log("depth", 7.0)

    run = plan(Log(), epochs=(0, 1))
    train(run)
    assert ("valid", "depth", 1, 7.0) in run.context.history.records


def test_a_failing_callback_is_named_with_its_event() -> None:
    class Bad(lb.Callback):
        def on_train_end(self, ctx: lb.Context) -> None:
            raise ValueError("oops")

    with pytest.raises(lb.CallbackError, match=r"ValueError in Bad.on_train_end at epoch 1, step 2: oops") as caught:
        train(plan(Bad()))
    assert isinstance(caught.value.__cause__, ValueError)


def test_handlers_run_without_gradients_and_inside_events_see_the_step() -> None:
    seen: list[tuple[str, bool, bool]] = []

    def note(event: str) -> Any:
        return lambda self, ctx: seen.append((event, torch.is_grad_enabled(), ctx.model.weight.grad is not None))

    listener = type("Inside", (lb.Callback,), {f"on_{event}": note(event) for event in INSIDE})()
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=1, out_features=1)
    recipe.fit((torch.ones(2, 1), torch.ones(2, 1)), epochs=1, callbacks=listener, verbose=False)
    assert seen == [
        ("after_pred", False, False),
        ("after_loss", False, False),
        ("before_backward", False, False),
        ("before_step", False, True),
        ("after_step", False, True),
    ]


def test_context_stays_small() -> None:
    public = [name for name in Context.__slots__ if not name.startswith("_")]
    assert len(public) <= 15
    assert all(f"        {name}: " in str(Context.__doc__) for name in public)
