"""Pairs after reports of others: of the half that was looked at, each cause is named and each sound twin is left alone.

The other half is only counted, in `make_docs.py`.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from corpus import REPORTED
from corpus.harness import checked, fitted, made
from corpus.program import Case
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb

# What no look before a run tells, or only a run does.
_HARDLY = ("flips_change_the_class", "generator_wants_to_be_found", "labels_shuffled_apart", "scaled_before_the_split")
_IN_A_RUN = ("step_forgets_a_loss", "step_in_evaluation", "triplet_without_margin")
DEVELOPED = [case for case in REPORTED if case.half == "develop" and case.name not in (*_HARDLY, *_IN_A_RUN)]


@pytest.mark.parametrize("case", DEVELOPED, ids=[case.name for case in DEVELOPED])
def test_a_reported_pair(case: Case) -> None:
    assert {code for code, kind in checked(made(case, True, 1)) if kind != "hint"} & set(case.codes)
    assert [one for one in checked(made(case, False, 1)) if one != ("LB031", "hint")] == []


@pytest.mark.parametrize("name", _IN_A_RUN)
def test_what_a_run_says(name: str) -> None:
    (case,) = (one for one in REPORTED if one.name == name)
    assert {code for code, _ in fitted(made(case, True, 1), epochs=2)} & set(case.codes)
    assert fitted(made(case, False, 1), epochs=2) == []


G = torch.Generator().manual_seed(0)
X = torch.randn(300, 8, generator=G)
Y = X[:, :1] + 0.3 * torch.randn(300, 1, generator=G)
KINDS = (X[:, 0] > 0).long()


def codes(
    data: Any, valid: Any = None, loss: Any = None, net: Callable[[], nn.Module] | None = None, **options: Any
) -> list[str]:
    torch.manual_seed(0)
    size, outputs = data[0][0].numel(), 1 if data[1].is_floating_point() else 2
    usual = nn.MSELoss() if data[1].is_floating_point() else nn.CrossEntropyLoss()
    plain = lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, 8), nn.ReLU(), nn.Linear(8, outputs))  # noqa: E731
    recipe = lb.setup(net or plain, loss=loss or usual, optimizer=optim.Adam, metrics=options.pop("metrics", ()))
    found = recipe.check(data, **({} if valid is None else {"valid_data": valid}), **options)
    return [one.code for one in found if one.severity != "hint"]


def standard(x: Tensor) -> Tensor:
    return (x - x.mean(0)) / x.std(0)


def test_validation_scaled_by_itself() -> None:
    assert codes((standard(X[:200]), Y[:200]), (standard(X[200:]), Y[200:])) == ["LB087"]
    low, high = ((one.amin(0), one.amax(0)) for one in (X[:200], X[200:]))
    each = [(one - a) / (b - a) for one, (a, b) in zip((X[:200], X[200:]), (low, high), strict=True)]
    assert codes((each[0], Y[:200]), (each[1], Y[200:])) == ["LB087"]
    by_train = (X - X[:200].mean(0)) / X[:200].std(0)
    assert codes((by_train[:200], Y[:200]), (by_train[200:], Y[200:])) == []
    assert codes((standard(X)[:200], Y[:200]), (standard(X)[200:], Y[200:])) == []  # together, before the split
    cut = (X.clamp(-1, 1) + 1) / 2
    assert codes((cut[:200], Y[:200]), (cut[200:], Y[200:])) == []  # many at both ends


def test_validation_labels_in_another_order() -> None:
    x = X + 2 * KINDS[:, None]
    assert codes((x[:200], KINDS[:200]), (x[200:], 1 - KINDS[200:])) == ["LB088"]
    assert codes((x[:200], KINDS[:200]), (x[200:], KINDS[200:])) == []
    crossed = (X[:, 0] * X[:, 1] > 0).long()  # classes without a middle
    assert codes((X[:200], crossed[:200]), (X[200:], 1 - crossed[200:])) == []


def test_windows_of_one_series() -> None:
    series = torch.randn(400, generator=torch.Generator().manual_seed(1)).cumsum(0) * 0.1
    windows = standard(series.unfold(0, 13, 1).flatten()).reshape(-1, 13)
    x, y, mixed = windows[:, :12, None], windows[:, 12:], torch.randperm(388, generator=G)
    assert codes((x[mixed][:300], y[mixed][:300]), (x[mixed][300:], y[mixed][300:])) == ["LB086"]
    assert codes((x[:300], y[:300]), (x[300:], y[300:])) == []
    assert codes((x[:300], y[:300]), (x[300:325], y[300:325])) == []  # a border that is half of it
    apart = series.unfold(0, 13, 13)
    apart = apart[torch.randperm(len(apart), generator=torch.Generator().manual_seed(2))]
    assert "LB086" not in codes((apart[:15, :12], apart[:15, 12:]), (apart[15:, :12], apart[15:, 12:]))


def test_copies_and_mirror_images() -> None:
    x = torch.rand(240, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    y = x.flatten(1).mean(1, keepdim=True) * 10 - 5
    assert codes((x[:200], y[:200]), (x[:40] + 0.005, y[:40])) == ["LB086"]
    assert codes((x[:200], y[:200]), (x[:40].flip(-1), y[:40])) == ["LB086"]
    assert codes((x[:200], y[:200]), (x[200:], y[200:])) == []
    kinds = x[torch.arange(240) % 4] + 0.01 * x  # rows of a class are alike
    assert codes((kinds[:200], y[:200]), (kinds[200:], y[200:])) == []
    time = torch.rand(300, 1, generator=G) * 30
    curve = torch.cat([torch.sin(time * (at + 1) / 5) for at in range(8)], 1)
    assert codes((curve[:200], Y[:200]), (curve[200:], Y[200:])) == []


def test_inputs_that_are_the_same_in_every_row() -> None:
    assert codes((torch.zeros(300, 3, 4, 4), KINDS)) == ["LB093"]
    assert codes((X[:1].expand(300, 8).clone(), Y)) == ["LB093"]
    one_differs = torch.zeros(300, 3, 4, 4)
    one_differs[150] = 1.0
    assert "LB093" not in codes((one_differs, KINDS))


def test_what_fit_is_told() -> None:
    accuracy = {"metrics": lb.metrics.Accuracy(), "valid_data": 0.2}
    for name, mode, named in (
        ("valid_acc", "min", True),
        ("valid_acc", "max", False),
        ("valid_loss", "max", True),
        ("valid_loss", None, False),
    ):
        for kind in (lb.callbacks.KeepBestModel, lb.callbacks.EarlyStopping):
            said = codes((X, KINDS), callbacks=kind(name, mode=mode), **accuracy)
            assert said == (["LB089"] if named else [])
    assert codes((X, KINDS), callbacks=lb.callbacks.Accumulate(50)) == ["LB092"]
    assert codes((X, KINDS), callbacks=lb.callbacks.Accumulate(10)) == []
    rare = (X[:, 0] + 0.5 * Y[:, 0] > 1.8).long()
    weights = nn.CrossEntropyLoss(weight=300 / rare.bincount().float())
    assert codes((X, rare), sampler="balanced", loss=weights) == ["LB090"]
    assert codes((X, rare), sampler="balanced") == []
    assert codes((X, rare), loss=weights) == []
    assert codes((X, rare), sampler=torch.ones(300), loss=weights) == []


def test_schedules_by_function() -> None:
    def told(schedule: Any) -> list[str]:
        return codes((X, KINDS), epochs=5, callbacks=lb.callbacks.LearningRate(schedule))

    assert told(lambda step, steps: 0.1 ** (step // 3)) == ["LB035"]
    for sound in (lb.schedules.cosine(), lb.schedules.one_cycle(), lb.schedules.linear(warmup=0.5), lambda a, b: 1.0):
        assert told(sound) == []


def test_augmentation_of_pictures_with_masks() -> None:
    vision = lb.vision
    x = torch.rand(64, 3, 12, 12, generator=G)
    masks = (x.mean(1) > 0.5).long()
    net = lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))  # noqa: E731
    flips, light = [vision.RandomHorizontalFlip()], [vision.ColorJitter(0.2)]
    assert codes((x, masks), net=net, augment=vision.Augment(flips)) == ["LB091"]
    assert codes((x, masks), net=net, augment=vision.Augment(flips, target="masks")) == []
    assert codes((x, masks), net=net, augment=vision.Augment(light)) == []


class Own(nn.Module):
    """A loss of its own: two numbers for each row."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.net, self.how = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), how

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def loss(self, pred: Tensor, y: Tensor) -> Tensor:
        mean, spread = pred[:, :1], pred[:, 1:]
        if self.how == "normal":
            return (0.5 * spread + 0.5 * (y - mean).square() * (-spread).exp()).mean()
        if self.how == "apart":
            return (mean * y).mean()
        if self.how == "margin":
            return F.relu(1 + mean * y).mean()
        return (spread.log() + (y - mean).abs() / spread).mean()  # of a spread that may be negative


def found(how: str) -> list[tuple[str, str]]:
    torch.manual_seed(0)
    return [(one.code, one.severity) for one in lb.setup(lambda: Own(how), optimizer=optim.Adam).check((X, Y))]


def test_losses_without_an_end_and_losses_that_are_no_number() -> None:
    assert found("apart") == [("LB094", "hint")]
    assert found("normal") == found("margin") == []
    assert found("raw") == [("LB096", "error")]


def test_a_run_whose_loss_falls_without_end_says_so() -> None:
    def remarks(how: str) -> list[str]:
        recipe = lb.setup(lambda: Own(how), optimizer=optim.Adam).set_opt_hparams(lr=0.01)
        return [line[:5] for line in recipe.fit((X, Y), epochs=3, verbose=False).remarks]

    assert remarks("apart") == ["LB112"]
    assert remarks("normal") == []


def test_a_loss_that_is_no_number_sends_nobody_to_the_rows() -> None:
    recipe = lb.setup(lambda: Own("raw"), optimizer=optim.Adam)
    with pytest.raises(lb.NonFiniteLossError) as caught:
        recipe.fit((X, Y), epochs=1, verbose=False, preflight=False)
    assert "look at these rows" not in str(caught.value)
    assert "predictions are finite" in str(caught.value)
    assert "learning rate" not in str(caught.value)
