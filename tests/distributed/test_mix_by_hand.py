"""Mixup and cutmix in several processes, beside a loop over all rows that takes each loss apart into its rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.callbacks import EMA, Accumulate, CutMix, GradientClip, KeepBestModel, LearningRate, Mixup

pytestmark = pytest.mark.slow
DOUBLE = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def labels(rows: int) -> Tensor:
    return torch.arange(rows) * 7 % 3


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.line(a) - self.line(2 * b)


class Steps(nn.Module):
    """A prediction for each step of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent, self.line = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.line(self.recurrent(x)[0]).transpose(1, 2)


@dataclass
class Case:
    """A run, and what its loss comes to by rows."""

    net: Callable[[], nn.Module]
    data: Any
    loss: Any
    callbacks: tuple[Any, ...] = (Mixup,)
    optimizer: Any = optim.SGD
    weights: Tensor | None = None
    accumulated: int = 1
    clip: float | None = None
    valid: bool = False
    epochs: int = 2


def linear(outputs: int = 3) -> Callable[[], nn.Module]:
    return lambda: nn.Linear(4, outputs)


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(70, 3))


WEIGHTED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 0.2], dtype=DOUBLE))
PLAIN = nn.CrossEntropyLoss()
SOME = torch.where(drawn(10, 6, seed=3) > 0, -100, labels(60).reshape(10, 6))
CASES = {
    "ragged": Case(linear(), (drawn(9, 4), labels(9)), PLAIN),
    "adam": Case(linear(), (drawn(17, 4), labels(17)), PLAIN, optimizer=optim.Adam),
    "class weights": Case(linear(), (drawn(33, 4), labels(33)), WEIGHTED),
    "ignored": Case(linear(), (drawn(6, 4), torch.tensor([-100] * 4 + [1, 2])), WEIGHTED),
    "numbers": Case(linear(2), (drawn(10, 4), drawn(10, 2, seed=1)), nn.MSELoss()),
    "several labels": Case(linear(5), (drawn(10, 4), (drawn(10, 5, seed=1) > 0).double()), nn.BCEWithLogitsLoss()),
    "cutmix": Case(flat, (drawn(9, 2, 5, 7), labels(9)), WEIGHTED, (CutMix,)),
    "now and then": Case(flat, (drawn(9, 2, 5, 7), labels(9)), PLAIN, (lambda: CutMix(p=0.5),), epochs=4),
    "accumulated": Case(linear(), (drawn(21, 4), labels(21)), WEIGHTED, (Mixup, lambda: Accumulate(3)), accumulated=3),
    "steps": Case(Steps, (drawn(10, 6, 4), SOME), WEIGHTED),
    "two inputs": Case(Two, ({"a": drawn(9, 4), "b": drawn(9, 4, seed=2)}, labels(9)), PLAIN),
    "weights": Case(linear(), (drawn(13, 4), labels(13)), WEIGHTED, weights=torch.arange(13) % 4 / 2.0),
    "clipped": Case(linear(), (drawn(17, 4), labels(17)), PLAIN, (Mixup, lambda: GradientClip(0.1)), clip=0.1),
    "schedule": Case(linear(), (drawn(16, 4), labels(16)), PLAIN, (Mixup, lambda: LearningRate(lb.schedules.cosine()))),
    "average": Case(linear(), (drawn(17, 4), labels(17)), PLAIN, (Mixup, lambda: EMA(0.5, warm_up=False))),
    "best": Case(linear(), (drawn(17, 4), labels(17)), PLAIN, (Mixup, KeepBestModel), valid=True),
}


class Notes(lb.Callback):
    """The mixed batches of a process, and the weights at the end of each epoch."""

    def __init__(self) -> None:
        self.batches: list[Any] = []
        self.weights: list[Tensor] = []

    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        self.batches.append(ctx.batch)

    def on_epoch_end(self, ctx: lb.Context) -> None:
        self.weights.append(nn.utils.parameters_to_vector(ctx.model.parameters()).detach().clone())


def built(case: Case) -> nn.Module:
    torch.manual_seed(3)
    return case.net().double()


def trained() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        notes = Notes()
        recipe = lb.setup(lambda case=case: built(case), loss=case.loss, optimizer=case.optimizer)
        fitted = recipe.set_opt_hparams(lr=0.1).fit(
            case.data,
            epochs=case.epochs,
            batch_size=4,
            shuffle=False,
            weights=case.weights,
            valid_data=(drawn(3, 4, seed=5), labels(3)) if case.valid else None,
            callbacks=[*(make() for make in case.callbacks), notes],
            device="cpu",
            preflight=False,
            verbose=False,
        )
        own = (notes.batches, nn.utils.parameters_to_vector(fitted.model.parameters()).detach(), notes.weights)
        every: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(every, own)
        found[name] = every, fitted.history_wide
    return found


def by_rows(loss: Any, pred: Tensor, target: Any, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """The sum of the loss over rows or labels, and what it is divided by."""
    if isinstance(loss, nn.CrossEntropyLoss):
        values = F.cross_entropy(pred, target, weight=loss.weight, reduction="none")
        counts = torch.ones(3, dtype=DOUBLE) if loss.weight is None else loss.weight
        divisors = counts[target.clamp(min=0)] * (target >= 0)
    else:
        one = F.mse_loss if isinstance(loss, nn.MSELoss) else F.binary_cross_entropy_with_logits
        values = one(pred, target, reduction="none").mean(1)
        divisors = torch.ones_like(values)
    if weights is not None:
        values, divisors = values * weights, divisors * weights
    return values.sum(), divisors.sum()


def by_hand(case: Case, ranks: list[list[Any]]) -> Tensor:
    net = built(case)
    optimizer = case.optimizer(net.parameters(), lr=0.1)
    average = nn.utils.parameters_to_vector(net.parameters()).detach().clone()
    steps = len(ranks[0])
    in_epoch, group = steps // case.epochs, list[int]()
    for step in range(steps):
        group.append(step)
        if len(group) < case.accumulated and (step + 1) % in_epoch:
            continue
        if LearningRate in [type(make()) for make in case.callbacks]:
            optimizer.param_groups[0]["lr"] = 0.1 * lb.schedules.cosine()(step, steps)
        total = divisor = torch.zeros((), dtype=DOUBLE)
        for batch in (rank[each] for each in group for rank in ranks if rank[each].size):
            pred = net(**batch.input) if isinstance(batch.input, dict) else net(batch.input)
            other, share = (batch.weighted_target, 1.0) if batch.mixed is None else batch.mixed
            for target, part in ((batch.weighted_target, share), (other, 1 - share)):
                given = target if isinstance(target, tuple) else (target, None)
                values, by = by_rows(case.loss, pred, *given)
                total, divisor = total + part * values, divisor + part * by
        group.clear()
        optimizer.zero_grad()
        (total / divisor if divisor > 0 else 0 * sum(one.sum() for one in net.parameters())).backward()
        if case.clip:
            nn.utils.clip_grad_norm_(net.parameters(), case.clip)
        optimizer.step()
        average = 0.5 * average + 0.5 * nn.utils.parameters_to_vector(net.parameters()).detach()
    return average if EMA in [type(make()) for make in case.callbacks] else _vector(net)


def _vector(net: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


@pytest.mark.parametrize("processes", [2, 3])
def test_mixed_rows_of_several_processes_are_those_of_one_loop(processes: int) -> None:
    for name, (ranks, history) in lb.launch(trained, devices=processes).items():
        case = CASES[name]
        weights = [one[1] for one in ranks]
        assert all(torch.equal(weights[0], one) for one in weights), name
        expected = by_hand(case, [one[0] for one in ranks])
        if case.valid:
            torch.testing.assert_close(ranks[0][2][-1], expected, rtol=1e-12, atol=1e-12)
            expected = ranks[0][2][history["valid_loss"].argmin()]
        torch.testing.assert_close(
            weights[0], expected, rtol=1e-12, atol=1e-12, msg=lambda said, name=name: name + said
        )
