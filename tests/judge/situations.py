"""Sound models and clear faults, one of each for every check after training; each says whether the check speaks.

What a check looks at is given to the function that judges it: histories, errors and probabilities of small nets, or
numbers that are drawn. tests/fitted/test_review.py has each check through the public API.
"""

import zlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import optuna
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.fitted import _review, _review_classes
from lumbre.trials._review import unstable
from lumbre.tune._review import towards_edges


class Situation(NamedTuple):
    """A check with what it is tried on.

    Attributes:
        code: of the check.
        name: what the table calls the situation.
        alarms: of so many seeds, in how many the check speaks.
        seeds: how many.
        fault: whether it should.
    """

    code: str
    name: str
    alarms: Callable[[int], int]
    seeds: int
    fault: bool = False


def each(alarm: Callable[[int], bool]) -> Callable[[int], int]:
    """One seed after the other."""
    return lambda seeds: sum(alarm(seed) for seed in range(seeds))


def tables(name: str, seeds: int, rows: int, columns: int, share: float, *, classes: bool = False, alike: float = 0.0):
    """Inputs (seeds, rows, columns), and targets that they explain up to `share`: numbers, or two classes.

    Args:
        name: of the stream of random numbers.
        alike: correlation of the inputs.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    common = torch.randn(seeds, rows, 1, generator=generator)
    x = alike**0.5 * common + (1 - alike) ** 0.5 * torch.randn(seeds, rows, columns, generator=generator)
    signal = (x * (0.5 + 0.5 * torch.rand(seeds, 1, columns, generator=generator))).sum(2)
    signal = (signal - signal.mean(1, keepdim=True)) / signal.std(1, keepdim=True)
    y = share**0.5 * signal + (1 - share) ** 0.5 * torch.randn(seeds, rows, generator=generator)
    return x, (y > 0).long() if classes else y


class Nets(nn.Module):
    """A net of one hidden layer for each seed, all trained at once by Adam: each as it would be alone."""

    def __init__(self, x: Tensor, y: Tensor, width: int) -> None:
        super().__init__()
        self.classes, (seeds, _, columns) = not y.is_floating_point(), x.shape
        torch.manual_seed(0)
        sizes = (columns, width, int(y.max()) + 1 if self.classes else 1)
        for name, (d_in, d_out) in zip(("first", "last"), pairwise(sizes), strict=True):
            bound = d_in**-0.5
            setattr(self, name, nn.Parameter(torch.empty(seeds, d_in, d_out).uniform_(-bound, bound)))
            setattr(self, f"{name}_bias", nn.Parameter(torch.empty(seeds, 1, d_out).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.first + self.first_bias).tanh() @ self.last + self.last_bias

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """The mean loss of each net, (seeds,)."""
        pred = self(x)
        rows = F.cross_entropy(pred.transpose(1, 2), y, reduction="none") if self.classes else (pred[..., 0] - y) ** 2
        return rows.mean(1)

    def fit(self, x: Tensor, y: Tensor, valid: tuple[Tensor, Tensor], epochs: int, lr: float, batch: int):
        """Losses of training and validation, each (epochs, seeds)."""
        optimizer, seen = optim.Adam(self.parameters(), lr), []
        for _ in range(epochs):
            parts = torch.randperm(x.shape[1]).split(batch)
            of_train = torch.zeros(len(x))
            for rows in parts:
                optimizer.zero_grad()
                losses = self.losses(x[:, rows], y[:, rows])
                losses.sum().backward()
                optimizer.step()
                of_train += losses.detach() * len(rows) / x.shape[1]
            with torch.no_grad():
                seen.append((of_train, self.losses(*valid)))
        train, valid_losses = (torch.stack(one) for one in zip(*seen, strict=True))
        return train, valid_losses


def halves(count: int, measure: Callable[[int, bool], int]) -> int:
    """Half of the seeds with numbers as targets, half with classes."""
    return measure(count // 2, False) + measure(count - count // 2, True)


def over_fit(seeds: int, rows: int, width: int, epochs: int, columns: int) -> int:
    """Nets trained on `rows` rows, with 500 to validate on."""

    def measure(count: int, classes: bool) -> int:
        x, y = tables(f"over-fit {rows}", count, rows + 500, columns, 0.6, classes=classes)
        nets = Nets(x, y, width)
        train, valid = nets.fit(x[:, :rows], y[:, :rows], (x[:, rows:], y[:, rows:]), epochs, 0.01, max(rows // 8, 30))
        return sum(_review.over_fit(a.tolist(), b.tolist()) is not None for a, b in zip(train.T, valid.T, strict=True))

    return halves(seeds, measure)


def constant(seeds: int, share: float) -> int:
    """Nets of 8 units, 1,000 rows to train on and 200 to judge on, of whose target so much can be explained."""

    def measure(count: int, classes: bool) -> int:
        x, y = tables(f"constant {share}", count, 1200, 4, share, classes=classes)
        nets = Nets(x, y, 8)
        old, new = (x[:, :1000], y[:, :1000]), (x[:, 1000:], y[:, 1000:])
        nets.fit(*old, new, 10, 0.01, 50)
        with torch.no_grad():
            pred = nets(new[0])
        truth = torch.eye(2)[new[1]] if classes else new[1][..., None]
        pred = pred.softmax(2) if classes else pred
        own, other = (((one - truth) ** 2).sum(2).numpy() for one in (pred, truth.mean(1, keepdim=True)))
        return sum(_review.no_better(a, b, np.ones(200)) is not None for a, b in zip(own, other, strict=True))

    return halves(seeds, measure)


def folds_sound(seeds: int) -> int:
    """Five folds of 200 rows, nets of 8 units."""

    def measure(count: int, classes: bool) -> int:
        x, y = tables("folds", count, 200, 4, 0.5, classes=classes)
        errors = []
        for fold in torch.arange(200).split(40):
            rest = torch.ones(200, dtype=torch.bool)
            rest[fold] = False
            nets = Nets(x, y, 8)
            nets.fit(x[:, rest], y[:, rest], (x[:, fold], y[:, fold]), 15, 0.02, 20)
            with torch.no_grad():
                pred = nets(x[:, fold])
            rows = F.cross_entropy(pred.transpose(1, 2), y[:, fold], reduction="none") if classes else None
            errors.append((pred[..., 0] - y[:, fold]) ** 2 if rows is None else rows)
        return sum(unstable([one[number].numpy() for one in errors]) for number in range(count))

    return halves(seeds, measure)


def folds_drawn(seed: int) -> bool:
    """Errors with a heavy tail, 5 folds of 20 to 400 rows."""
    random = np.random.default_rng(seed)
    return unstable([random.lognormal(0, 1.5, random.integers(20, 400)) for _ in range(5)])


def folds_fault(seed: int) -> bool:
    """One fit of five has learned nothing: its errors are those of a constant, four times as large on average."""
    random = np.random.default_rng(seed)
    errors = [random.normal(0, 0.5, 40) ** 2 for _ in range(5)]
    errors[seed % 5] = random.normal(0, 1, 40) ** 2
    return unstable(errors)


def golden(seeds: int, share: float, *, leak: bool) -> int:
    """Least squares on 600 rows; 300 are judged. With a leak one input is the target with 5 % of noise."""
    x, y = tables(f"golden {leak}", seeds, 900, 4, share)
    if leak:
        noise = 0.05 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        x = torch.cat([x, (y + noise)[..., None]], 2)
    weights = torch.linalg.lstsq(x[:, :600], y[:, :600, None]).solution
    x, y, pred = x[:, 600:].numpy(), y[:, 600:].numpy(), (x[:, 600:] @ weights)[..., 0].numpy()
    net = 1 - ((y - pred) ** 2).sum(1) / ((y - y.mean(1, keepdims=True)) ** 2).sum(1)
    return sum(
        any(_review.is_golden(_review.explained_alone(column, y[seed]), net[seed]) for column in x[seed].T)
        for seed in range(seeds)
    )


def useless(seed: int, noise: int) -> bool:
    """A linear net of four inputs that matter and `noise` that do not; 500 rows to train on, 500 to judge on.

    Of a fault the alarm is right where it names all of the useless inputs and no other.
    """
    x, y = tables(f"useless {seed}", 1, 1000, 4, 0.5)
    x = torch.cat([x[0], torch.randn(1000, noise, generator=torch.Generator().manual_seed(seed))], 1)
    y = y[0, :, None]
    recipe = lb.setup(partial(nn.Linear, 4 + noise, 1), loss=nn.MSELoss(), optimizer=optim.LBFGS)
    fitted = recipe.fit((x[:500], y[:500]), epochs=3, batch_size=500, verbose=False, preflight=False)
    named = _review_classes.useless_features(fitted.importance((x[500:], y[500:])).values)
    return bool(named) if not noise else set(named) == set(range(4, 4 + noise))


def at_edge(seed: int, optimum: float | None) -> bool:
    """A search of 20 trials by TPE: one value is best at `optimum`, or does not matter; another is best inside."""
    random = np.random.default_rng(seed)
    inside, noise = random.uniform(0.3, 0.7), random.normal(0, 0.03, 20)

    def value(trial: optuna.Trial) -> float:
        one, two = (trial.suggest_float(name, 0, 1) for name in ("one", "two"))
        of_one = 0.0 if optimum is None else (one - optimum) ** 2
        return of_one + (two - inside) ** 2 + float(noise[trial.number])

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(value, n_trials=20)
    places = np.array([[one.params["one"], one.params["two"]] for one in study.trials])
    found = towards_edges(np.array([one.value for one in study.trials]), places)
    return found == [(0, True)] if optimum is not None and optimum > 1 else bool(found)


def never_predicted(seed: int, *, fault: bool) -> bool:
    """Discriminant analysis of 500 rows; a class of 5 % lies two standard deviations from the rest, or is unknown."""
    random = np.random.default_rng(seed)
    truth = (random.random(500) < 0.05).astype(int)
    place = random.normal(2 * truth, 1)
    predicted = (place > 1 + np.log(19) / 2).astype(int) * (not fault)
    return bool(_review_classes.never_predicted(truth, predicted, 2))


def calibrated_drawn(seed: int, power: float) -> bool:
    """Three classes, 200 to 2,000 rows, right as often as they say; then scores times `power`."""
    random = np.random.default_rng(seed)
    shares = random.dirichlet([0.7] * 3, random.integers(200, 2001))
    truth = (shares.cumsum(1) < random.random((len(shares), 1))).sum(1)
    said = shares**power / (shares**power).sum(1, keepdims=True)
    seen = _review_classes.miscalibrated(said.max(1), said.argmax(1) == truth, np.ones(len(said)))
    return seen is not None


def calibrated_nets(seeds: int, rows: int, width: int, epochs: int) -> int:
    """Nets of two classes trained on so many rows, judged on 500."""
    x, y = tables(f"calibrated {rows}", seeds, rows + 500, 6, 0.5, classes=True)
    nets = Nets(x, y, width)
    new = x[:, rows:], y[:, rows:]
    nets.fit(x[:, :rows], y[:, :rows], new, epochs, 0.01, 50)
    with torch.no_grad():
        top = nets(new[0]).softmax(2).max(2)
    right = (top.indices == new[1]).numpy()
    judged = (_review_classes.miscalibrated(a, b, np.ones(500)) for a, b in zip(top.values.numpy(), right, strict=True))
    return sum(one is not None for one in judged)


SITUATIONS = [
    Situation("LB131", "1,500 rows for 8 units", lambda seeds: over_fit(seeds, 1500, 8, 25, 4), 400),
    Situation("LB131", "60 rows for 64 units", lambda seeds: over_fit(seeds, 60, 64, 150, 8), 100, fault=True),
    Situation("LB132", "15 % can be explained, 200 rows", lambda seeds: constant(seeds, 0.15), 400),
    Situation("LB132", "inputs say nothing", lambda seeds: constant(seeds, 0.0), 200, fault=True),
    Situation("LB133", "5 folds of 200 rows", folds_sound, 400),
    Situation("LB133", "errors drawn with a heavy tail", each(folds_drawn), 1000),
    Situation("LB133", "one fit of five learned nothing", each(folds_fault), 100, fault=True),
    Situation("LB134", "four inputs explain 97 %", lambda seeds: golden(seeds, 0.97, leak=False), 400),
    Situation("LB134", "the target as an input", lambda seeds: golden(seeds, 0.5, leak=True), 100, fault=True),
    Situation("LB135", "four inputs matter", each(lambda seed: useless(seed, 0)), 100),
    Situation("LB135", "two of six are noise", each(lambda seed: useless(seed, 2)), 100, fault=True),
    Situation("LB136", "best inside", each(lambda seed: at_edge(seed, 0.5)), 200),
    Situation("LB136", "one value does not matter", each(lambda seed: at_edge(seed, None)), 200),
    Situation("LB136", "best far outside", each(lambda seed: at_edge(seed, 1.5)), 100, fault=True),
    Situation("LB137", "a class of 5 %", each(partial(never_predicted, fault=False)), 1000),
    Situation("LB137", "that class is unknown", each(partial(never_predicted, fault=True)), 100, fault=True),
    Situation("LB138", "drawn as they say", each(lambda seed: calibrated_drawn(seed, 1)), 400),
    Situation("LB138", "1,500 rows for 8 units", lambda seeds: calibrated_nets(seeds, 1500, 8, 10), 200),
    Situation("LB138", "scores times 2.5", each(lambda seed: calibrated_drawn(seed, 2.5)), 100, fault=True),
    Situation("LB138", "200 rows for 64 units", lambda seeds: calibrated_nets(seeds, 200, 64, 150), 100, fault=True),
]
