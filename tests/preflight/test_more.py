"""Further pairs after threads: causes that checks name, and what had been a false alarm.

The quick tests take the pairs whose checks were added or extended with them; no test runs those of the other half.
"""

import warnings

import pytest
import torch
from corpus.asked import labels_of, rows, setup
from corpus.found_sound import Judged, Own, mlp, noise
from corpus.harness import checked, fitted, made
from corpus.more import MORE
from corpus.program import Case, Program
from torch import Tensor, nn, optim
from torch.nn import functional as F

# What no look before a run tells, or what is a hint.
_HARDLY = (
    "better_item_ranked_below",
    "body_frozen_but_for_its_statistics",
    "columns_of_pixels_scaled_for_channels",
    "labels_of_rows_sorted_by_length",
    "mean_over_channels_and_rows_of_pixels",
    "rows_scaled_for_columns",
    "same_and_different_change_places",
)
_QUICK = (
    "hinge_of_zeros_and_ones",
    "mask_for_a_full_batch",
    "same_optimizer_steps_twice",
    "schedule_with_a_factor_of_zero",
    "shortcut_of_an_overwritten_input",
    "spread_costs_nothing",
    "terms_gathered_by_tensor",
    "weights_detached_before_their_penalty",
)
DEVELOPED = [case for case in MORE if case.half == "develop" and case.name not in _HARDLY]


@pytest.mark.parametrize(
    "case",
    [case if case.name in _QUICK else pytest.param(case, marks=pytest.mark.slow) for case in DEVELOPED],
    ids=[case.name for case in DEVELOPED],
)
def test_a_pair(case: Case) -> None:
    assert any(code in case.codes and kind != "hint" for code, kind in checked(made(case, True, 1)))
    assert [one for one in checked(made(case, False, 1)) if one[1] != "hint"] == []


def warned(program: Program) -> list[str]:
    torch.manual_seed(1)
    return [code for code, kind in checked(program) if kind != "hint"]


def pairs_of_rows() -> tuple[tuple[Tensor, Tensor], Tensor]:
    kind = torch.arange(300) % 5, torch.arange(300) % 3
    centres = 2 * noise(5, 6, seed=9)
    return (centres[kind[0]] + noise(300, 6), centres[kind[1]] + noise(300, 6, seed=3)), (kind[0] != kind[1]).float()


def contrastive(far: Tensor, y: Tensor) -> Tensor:
    return ((1 - y) * far.square() + y * F.relu(1 - far).square()).mean()


def siamese() -> Program:
    return Program(
        setup(lambda: Own(lambda m, a, b: F.pairwise_distance(m.f(a), m.f(b)), f=mlp(6, 24, 4)), contrastive, lr=0.01),
        pairs_of_rows(),
        {},
    )


def test_distances_are_no_raw_scores() -> None:
    assert warned(siamese()) == []


def test_a_bias_that_the_loss_subtracts_from_itself_is_no_remark() -> None:
    torch.manual_seed(1)
    assert "LB107" not in [code for code, _ in fitted(siamese(), epochs=4)]


@pytest.mark.parametrize("mixed", [True, False])
def test_rows_that_are_mixed_with_their_targets(mixed: bool) -> None:
    def loss(m: nn.Module, scores: Tensor, y: Tensor) -> Tensor:
        if not (m.training and mixed):
            return F.cross_entropy(scores, y)
        return 0.7 * F.cross_entropy(scores, y) + 0.3 * F.cross_entropy(scores, y.flip(0))

    net = lambda: Judged(lambda m, x: m.f(0.7 * x + 0.3 * x.flip(0) if m.training else x), loss, f=mlp(6, 32, 4))  # noqa: E731
    x = rows(300, 6)
    assert warned(Program(setup(net), (x, labels_of(x, 4)), {})) == ([] if mixed else ["LB085"])


class Recurrent(nn.Module):
    """A state that is made for one number of rows, or for as many as come."""

    def __init__(self, rows: int | None) -> None:
        super().__init__()
        self.rows, self.rnn, self.out = rows, nn.GRU(3, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        state = torch.zeros(1, self.rows or len(x), 8)
        return self.out(self.rnn(x, state)[0][:, -1])


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (64, {}, ["LB003"]),
        (None, {}, []),
        (64, {"drop_last": True}, []),
    ],
    ids=["fixed", "any", "left_out"],
)
def test_a_last_batch_that_is_smaller(rows: int | None, options: dict[str, bool], expected: list[str]) -> None:
    x = noise(200, 6, 3)
    data = x, (x[:, :, 0].sum(1) > 0).long()
    recipe = setup(lambda: Recurrent(rows), nn.CrossEntropyLoss())
    found = recipe.check(data, batch_size=64, **options)
    assert [one.code for one in found if one.severity == "error"] == expected


class Unit(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.fc = how, nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "chained":  # what came before the activation is not used again
            x = F.leaky_relu(x, inplace=True)
            return x + self.fc(x)
        if self.how == "alone":
            F.relu(x, inplace=True)
            return x + self.fc(x)
        return x + self.fc(F.relu(x, inplace=True))


@pytest.mark.parametrize("how", ["kept", "chained", "alone"])
def test_what_an_activation_overwrites(how: str) -> None:
    x = rows(256, 6)
    net = lambda: nn.Sequential(nn.Linear(6, 16), Unit(how), nn.Tanh(), nn.Linear(16, 3))  # noqa: E731
    assert warned(Program(setup(net, nn.CrossEntropyLoss()), (x, labels_of(x)), {})) == (
        ["LB095"] if how == "kept" else []
    )


def hinge(pred: Tensor, y: Tensor) -> Tensor:
    return F.relu(1 - (2 * y - 1) * pred).mean()


def expectile(pred: Tensor, y: Tensor) -> Tensor:
    return (torch.where(y > pred, 0.9, 0.1) * (y - pred).square()).mean()


def weighed(pred: Tensor, y: Tensor) -> Tensor:
    return (F.softplus(-pred) * y).mean()


@pytest.mark.parametrize(
    ("loss", "scale", "expected"),
    [(hinge, None, []), (expectile, 1.0, []), (expectile, 1e4, []), (weighed, None, ["LB139"])],
    ids=["hinge", "expectile", "expectile_of_large_targets", "positives_alone"],
)
def test_losses_that_a_constant_answers_best(loss: object, scale: float | None, expected: list[str]) -> None:
    x = rows(256, 5)
    y = (x[:, :1] - x[:, 1:2] > 0).float() if scale is None else scale * torch.tanh(x[:, :1] - x[:, 1:2])
    program = Program(setup(lambda: mlp(5, 24, 1), loss, optim.AdamW), (x, y), {"ignore": ("LB050", "LB056")})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert warned(program) == expected


def of_means(pred: Tensor, y: Tensor) -> Tensor:
    return (pred.mean() - y.mean()).square()


def sure_of_another(pred: Tensor, y: Tensor) -> Tensor:
    each = F.cross_entropy(pred, y, reduction="none")
    return (torch.exp(-each) ** 2 * each).mean()


def focal(pred: Tensor, y: Tensor) -> Tensor:
    each = F.cross_entropy(pred, y, reduction="none")
    return ((1 - torch.exp(-each)) ** 2 * each).mean()


def over_width(pred: Tensor, y: Tensor) -> Tensor:
    return F.nll_loss((pred.softmax(2) + 1e-6).log(), y)


def over_classes(pred: Tensor, y: Tensor) -> Tensor:
    return F.nll_loss((pred.softmax(1) + 1e-6).log(), y)


X = rows(256, 5)
PICTURES = noise(120, 1, 8, 8)
YES = (X[:, :1] - X[:, 1:2] > 0).float()
RISING = torch.tanh(X[:, :1] - X[:, 1:2])


@pytest.mark.parametrize(
    ("outputs", "loss", "y", "expected"),
    [
        (1, of_means, RISING, ["LB139"]),
        (4, sure_of_another, labels_of(X, 4), ["LB067"]),
        (4, focal, labels_of(X, 4), []),
        (2, over_width, (PICTURES[:, 0] > 0).long(), ["LB012"]),
        (2, over_classes, (PICTURES[:, 0] > 0).long(), []),
        (1, nn.BCEWithLogitsLoss(), YES / 255, ["LB017"]),
        (1, nn.MSELoss(), torch.ones(256, 1), ["LB047"]),
        (1, nn.MSELoss(), torch.zeros(256, 1), []),
    ],
    ids=["of_means", "sure_of_another", "focal", "over_width", "over_classes", "by_255", "all_1", "all_0"],
)
def test_further_losses_and_targets(outputs: int, loss: object, y: Tensor, expected: list[str]) -> None:
    of_pictures = y.ndim == 3
    net = (lambda: nn.Conv2d(1, 2, 3, padding=1)) if of_pictures else (lambda: mlp(5, 24, outputs))
    assert warned(Program(setup(net, loss), (PICTURES if of_pictures else X, y), {})) == expected


@pytest.mark.parametrize("decay", [0.5, 0.01])
def test_a_decay_of_sgd_that_outweighs_the_gradient(decay: float) -> None:
    recipe = setup(lambda: mlp(5, 64, 3), nn.CrossEntropyLoss(), optim.SGD, lr=0.1, weight_decay=decay)
    assert warned(Program(recipe, (X, labels_of(X)), {})) == (["LB034"] if decay > 0.1 else [])
