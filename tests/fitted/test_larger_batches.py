"""Without a batch size: larger batches where no number depends on it, and those of the training elsewhere."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import Dataset

import lumbre as lb

ROWS, SIZE = 1000, 8


def rows(width: int = 6) -> tuple[Tensor, Tensor]:
    x = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(0))
    return x, (x.sum(1) > 0).long()


def fitted(net: Any, *, loss: Any = None, metrics: Any = ()) -> lb.Fitted:
    recipe = lb.setup(net, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=metrics)
    x, y = rows()
    return recipe.fit((x[:64], y[:64]), epochs=1, batch_size=SIZE, verbose=False, preflight=False)


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


class Sizes(lb.Callback):
    def __init__(self) -> None:
        self.seen: list[int] = []

    def on_predict_batch_end(self, ctx: lb.Context) -> None:
        self.seen.append(ctx.batch.size)  # pyright: ignore

    def on_evaluate_batch_end(self, ctx: lb.Context) -> None:
        self.seen.append(ctx.batch.size)  # pyright: ignore


def sizes_of(model: lb.Fitted, data: Any, *, judged: bool = False, **options: Any) -> list[int]:
    heard = Sizes()
    (model.evaluate if judged else model.predict)(data, callbacks=heard, **options)
    return heard.seen


def test_the_numbers_are_those_of_the_batches_of_the_training() -> None:
    model, (x, y) = fitted(plain, metrics=[lb.metrics.Accuracy(), lb.metrics.F1()]), rows()
    assert sizes_of(model, x) == [ROWS]
    assert sizes_of(model, (x, y), judged=True) == [ROWS]
    torch.testing.assert_close(model.predict(x), model.predict(x, batch_size=SIZE), rtol=0, atol=2e-6)
    small = model.evaluate((x, y), batch_size=SIZE).metrics
    assert model.evaluate((x, y)).metrics == pytest.approx(small, rel=1e-6)
    frame, before = model.compare((x, y)), model.compare((x, y), batch_size=SIZE)
    assert frame["predicted"].equals(before["predicted"])
    assert frame["loss"].to_numpy() == pytest.approx(before["loss"].to_numpy(), rel=1e-5, abs=1e-6)


def test_a_size_that_was_given_is_kept() -> None:
    model, (x, y) = fitted(plain), rows()
    assert sizes_of(model, x, batch_size=250) == [250] * 4
    assert sizes_of(model, (x, y), judged=True, batch_size=100) == [100] * 10


def test_few_rows_are_not_looked_at() -> None:
    model, (x, _) = fitted(plain), rows()
    assert sizes_of(model, x[:20]) == [8, 8, 4]


def test_data_sets_and_loaders_keep_theirs() -> None:
    class Own(Dataset[Any]):
        def __len__(self) -> int:
            return ROWS

        def __getitem__(self, row: int) -> Tensor:
            return rows_[row]

    model, (rows_, _) = fitted(plain), rows()
    assert set(sizes_of(model, Own())) == {SIZE}
    assert set(sizes_of(model, torch.utils.data.DataLoader(Own(), batch_size=50))) == {50}


class ByBatch(nn.Module):
    """A row's output has to do with the rows beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.norm = nn.Linear(6, 2), nn.BatchNorm1d(2, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.net(x))


class ByChance(nn.Module):
    """Dropout that goes on after training."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.net(x), training=True)


class Turning(nn.Module):
    """It carries something from batch to batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.calls = nn.Linear(6, 2), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x) + self.calls


@pytest.mark.parametrize("net", [ByBatch, ByChance, Turning])
def test_what_depends_on_the_batch_stays_in_those_of_the_training(net: Any) -> None:
    model, other, (x, _) = fitted(net), fitted(net), rows()
    assert torch.equal(model.predict(x), other.predict(x, batch_size=SIZE))


def test_hooks_hear_of_each_batch_of_the_training() -> None:
    model, (x, _), heard = fitted(plain), rows(), list[int]()
    model.model.register_forward_hook(lambda module, given, output: heard.append(len(output)))
    model.predict(x)
    assert heard == [SIZE] * (ROWS // SIZE)


def largest(pred: Tensor, target: Tensor) -> Tensor:
    """A loss that is no mean over rows."""
    return nn.functional.cross_entropy(pred, target, reduction="none").max()


class OfBatches(lb.metrics.Metric):
    """A mean over batches, which says how many there were."""

    def init(self, device: Any) -> Tensor:
        return torch.zeros((), device=device)

    def update(self, state: Tensor, pred: Any, target: Any) -> Tensor:
        return state + 1

    def compute(self, state: Tensor) -> float:
        return state.item()


@pytest.mark.parametrize("options", [{"loss": largest}, {"metrics": [OfBatches()]}], ids=["loss", "metric"])
def test_loss_and_metrics_that_depend_on_the_batch(options: dict[str, Any]) -> None:
    model, (x, y) = fitted(plain, **options), rows()
    assert set(sizes_of(model, (x, y), judged=True)) == {SIZE}
    assert sizes_of(model, x) == [ROWS]


@pytest.mark.parametrize("width", [64, 1024, 4096])
def test_the_largest_tensor_of_a_pass_is_bounded(width: int) -> None:
    model = fitted(lambda: nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2)))
    seen = sizes_of(model, rows()[0])
    assert sum(seen) == ROWS
    assert max(seen) * width * 4 <= 1 << 21
    assert max(seen) == min(ROWS, (1 << 21) // (width * 4))


def test_inputs_of_several_parts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(6, 2)

        def forward(self, right: Tensor, left: Tensor) -> Tensor:
            return self.net(left) - right

    x, y = rows()
    recipe = lb.setup(Two, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    data = {"left": x, "right": x[:, :2]}
    short = {name: part[:64] for name, part in data.items()}
    model = recipe.fit((short, y[:64]), epochs=1, batch_size=SIZE, verbose=False, preflight=False)
    assert sizes_of(model, (data, y), judged=True) == [ROWS]
    torch.testing.assert_close(model.predict((data, None)), model.predict((data, None), batch_size=SIZE))
