"""The step beside the loop one would write, the guard, the optimizer."""

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.base import Batch, NonFiniteLossError, caller
from lumbre.steps import build_optimizer
from lumbre.steps._guard import DeviceGuard, guard_for

CPU = torch.device("cpu")


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad])
def test_fit_does_what_the_loop_by_hand_does(optimizer: type[optim.Optimizer]) -> None:
    x, y = blobs()
    model, twin = Net(4), Net(4)
    twin.load_state_dict(model.state_dict())
    lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optimizer).set_opt_hparams(lr=0.01).fit(
        (x, y), epochs=3, batch_size=50, shuffle=False, verbose=False
    )
    by_hand = optimizer(twin.parameters(), lr=0.01)
    for _ in range(3):
        for xb, yb in zip(x.split(50), y.split(50), strict=True):
            by_hand.zero_grad()
            nn.functional.cross_entropy(twin(xb), yb).backward()
            by_hand.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_optimizers_are_fused_where_torch_can_and_the_user_left_it_open() -> None:
    parameters = list(Net(4).named_parameters())
    assert build_optimizer(optim.AdamW, parameters, {}, CPU).param_groups[0]["fused"]
    assert not build_optimizer(optim.AdamW, parameters, {"foreach": True}, CPU).param_groups[0]["fused"]
    assert not build_optimizer(optim.AdamW, parameters, {"fused": False}, CPU).param_groups[0]["fused"]
    assert "fused" not in build_optimizer(optim.RMSprop, parameters, {}, CPU).param_groups[0]


def test_the_device_guard_holds_back_the_update_without_a_read() -> None:
    """What a GPU does, on the CPU: a fused optimizer skips while the flag is up, and poll() names the step."""
    model = nn.Linear(1, 1)
    optimizer = optim.AdamW(model.parameters(), lr=0.1, fused=True)
    guard = DeviceGuard((optimizer,), CPU)
    losses = [1.0, 2.0, float("nan"), 3.0]
    kept: list[Tensor] = []
    for step, factor in enumerate(losses, 1):
        guard.begin(Batch(None, None, 2, torch.tensor([step, step + 10])), 1, step)
        loss = (model(torch.ones(2, 1)) * factor).sum()
        guard.check(loss, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        kept.append(model.weight.detach().clone())
    assert not torch.equal(kept[0], kept[1])
    assert torch.equal(kept[1], kept[2]), "the step with the bad loss changed the weights"
    assert torch.equal(kept[2], kept[3]), "a step after it changed the weights"
    with pytest.raises(NonFiniteLossError, match=r"epoch 1, step 3 of the epoch, rows 3, 13"):
        guard.poll()


def test_the_device_guard_reports_at_the_latest_after_64_steps() -> None:
    optimizer = optim.AdamW(nn.Linear(1, 1).parameters(), fused=True)
    guard = DeviceGuard((optimizer,), CPU)
    for step in range(1, 65):
        guard.begin(Batch(None, None, 1, torch.tensor([step])), 1, step)
        guard.check(torch.tensor(float("inf") if step >= 5 else 1.0), None)
    with pytest.raises(NonFiniteLossError, match="step 5 of"):
        guard.begin(Batch(None, None, 1), 1, 65)


def test_the_cpu_reads_every_loss() -> None:
    optimizer = optim.AdamW(nn.Linear(1, 1).parameters(), fused=True)
    assert type(guard_for((optimizer,), CPU, scaled=False)).__name__ == "HostGuard"


def test_inputs_reach_forward_as_its_signature_takes_them() -> None:
    class Two(nn.Module):
        def forward(self, a: int, b: int) -> tuple[int, int]:
            return a, b

    class One(nn.Module):
        def forward(self, pair: object) -> object:
            return pair

    assert caller(Two(), (1, 2))((1, 2)) == (1, 2)
    assert caller(Two(), {"b": 2, "a": 1})({"b": 2, "a": 1}) == (1, 2)
    assert caller(One(), (1, 2))((1, 2)) == (1, 2)
    assert caller(One(), {"x": 1})({"x": 1}) == {"x": 1}
    assert caller(nn.Module(), 3)(3) == 3, "no forward: the loss gets the raw input"


def test_gradients_of_one_step_do_not_reach_the_next() -> None:
    seen: list[Tensor] = []

    class Watch(lb.Callback):
        def on_before_step(self, ctx: lb.Context) -> None:
            seen.append(ctx.model.weight.grad.clone())

    x = torch.ones(4, 1)
    lb.setup(nn.Linear(1, 1), loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.0).fit(
        (x, x), epochs=3, callbacks=Watch(), verbose=False
    )
    assert torch.equal(seen[0], seen[2])


def test_handlers_see_unscaled_gradients_under_float16() -> None:
    seen: list[float] = []

    class Watch(lb.Callback):
        def on_before_step(self, ctx: lb.Context) -> None:
            seen.append(ctx.model.weight.grad.item())

    x = torch.ones(4, 1)
    for precision in ("float32", "float16"):
        lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=1, out_features=1).fit(
            (x, 2 * x), epochs=1, callbacks=Watch(), precision=precision, verbose=False
        )
    assert seen[1] == pytest.approx(seen[0], rel=1e-2)
