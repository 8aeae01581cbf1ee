"""Runs in float64 by torch's default, targets with large offsets, and updates that float16 skips, beside formulas."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.callbacks import EMA, Accumulate, GradientClip, LearningRate, LRScheduler

X = np.random.default_rng(0).normal(size=(24, 3))
Y = X.sum(1, keepdims=True) / 3


@pytest.fixture
def double() -> Generator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def line() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(3, 1)


class Shifted(nn.Module):
    """Gives its input back."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.by


def fit(module: Any, data: Any, loss: Any = None, lr: float = 0.01, **options: Any) -> lb.Fitted:
    metrics = options.pop("metrics", ())
    recipe = lb.setup(module, loss=loss or nn.MSELoss(), optimizer=optim.SGD, metrics=metrics)
    given = {"epochs": 2, "batch_size": 5, "shuffle": False, "device": "cpu", "verbose": False, "preflight": False}
    return recipe.set_opt_hparams(lr=lr).fit(data, **given | options)


def vector(module: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("clipped", [False, True])
def test_weights_are_those_of_a_loop(clipped: bool) -> None:
    """Accumulated batches of 5 rows, three at a time, are one batch of 15; the average is that of its formula."""
    net, average = line(), vector(line())
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    for _ in range(2):
        for rows in (slice(0, 15), slice(15, 24)) if clipped else [slice(at, at + 5) for at in range(0, 24, 5)]:
            optimizer.zero_grad()
            F.mse_loss(net(x[rows]), y[rows]).backward()
            if clipped:
                nn.utils.clip_grad_norm_(net.parameters(), 0.05)
            optimizer.step()
            average = 0.9 * average + 0.1 * vector(net)
    callbacks: list[lb.Callback] = [Accumulate(3), GradientClip(0.05)] if clipped else [EMA(0.9, warm_up=False)]
    fitted = fit(line, (X, Y), callbacks=callbacks)
    torch.testing.assert_close(vector(fitted.model), vector(net) if clipped else average, rtol=1e-13, atol=1e-15)


@pytest.mark.usefixtures("double")
def test_a_file_of_float64_comes_back_where_float32_is_the_default(tmp_path: Path) -> None:
    fitted = fit(line, (X, Y))
    expected = fitted.predict(torch.from_numpy(X))
    fitted.save(tmp_path / "a.lumbre")
    torch.set_default_dtype(torch.float32)
    again = lb.load(tmp_path / "a.lumbre", line)
    assert torch.equal(vector(again.model), vector(fitted.model))
    assert torch.equal(again.predict(torch.from_numpy(X)), expected)


@pytest.mark.parametrize(("offset", "dtype"), [(1e4, torch.float32), (1e9, torch.float64)])
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_and_errors_of_targets_far_from_zero(offset: float, dtype: torch.dtype, weighted: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, target = (torch.randn(200, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    y = (target + offset).to(dtype)
    pred = y + 0.1 * noise.to(dtype)
    w = torch.arange(200) % 4 / 2.0 if weighted else None
    metrics = [lb.metrics.R2(), lb.metrics.RMSE(), lb.metrics.MAE()]
    fitted = fit(lambda: Shifted().to(dtype), (pred, y), lr=0.0, epochs=1, batch_size=7, metrics=metrics, weights=w)
    found = fitted.evaluate((pred, y), weights=w).metrics
    share = np.ones(200) if w is None else w.double().numpy()
    truth, error = y.double().numpy().ravel(), (pred.double() - y.double()).numpy().ravel()
    square = (share * error**2).sum()
    around = (share * (truth - np.average(truth, weights=share)) ** 2).sum()
    assert found["r2"] == pytest.approx(1 - square / around, abs=2e-7)
    assert found["rmse"] == pytest.approx(np.sqrt(square / share.sum()), rel=1e-6)
    assert found["mae"] == pytest.approx(np.average(abs(error), weights=share), rel=1e-6)
    assert found["loss"] == pytest.approx(square / share.sum(), rel=1e-6)


@pytest.mark.usefixtures("double")
def test_arrays_of_float32_are_numbers_of_the_default_dtype(tmp_path: Path) -> None:
    x, y = X.astype(np.float32), Y.astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    fitted = fit(line, (x, y))
    expected = fit(line, (torch.from_numpy(x).double(), torch.from_numpy(y).double()))
    assert torch.equal(vector(fitted.model), vector(expected.model))
    with torch.no_grad():
        scores = fitted.model(torch.from_numpy(x).double())
    for data in (x, list(x), np.load(tmp_path / "x.npy", mmap_mode="r"), (x, y)):
        torch.testing.assert_close(fitted.predict(data), scores)
    assert fitted.evaluate((x, y)).metrics["loss"] == pytest.approx(F.mse_loss(scores, torch.as_tensor(y)).item())


@pytest.mark.usefixtures("double")
def test_frames_keep_every_digit() -> None:
    frame = pd.DataFrame({"a": X[:, 0] + 1e7, "y": X[:, 1] + 1e8})
    data = lb.data.from_frame(frame, target="y", scale_target=True)
    fitted = fit(lambda: nn.Linear(1, 1), data, loss=lambda pred, target: F.mse_loss(pred.squeeze(), target.squeeze()))
    shown = fitted.compare(frame)
    np.testing.assert_allclose(shown["truth"], frame["y"], rtol=1e-15)
    np.testing.assert_allclose(shown["residual"], frame["y"] - shown["predicted"], rtol=1e-12)


def steep(pred: Tensor, target: Tensor) -> Tensor:
    """Its first gradients overflow in float16, so that the scaler skips these updates."""
    return F.cross_entropy(pred.float() * 3000, target)


class Updates(lb.Callback):
    """Where the weights changed: what counts as an update, and the rate of the next one."""

    def __init__(self) -> None:
        self.made, self.rows = 0, list[tuple[int, int, float]]()

    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        self.before = vector(ctx.model)

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        self.made += not torch.equal(self.before, vector(ctx.model))
        self.rows.append((ctx.step, self.made, ctx.optimizer.param_groups[0]["lr"]))


@pytest.mark.parametrize("schedule", ["torch", "lumbre", "accumulated"])
def test_updates_that_float16_skips_count_for_nobody(schedule: str) -> None:
    x, y = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 3
    halved = LRScheduler(optim.lr_scheduler.ExponentialLR, step_on="batch", gamma=0.5)
    callbacks: dict[str, list[lb.Callback]] = {
        "torch": [halved],
        "lumbre": [LearningRate(lb.schedules.cosine())],
        "accumulated": [Accumulate(2)],
    }
    notes = Updates()
    options: dict[str, Any] = {"precision": "float16", "epochs": 9, "batch_size": 8, "max_steps": 5}
    fit(lambda: nn.Linear(4, 3), (x, y), steep, 1e-6, callbacks=[*callbacks[schedule], notes], **options)
    assert [step for step, _, _ in notes.rows] == [made for _, made, _ in notes.rows]
    assert notes.made == 5 < len(notes.rows)
    if schedule == "torch":
        assert [rate for _, _, rate in notes.rows] == pytest.approx([1e-6 * 0.5**made for _, made, _ in notes.rows])
