"""Validation and test data go through module and loss before the first epoch."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb

G = torch.Generator().manual_seed(0)
X = torch.randn(300, 6, generator=G)
Y = (X[:, 0] > 0).long()
LINE = X @ torch.randn(6, 1, generator=G)
TRAIN, HELD = slice(0, 200), slice(200, 300)
GAP = torch.where(torch.arange(100)[:, None] == 90, float("nan"), X[HELD])


def classifier(net: Any = None) -> lb.Recipe:
    make = net or (lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2)))
    return lb.setup(make, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)


def codes(recipe: lb.Recipe, data: Any, **options: Any) -> list[str]:
    return [one.code for one in recipe.check(data, **options)]


def loader(*columns: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*columns), batch_size=32)


MISFITS: dict[str, tuple[Any, str]] = {
    "columns": ((X[HELD, :5], Y[HELD]), "LB063"),
    "type": ((X[HELD].double(), Y[HELD]), "LB063"),
    "labels": ((X[HELD], Y[HELD] * 5), "LB063"),
    "a label after the first batch": ((X[HELD], torch.cat([Y[201:], torch.tensor([2])])), "LB063"),
    "labels that are no whole numbers": ((X[HELD], Y[HELD] + 0.5), "LB063"),
    "a loader of labels that are floats": (loader(X[HELD], Y[HELD].float()), "LB063"),
    "no target": (TensorDataset(X[HELD]), "LB063"),
    "two inputs": (((X[HELD], X[HELD]), Y[HELD]), "LB063"),
    "a loader of other columns": (loader(X[HELD, :5], Y[HELD]), "LB063"),
    "gaps": ((GAP, Y[HELD]), "LB064"),
    "gaps in a loader": (loader(GAP, Y[HELD]), "LB064"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_a_misfit_is_said_before_the_first_epoch(name: str) -> None:
    held, code = MISFITS[name]
    assert code in codes(classifier(), (X[TRAIN], Y[TRAIN]), valid_data=held)
    assert code in codes(classifier(), (X[TRAIN], Y[TRAIN]), test_data=held)


@pytest.mark.parametrize(
    "held",
    [
        (X[HELD], Y[HELD]),
        loader(X[HELD], Y[HELD]),
        (X[HELD], Y[HELD].float()),  # rows in memory: class numbers are taken for such, as evaluate() does
        (X[HELD], Y[HELD].bool()),
    ],
)
def test_what_fits_is_fine(held: Any) -> None:
    assert codes(classifier(), (X[TRAIN], Y[TRAIN]), valid_data=held, test_data=held) in ([], ["LB046"])


def test_bytes_beside_floats() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.float() / 255)

    grey = (X * 30 + 128).clamp(0, 255).byte()
    assert codes(classifier(Scaled), (grey[TRAIN], Y[TRAIN]), valid_data=(X[HELD], Y[HELD])) == ["LB064"]
    assert codes(classifier(Scaled), (grey[TRAIN], Y[TRAIN]), valid_data=(grey[HELD], Y[HELD])) == []


def log_cosh(pred: Tensor, target: Tensor) -> Tensor:
    return torch.log(torch.cosh(torch.subtract(pred, target))).mean()


def relative(pred: Tensor, target: Tensor) -> Tensor:
    return (pred / (target.abs() + 1) - target / (target.abs() + 1)).square().mean()


def flat(pred: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(pred.flatten(), target.flatten())


def ranked(pred: Tensor, target: Tensor) -> Tensor:
    """Of rows in the order of their targets, which are (n); the shapes differ, and nothing is stretched."""
    return (pred[target.argsort()] * torch.linspace(1, -1, len(pred))[:, None]).mean()


def squared(pred: Tensor, target: Tensor) -> Tensor:
    return ((pred - target) ** 2).mean()


def line(loss: Any) -> lb.Recipe:
    return lb.setup(lambda: nn.Linear(6, 1), loss=loss, optimizer=optim.Adam)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), squared, log_cosh, relative])
def test_targets_that_are_stretched_in_validation_alone(loss: Any) -> None:
    data = X[TRAIN], LINE[TRAIN]
    assert codes(line(loss), data, valid_data=(X[HELD], LINE[HELD, 0])) == ["LB063"]
    assert codes(line(loss), data, valid_data=(X[HELD], LINE[HELD])) == []
    with pytest.raises(lb.PreflightError, match="LB063"):
        line(loss).fit(data, valid_data=(X[HELD], LINE[HELD, 0]), epochs=1, verbose=False)


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), nn.HuberLoss(), nn.BCEWithLogitsLoss()])
def test_torch_does_not_warn_of_what_the_checks_say(loss: nn.Module) -> None:
    wide, flat = (LINE > 0).float(), (LINE[:, 0] > 0).float()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        line(loss).check((X, flat))
        line(loss).check((X[TRAIN], wide[TRAIN]), valid_data=(X[HELD], flat[HELD]))
    assert not said


@pytest.mark.parametrize("loss", [log_cosh, relative])
def test_targets_that_a_loss_of_ones_own_stretches(loss: Any) -> None:
    assert codes(line(loss), (X, LINE[:, 0])) == ["LB006"]
    assert codes(line(loss), (X, LINE)) == []


@pytest.mark.parametrize("loss", [flat, ranked])
def test_losses_that_take_other_shapes_are_fine(loss: Any) -> None:
    # The second one has no end, which is a hint.
    assert [one for one in codes(line(loss), (X, LINE[:, 0])) if one != "LB094"] == []


def test_the_first_batch_of_a_generator_is_kept() -> None:
    def batches(shift: int) -> Iterator[Any]:
        for part in (slice(200, 232), slice(232, 300)):
            yield X[part], Y[part] + shift

    class Rows(lb.metrics.Metric):
        """Counts rows."""

        name = "Rows"

        def init(self, device: torch.device) -> Tensor:
            return torch.zeros((), device=device)

        def update(self, state: Tensor, pred: Tensor, target: Tensor) -> Tensor:
            return state + len(pred)

        def compute(self, state: Tensor) -> float:
            return float(state)

    data = X[TRAIN], Y[TRAIN]
    assert "LB063" in codes(classifier(), data, valid_data=batches(3))
    recipe = lb.setup(lambda: nn.Linear(6, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=Rows())
    fitted = recipe.fit(data, valid_data=batches(0), epochs=1, verbose=False)
    assert fitted.history_wide.valid_rows.tolist() == [100.0]


class Drawn(torch.utils.data.Dataset):
    """Rows with noise, which is new at each reading, or belongs to the row."""

    def __init__(self, *, anew: bool, target: bool = False) -> None:
        g = torch.Generator().manual_seed(0)
        self.x, self.y = torch.randn(60, 4, generator=g), torch.arange(60) % 3
        self.anew, self.target = anew, target

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = torch.randn(4) if self.anew else torch.full((4,), float(at % 5))
        y = torch.randint(0, 3, ()) if self.target else self.y[at]
        return self.x[at] + 0.1 * noise, y


@pytest.mark.parametrize("loader", [False, True])
def test_validation_rows_that_are_drawn_by_chance(loader: bool) -> None:
    def found(valid: Drawn) -> list[str]:
        recipe = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        given = torch.utils.data.DataLoader(valid, batch_size=20) if loader else valid
        return [one.code for one in recipe.check(Drawn(anew=True), valid_data=given, ignore=("LB041", "LB042"))]

    assert found(Drawn(anew=True)) == ["LB080"]
    assert found(Drawn(anew=False)) == []
    assert found(Drawn(anew=True, target=True)) == []  # simulated rows, each with its own target


class Again(torch.utils.data.Dataset[Any]):
    """Rows that are meant to be others each time: `kind` says why."""

    def __init__(self, kind: str) -> None:
        self.kind, self.x = kind, torch.randn(60, 4, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, at: int) -> tuple[Any, torch.Tensor]:
        x, y = self.x[at] + 0.1 * torch.randn(4), self.x[at] + 0.1 * torch.randn(4)
        return {
            "noise to take away": (x, self.x[at]),
            "two views": ((x, y), torch.tensor(float(at))),
            "points of an equation": (x, torch.zeros(1)),
        }[self.kind]


@pytest.mark.parametrize("kind", ["noise to take away", "two views", "points of an equation"])
def test_rows_that_are_meant_to_be_drawn_anew(kind: str) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, *x: torch.Tensor) -> torch.Tensor:
            return sum(self.layer(one) for one in x)  # pyright: ignore[reportReturnType]

    def loss(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ((pred - target.reshape(len(target), -1)) ** 2).mean()

    recipe = lb.setup(Two, loss=loss, optimizer=optim.Adam)
    found = recipe.check(Again(kind), valid_data=Again(kind), ignore=("LB041", "LB042"))
    assert "LB080" not in [one.code for one in found]


def test_channels_that_have_changed_places() -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, 8, 8, generator=g) * 0.5 + torch.tensor([0.0, 0.2, 0.4])[:, None, None]
    y = torch.arange(200) % 3

    def found(valid: torch.Tensor) -> list[str]:
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        return [one.code for one in recipe.check((x[:140], y[:140]), valid_data=(valid, y[140:]))]

    assert found(x[140:].flip(1)) == ["LB042"]
    assert found(x[140:]) == []
