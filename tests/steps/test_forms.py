"""The forms of a step: accumulation, clipping, L-BFGS, several optimizers, a module's own step; beside plain torch."""

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.base import Batch
from lumbre.callbacks import Accumulate, GradientClip
from lumbre.steps import Body, Clip

MSE = nn.MSELoss()


class Line(nn.Linear):
    """A line in float64, so that comparisons are sharp."""

    def __init__(self) -> None:
        super().__init__(3, 1, dtype=torch.float64)


def rows(count: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(count)
    x = torch.randn(count, 3, dtype=torch.float64, generator=rng)
    return x, x.sum(1, keepdim=True) + torch.randn(count, 1, dtype=torch.float64, generator=rng)


def weights(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 40),
    size=st.integers(1, 9),
    group=st.integers(1, 5),
    reduction=st.sampled_from(["mean", "sum"]),
)
def test_accumulated_batches_are_one_large_batch(count: int, size: int, group: int, reduction: str) -> None:
    x, y = rows(count)
    loss = nn.MSELoss(reduction=reduction)
    model = Line()
    twin = copy.deepcopy(model)
    recipe = lb.setup(model, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    updates: list[int] = []

    class Count(lb.Callback):
        def on_epoch_end(self, ctx: lb.Context) -> None:
            updates.append(ctx.step)

    recipe.fit(
        (x, y), epochs=2, batch_size=size, shuffle=False, verbose=False, callbacks=[Accumulate(group), Count()],
        preflight=False,
    )  # fmt: skip
    by_hand = optim.SGD(twin.parameters(), lr=0.01)
    large = list(zip(x.split(size * group), y.split(size * group), strict=True))
    for xb, yb in large * 2:
        by_hand.zero_grad()
        loss(twin(xb), yb).backward()
        by_hand.step()
    torch.testing.assert_close(weights(model), weights(twin), rtol=1e-10, atol=1e-12)
    assert updates == [len(large), 2 * len(large)]


@pytest.mark.parametrize(
    "clip", [GradientClip(0.1), GradientClip(0.1, norm_type=1.0), GradientClip(None, max_value=0.05)]
)
def test_clipping_is_what_torch_does(clip: GradientClip) -> None:
    x, y = rows(20)
    model = Line()
    twin = copy.deepcopy(model)
    lb.setup(model, loss=MSE, optimizer=optim.SGD).set_opt_hparams(lr=1.0).fit(
        (x, y), epochs=3, batch_size=10, shuffle=False, verbose=False, callbacks=clip
    )
    by_hand = optim.SGD(twin.parameters(), lr=1.0)
    for xb, yb in list(zip(x.split(10), y.split(10), strict=True)) * 3:
        by_hand.zero_grad()
        MSE(twin(xb), yb).backward()
        if clip.max_norm is not None:
            nn.utils.clip_grad_norm_(twin.parameters(), clip.max_norm, clip.norm_type)
        else:
            nn.utils.clip_grad_value_(twin.parameters(), clip.max_value)
        by_hand.step()
    torch.testing.assert_close(weights(model), weights(twin))


def test_luz_clipped_gradients_that_were_still_scaled_under_float16() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
    body = Body(call=model, autocast=lambda: torch.autocast("cpu", torch.float16), scaler=scaler, clip=Clip(0.5))
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    batch = Batch(torch.ones(4, 1), torch.full((4, 1), 3.0), 4)
    pred, loss = body.forward(batch, lambda pred, target: (pred.float() - target).square().mean())
    body.backward(pred, loss)
    assert model.weight.grad is not None
    assert model.weight.grad.abs().item() > 1e3, "the scale is on"
    body.update((optimizer,), pred, loss)
    assert model.weight.item() == pytest.approx(0.5, rel=1e-3), "the norm of 6 was brought down to 0.5"


def test_lbfgs_through_fit_is_lbfgs_by_hand() -> None:
    x, y = rows(50)
    model = nn.Sequential(nn.Linear(3, 4, dtype=torch.float64), nn.Tanh(), nn.Linear(4, 1, dtype=torch.float64))
    twin = copy.deepcopy(model)
    options = {"lr": 1.0, "max_iter": 5, "line_search_fn": "strong_wolfe"}
    fitted = (
        lb.setup(model, loss=MSE, optimizer=optim.LBFGS)
        .set_opt_hparams(**options)
        .fit((x, y), epochs=6, batch_size=50, shuffle=False, verbose=False)
    )
    by_hand, losses = optim.LBFGS(twin.parameters(), **options), []

    def closure() -> Tensor:
        by_hand.zero_grad()
        loss = MSE(twin(x), y)
        loss.backward()
        return loss

    for _ in range(6):
        losses.append(by_hand.step(closure).item())
    torch.testing.assert_close(weights(model), weights(twin))
    history = fitted.history
    assert history[history.metric == "loss"]["value"].tolist() == pytest.approx(losses)
    assert "LBFGS" in fitted.engine


def test_dropout_is_the_same_in_every_evaluation_of_a_line_search() -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(3, 1)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            dropped = self.dropout(torch.ones_like(x))
            if self.training:
                seen.append(dropped)
            return self.line(x * dropped)

    x, y = (part.float() for part in rows(8))
    lb.setup(Watch, loss=MSE, optimizer=optim.LBFGS).set_opt_hparams(line_search_fn="strong_wolfe").fit(
        (x, y), epochs=1, batch_size=8, preflight=False, verbose=False
    )
    assert len(seen) > 2
    assert all(torch.equal(seen[0], mask) for mask in seen)


@pytest.mark.parametrize("option", [{"callbacks": Accumulate(2)}, {"precision": "float16"}])
def test_lbfgs_refuses_what_it_cannot_do(option) -> None:
    recipe = lb.setup(Line, loss=MSE, optimizer=optim.LBFGS)
    with pytest.raises((lb.OptionError, lb.RecipeError), match="LBFGS"):
        recipe.fit(rows(4), epochs=1, verbose=False, **option)


class Adversaries(nn.Module):
    """Two nets with opposed losses."""

    def __init__(self) -> None:
        super().__init__()
        self.critic, self.maker = nn.Linear(3, 1), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.maker(x)

    def loss_critic(self, pred: Tensor, target: Tensor) -> Tensor:
        return (self.critic(pred) - self.critic(target)).mean() + self.critic.weight.square().sum()

    def loss_maker(self, pred: Tensor, target: Tensor) -> Tensor:
        return -self.critic(pred).mean() + (pred - target).square().mean()

    def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer]:
        return {
            "critic": optim.SGD(self.critic.parameters(), lr=lr),
            "maker": optim.Adam(self.maker.parameters(), lr=lr),
        }


def test_each_optimizer_has_its_own_loss_and_its_own_parameters() -> None:
    x, y = torch.randn(12, 2), torch.randn(12, 3)
    model = Adversaries()
    twin = copy.deepcopy(model)
    fitted = (
        lb.setup(model)
        .set_opt_hparams(lr=0.1)
        .fit((x, y), epochs=2, batch_size=6, shuffle=False, valid_data=(x, y), verbose=False)
    )
    optimizers = twin.configure_optimizers(lr=0.1)
    for xb, yb in list(zip(x.split(6), y.split(6), strict=True)) * 2:
        for name, optimizer in optimizers.items():
            twin.zero_grad()  # the critic's gradients of the maker's loss must not reach the critic's next step
            getattr(twin, f"loss_{name}")(twin(xb), yb).backward()
            optimizer.step()
    torch.testing.assert_close(weights(model), weights(twin))
    last = fitted.history.query("epoch == 2 and set == 'valid'").set_index("metric")["value"]
    assert set(last.index) == {"loss", "loss_critic", "loss_maker"}
    assert last["loss"] == pytest.approx(last["loss_critic"] + last["loss_maker"], rel=1e-5)


def test_a_callback_may_watch_one_of_several_losses() -> None:
    x, y = torch.randn(12, 2), torch.randn(12, 3)
    stop = lb.callbacks.EarlyStopping(monitor="train_loss_maker", patience=1, min_delta=1e9)
    fitted = lb.setup(Adversaries).set_opt_hparams(lr=0.1).fit((x, y), epochs=9, callbacks=stop, verbose=False)
    assert fitted.history.epoch.max() == 2


def test_losses_and_optimizers_must_have_the_same_names() -> None:
    class Odd(Adversaries):
        def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer]:
            return {"critic": optim.SGD(self.parameters(), lr=lr), "generator": optim.SGD(self.parameters(), lr=lr)}

    with pytest.raises(lb.RecipeError, match="loss_generator"):
        lb.setup(Odd).set_opt_hparams(lr=0.1).fit((torch.randn(4, 2), torch.randn(4, 3)), verbose=False)


def test_several_optimizers_may_share_one_loss() -> None:
    class Shared(Net):
        def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer]:
            first, *rest = self.parameters()
            return {"first": optim.SGD([first], lr=lr), "rest": optim.Adam(rest, lr=lr)}

    model = Shared(4)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    lb.setup(model, loss=nn.CrossEntropyLoss()).set_opt_hparams(lr=0.1).fit(blobs(), epochs=1, verbose=False)
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


class OwnStep(Adversaries):
    """The same training, as a step of the module's own."""

    def step(self, ctx: lb.Context) -> dict[str, Tensor]:
        assert ctx.batch is not None
        losses: dict[str, Tensor] = {}
        for name in ctx.optimizers:
            pred = self(ctx.batch.input)
            losses[name] = getattr(self, f"loss_{name}")(pred, ctx.batch.target)
            ctx.minimize(losses[name], name)
        return losses


def test_a_modules_own_step_can_do_the_same() -> None:
    x, y = torch.randn(12, 2), torch.randn(12, 3)
    theirs = Adversaries()
    ours = OwnStep()
    ours.load_state_dict(theirs.state_dict())
    histories = [
        lb.setup(model).set_opt_hparams(lr=0.1).fit((x, y), epochs=2, batch_size=6, verbose=False).history
        for model in (theirs, ours)
    ]
    torch.testing.assert_close(weights(ours), weights(theirs))
    pd.testing.assert_frame_equal(histories[0], histories[1], rtol=1e-5)  # two programs, whose sums may differ in order


class StepAndMetric(Net):
    def step(self, ctx: lb.Context):
        assert ctx.batch is not None
        pred = self(ctx.batch.input)
        loss = nn.functional.cross_entropy(pred, ctx.batch.target)
        ctx.minimize(loss)
        return pred, loss


def test_a_step_may_give_its_prediction_to_the_metrics() -> None:
    def history(model: nn.Module):
        recipe = lb.setup(
            model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy()
        ).set_opt_hparams(lr=0.01)
        return recipe.fit(blobs(), epochs=2, valid_data=0.2, verbose=False).history

    plain, own = Net(4), StepAndMetric(4)
    own.load_state_dict(plain.state_dict())
    pd.testing.assert_frame_equal(history(plain), history(own), rtol=1e-5)  # as above


@pytest.mark.parametrize("returned", [None, torch.ones(2), {}, 1.0])
def test_a_step_that_returns_no_loss_is_named(returned) -> None:
    class Wrong(Net):
        def step(self, ctx: lb.Context):
            return returned

    with pytest.raises(lb.RecipeError, match=r"Wrong\.step"):
        lb.setup(Wrong, optimizer=optim.SGD).set_hparams(d_in=4).fit(blobs(), epochs=1, verbose=False)


def test_metrics_without_a_prediction_are_named() -> None:
    class Silent(StepAndMetric):
        def step(self, ctx: lb.Context):
            return super().step(ctx)[1]

    recipe = lb.setup(Silent, optimizer=optim.SGD, metrics=lb.metrics.Accuracy()).set_hparams(d_in=4)
    with pytest.raises(lb.CallbackError, match=r"return \(prediction, loss\)"):
        recipe.fit(blobs(), epochs=1, verbose=False)


def test_minimize_belongs_to_a_step() -> None:
    class Meddler(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            assert ctx.loss is not None
            ctx.minimize(ctx.loss)

    with pytest.raises(lb.RecipeError, match="step"):
        lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4).fit(
            blobs(), epochs=1, callbacks=Meddler(), verbose=False
        )


class Averaging(optim.SGD):
    """Trains other weights than those it gives out in evaluation mode, as the optimizers of schedulefree do."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, lr=lr)
        self.mode = "eval"

    def train(self) -> None:
        self._move("train", 1.0)

    def eval(self) -> None:
        self._move("eval", -1.0)

    def _move(self, mode: str, by: float) -> None:
        if self.mode != mode:
            self.mode = mode
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.add_(by)

    def step(self, closure: Any = None) -> None:
        assert self.mode == "train"
        super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "mode": self.mode}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.mode = state_dict["mode"]
        super().load_state_dict({name: value for name, value in state_dict.items() if name != "mode"})


@pytest.mark.parametrize("validated", [False, True])
def test_an_optimizer_with_modes_is_switched_with_the_module(validated: bool, tmp_path: Path) -> None:
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    y = x.sum(1, keepdim=True)
    options: dict[str, Any] = {"shuffle": False, "batch_size": 10, "verbose": False, "device": "cpu"}
    recipe = lb.setup(lambda: nn.Linear(3, 1), loss=nn.MSELoss(), optimizer=Averaging)
    start: dict[str, Tensor] = {}

    class Start(lb.Callback):
        def on_fit_begin(self, ctx: lb.Context) -> None:
            start.update({name: value.clone() for name, value in ctx.model.state_dict().items()})

    valid = {"valid_data": (x[:7] + 1, y[:7])} if validated else {}
    fitted = recipe.fit((x, y), epochs=2, callbacks=Start(), **valid, **options)
    net = nn.Linear(3, 1)
    net.load_state_dict(start)
    optimizer = Averaging(net.parameters())
    for _ in range(2):
        optimizer.train()
        for one, other in zip(x.split(10), y.split(10), strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(one), other).backward()
            optimizer.step()
        optimizer.eval()
    torch.testing.assert_close(fitted.model.weight, net.weight)
    if validated:
        assert fitted.evaluate(valid["valid_data"]).metrics["loss"] == fitted.history_wide.valid_loss.iloc[-1]
    recipe.fit((x, y), epochs=1, resume=tmp_path, **options)
    gone_on = recipe.fit((x, y), epochs=2, resume=tmp_path, **options)
    assert torch.equal(gone_on.model.weight, recipe.fit((x, y), epochs=2, **options).model.weight)
    assert str(recipe.verify_resume((x, y), batch_size=10)).startswith("Exact")
