"""The loss of rows is one number, however processes share them: shares that are uneven, empty, padding, or ignored."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import start
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

CLASSES, WIDTH, RATE = 3, 4, 0.1
WEIGHTS = torch.tensor([0.2, 5.0, 1.0], dtype=torch.float64)


class Proxies(nn.Module):
    """A loss with parameters, which are trained with the net's."""

    def __init__(self) -> None:
        super().__init__()
        self.proxies = nn.Parameter(torch.linspace(-1, 1, 2 * CLASSES, dtype=torch.float64).view(2, CLASSES))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(pred[:, :2] @ self.proxies, target)


class Sigma(nn.Module):
    """The same by row, so that rows may have weights."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return ((pred - target).square() * torch.exp(-self.log_sigma) + self.log_sigma).mean(1)


def by_rows(pred: Tensor, target: Tensor) -> Tensor:
    return (pred - target).abs().sum(1)


class Tokens(nn.Module):
    """Scores of shape (rows, classes, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, CLASSES * 5, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).unflatten(1, (CLASSES, 5))


def net() -> nn.Module:
    return nn.Linear(WIDTH, CLASSES, dtype=torch.float64)


@dataclass
class Case:
    """A loss and rows for it.

    Attributes:
        loss: makes the loss.
        target: gives the target of `rows` rows.
        right: the loss of all rows with their weights, by hand; None for the loss itself.
        weighted: rows have weights.
        module: makes the net.
    """

    loss: Callable[[], Any]
    target: Callable[[int, torch.Generator], Tensor]
    right: Callable[[Any, Tensor, Tensor, Tensor], Tensor] | None = None
    weighted: bool = False
    module: Callable[[], nn.Module] = net


def labels(rows: int, g: torch.Generator) -> Tensor:
    return torch.randint(0, CLASSES, (rows,), generator=g)


def some_ignored(rows: int, g: torch.Generator) -> Tensor:
    """Every second group of four rows has nothing but ignored labels: whole batches and whole shares."""
    y = labels(rows, g)
    y[torch.arange(rows) // 4 % 2 == 1] = -100
    return y


def tokens(rows: int, g: torch.Generator) -> Tensor:
    y = torch.randint(0, CLASSES, (rows, 5), generator=g)
    y[torch.arange(5) >= torch.randint(0, 6, (rows, 1), generator=g)] = -100
    return y


def numbers(rows: int, g: torch.Generator) -> Tensor:
    return torch.randn(rows, CLASSES, generator=g, dtype=torch.float64)


def of_classes(loss: Any, pred: Tensor, y: Tensor, w: Tensor) -> Tensor:
    by = w * (torch.ones(CLASSES, dtype=torch.float64) if loss.weight is None else loss.weight)[y.clamp(min=0)]
    kept = y != loss.ignore_index
    values = F.cross_entropy(pred, y, weight=loss.weight, ignore_index=loss.ignore_index, reduction="none")
    return (values * w)[kept].sum() / by[kept].sum()


def of_tokens(loss: Any, pred: Tensor, y: Tensor, w: Tensor) -> Tensor:
    values = F.cross_entropy(pred, y, reduction="none")
    return (values * w[:, None]).sum() / ((y != -100) * w[:, None]).sum()


def of_numbers(loss: Any, pred: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return ((pred - y).square().mean(1) * w).sum() / w.sum()


def of_rows(loss: Any, pred: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return (loss(pred, y) * w).sum() / w.sum()


cross_entropy = functools.partial(nn.CrossEntropyLoss, weight=WEIGHTS)
CASES = {
    "mean": Case(nn.MSELoss, numbers),
    "classes": Case(nn.CrossEntropyLoss, labels),
    "class weights": Case(cross_entropy, labels),
    "ignored": Case(nn.CrossEntropyLoss, some_ignored),
    "an ignored class, weights, smoothed": Case(lambda: cross_entropy(ignore_index=0, label_smoothing=0.1), labels),
    "a partial": Case(lambda: functools.partial(F.cross_entropy, weight=WEIGHTS, ignore_index=1), labels),
    "tokens": Case(nn.CrossEntropyLoss, tokens, module=Tokens),
    "sum": Case(lambda: cross_entropy(reduction="sum"), labels),
    "batchmean": Case(lambda: nn.KLDivLoss(reduction="batchmean"), lambda n, g: numbers(n, g).softmax(1)),
    "pos_weight": Case(lambda: nn.BCEWithLogitsLoss(pos_weight=WEIGHTS), lambda n, g: (numbers(n, g) > 0).double()),
    "parameters": Case(Proxies, labels),
    "rows with weights": Case(nn.MSELoss, numbers, of_numbers, weighted=True),
    "classes and rows with weights": Case(cross_entropy, some_ignored, of_classes, weighted=True),
    "tokens of rows with weights": Case(nn.CrossEntropyLoss, tokens, of_tokens, weighted=True, module=Tokens),
    "parameters, rows with weights": Case(Sigma, numbers, of_rows, weighted=True),
    "a function of rows": Case(lambda: by_rows, numbers, of_rows, weighted=True),
}
CUTS = {2: [(11, 3)], 3: [(10, 10), (11, 4), (5, 1)]}  # by processes: rows, and how many of them in a batch
SHARDED = ("class weights", "tokens", "classes and rows with weights")


def rows_of(case: Case, rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
    g = torch.Generator().manual_seed(rows)
    x, y = torch.randn(rows, WIDTH, generator=g, dtype=torch.float64), case.target(rows, g)
    w = torch.rand(rows, generator=g, dtype=torch.float64) * 3
    w[1::3] = 0
    return x, y, w if case.weighted else None


def fit(case: Case, rows: int, batch_size: int, *, rate: float = RATE, **options: Any) -> lb.Fitted:
    """One update with all rows."""
    x, y, w = rows_of(case, rows)
    callbacks = [lb.callbacks.Accumulate(-(-rows // batch_size))] if batch_size < rows else []
    recipe = lb.setup(case.module, loss=case.loss(), optimizer=optim.SGD).set_opt_hparams(lr=rate)
    options = {"weights": w, "shuffle": False, "preflight": False, "verbose": False, "device": "cpu", **options}
    return recipe.fit((x, y), epochs=1, batch_size=batch_size, callbacks=callbacks, **options)


def parts_of(fitted: lb.Fitted) -> list[nn.Parameter]:
    modules = [one for one in (fitted.model, fitted.loss) if isinstance(one, nn.Module)]
    return [parameter for module in modules for parameter in module.parameters()]


def loss_of(case: Case, rows: int, fitted: lb.Fitted) -> Tensor:
    """Of all rows at once, by hand."""
    x, y, w = rows_of(case, rows)
    loss: Any = fitted.loss
    pred = fitted.model(x)
    return loss(pred, y) if case.right is None or w is None else case.right(loss, pred, y, w)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("processes", CUTS)
def test_any_cut_among_processes_gives_the_loss_and_the_update_of_all_rows(processes: int, tmp_path: Path) -> None:
    todo = [(name, *cut, None) for name in CASES for cut in CUTS[processes]]
    todo += [(name, 10, 3, "fsdp") for name in SHARDED]

    def work(rank: int) -> None:
        for number, (name, rows, batch_size, strategy) in enumerate(todo):
            fitted = fit(CASES[name], rows, batch_size, strategy=strategy)
            x, y, w = rows_of(CASES[name], rows)
            judged = fitted.evaluate((x, y), weights=w, batch_size=batch_size).metrics["loss"]
            torch.save(([one.detach() for one in parts_of(fitted)], judged), tmp_path / f"{number}-{rank}.pt")

    ranks = start(processes, work, tmp_path / "logs")
    assert ranks.ended() == [0] * processes, [ranks.reported(rank) for rank in range(processes)]
    for number, (name, rows, batch_size, strategy) in enumerate(todo):
        case, what = CASES[name], f"{name}: {rows} rows in batches of {batch_size}, {strategy}. "
        begun = fit(case, rows, rows, rate=0.0)
        right = torch.autograd.grad(loss_of(case, rows, begun), parts_of(begun))
        for rank in range(processes):
            moved, judged = torch.load(tmp_path / f"{number}-{rank}.pt")
            for one, other, gradient in zip(moved, parts_of(begun), right, strict=True):
                found = (other.detach() - one) / RATE
                torch.testing.assert_close(
                    found, gradient, rtol=1e-6, atol=1e-9, msg=lambda text, what=what: what + text
                )
        for parameter, value in zip(parts_of(begun), torch.load(tmp_path / f"{number}-0.pt")[0], strict=True):
            parameter.data.copy_(value)
        loss = loss_of(case, rows, begun).item()
        by = rows if getattr(begun.loss, "reduction", "") == "sum" else 1
        assert judged == pytest.approx(loss / by, rel=1e-6), what
