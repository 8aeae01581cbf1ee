"""Pairs after what others mended, and what the checks that came with them leave alone."""

# ruff: noqa: E731

import copy
from typing import Any

import pytest
import torch
from corpus.asked import labels_of, rows, setup, tokens
from corpus.found_sound import Judged, Own, chance, mlp, noise
from corpus.harness import checked, made
from corpus.later import LATER
from corpus.program import Case, Program
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.base import Budget
from lumbre.preflight._views import scrambles

# What no look before a run tells, or what is a hint.
_HARDLY = (
    "gates_saturated_from_the_start",
    "noise_to_predict_is_drawn_again",
    "return_of_the_day_among_several",
    "volume_of_a_flow_subtracted",
)
_QUICK = (
    "backward_of_ones_own_with_its_sign_turned",
    "half_of_the_box_is_never_judged",
    "one_buffer_for_all_rows",
    "samples_of_a_sound_padded_on_both_sides",
    "schedule_gives_a_rate_for_a_factor",
    "several_labels_as_zeros_and_ones_of_a_margin",
    "targets_shifted_the_other_way",
    "temperature_that_begins_at_zero",
    "triplet_without_a_margin",
    "update_behind_the_loop",
    "weights_of_tasks_cost_nothing",
)
DEVELOPED = [case for case in LATER if case.half == "develop" and case.name not in _HARDLY]


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


X = rows(256, 6)


class Half(torch.autograd.Function):
    """x * |x|, with a backward that is right, or forgets something; or one that is meant to be another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, how: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.how = how
        if how in ("turned_on_purpose", "scaled"):
            return x.view_as(x)
        return {"rounded": torch.round, "clamped": lambda one: one.clamp(-0.3, 0.3)}.get(
            how, lambda one: one * one.abs()
        )(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (x,), (gradient,), how = ctx.saved_tensors, gradients, ctx.how
        inner = 2 * x.abs()
        found = {
            "right": gradient * inner,
            "sign": -gradient * inner,
            "alone": inner,
            "turned_on_purpose": -gradient,
            "scaled": 0.1 * gradient,
        }
        return found.get(how, gradient), None


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("right", []),
        ("sign", ["LB140"]),
        ("alone", ["LB140"]),
        ("rounded", []),
        ("clamped", []),
        ("turned_on_purpose", []),
        ("scaled", []),
    ],
)
def test_a_backward_of_ones_own(how: str, expected: list[str]) -> None:
    net = lambda: Own(lambda m, x: m.b(Half.apply(m.a(x), how)), a=nn.Linear(6, 24), b=nn.Linear(24, 3))
    found = warned(Program(setup(net, nn.CrossEntropyLoss()), (X, labels_of(X)), {}))
    assert [code for code in found if code == "LB140"] == expected
    assert "apply" not in vars(Half)


def last_steps(pred: Tensor, y: Tensor, begin: int) -> Tensor:
    return (pred[:, begin:] - y[:, begin:]).square().mean()


@pytest.mark.parametrize(("begin", "expected"), [(0, []), (4, []), (7, ["LB124"])], ids=["all", "warmed_up", "last"])
def test_steps_that_a_loss_does_not_judge(begin: int, expected: list[str]) -> None:
    x = noise(200, 8, 3)
    y = torch.tanh(x[:, :, 0].cumsum(1) + 0.1 * noise(200, 8))
    net = lambda: Own(
        lambda m, x: m.out(m.rnn(x)[0])[..., 0], rnn=nn.GRU(3, 16, batch_first=True), out=nn.Linear(16, 1)
    )
    assert warned(Program(setup(net, lambda pred, y: last_steps(pred, y, begin)), (x, y), {})) == expected


def test_targets_that_are_left_out_where_they_are_unknown() -> None:
    def known(pred: Tensor, y: Tensor) -> Tensor:
        counted = ~y.isnan()
        return ((pred - y.nan_to_num()).square() * counted).sum() / counted.sum()

    y = torch.tanh(X[:, :4] + 0.2 * noise(256, 4))
    y[chance(256, 4) < 0.7] = float("nan")
    program = Program(setup(lambda: mlp(6, 24, 4), known), (X, y), {"ignore": ("LB002",)})
    assert "LB124" not in warned(program)


def points(loss: Any) -> Program:
    kind = torch.arange(300) % 5
    centres = 2 * noise(5, 8, seed=9)
    x = tuple(centres[one] + noise(300, 8, seed=i) for i, one in enumerate((kind, kind, (kind + 1) % 5)))
    net = lambda: Judged(lambda m, *x: tuple(m.f(one) for one in x), loss, f=mlp(8, 24, 4))
    return Program(setup(net), (x, torch.zeros(300)), {})


def far(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(1)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda m, o, y: F.relu(far(o[0], o[1]) - far(o[0], o[2]) + 1).mean(), []),
        (lambda m, o, y: F.relu(far(o[0], o[1]) - far(o[0], o[2])).mean(), ["LB139"]),
        (lambda m, o, y: far(o[0], o[1]).mean() + 0 * o[2].mean(), ["LB139"]),
        (lambda m, o, y: far(o[0], o[1].detach()).mean() + 0 * o[2].mean(), []),
        (lambda m, o, y: F.softplus(far(o[0], o[1]) - far(o[0], o[2])).mean(), []),
        (lambda m, o, y: sum(one.square().mean() for one in o), []),
    ],
    ids=["margin", "no_margin", "together", "held_still", "soft", "residuals"],
)
def test_losses_that_any_single_point_satisfies(loss: Any, expected: list[str]) -> None:
    assert warned(points(loss)) == expected


class Tasks(nn.Module):
    def __init__(self, cost: float) -> None:
        super().__init__()
        self.net, self.log_spread, self.cost = mlp(6, 24, 2), nn.Parameter(torch.zeros(2)), cost

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def loss(self, out: Tensor, y: Tensor) -> Tensor:
        each = (out - y).square().mean(0)
        return ((-self.log_spread).exp() * each + self.cost * self.log_spread).sum()


@pytest.mark.parametrize(("cost", "expected"), [(0.0, ["LB067"]), (0.5, []), (1.0, [])])
@pytest.mark.parametrize("size", [0.1, 20.0])
def test_weights_of_terms(cost: float, size: float, expected: list[str]) -> None:
    y = size * torch.tanh(X[:, :2] + X[:, 2:4] + 0.1 * noise(256, 2))
    assert warned(Program(setup(lambda: Tasks(cost)), (X, y), {"ignore": ("LB050", "LB056")})) == expected


class Descent(optim.Optimizer):
    """Gradient descent of somebody's own, which keeps an optimizer of torch's beside it."""

    def __init__(self, params: Any, lr: float = 0.1, sign: float = -1.0, skips: int = 0) -> None:
        params = list(params)
        super().__init__(params, {"lr": lr, "sign": sign, "skips": skips})
        self.inner = optim.SGD(params, lr=lr)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"][group["skips"] :]:
                p.add_(p.grad, alpha=group["sign"] * group["lr"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, []), ({"sign": 1.0}, ["LB073"]), ({"skips": 2}, ["LB074"])],
    ids=["down", "up", "skips"],
)
def test_optimizers_of_ones_own(options: dict[str, Any], expected: list[str]) -> None:
    program = Program(
        setup(lambda: mlp(6, 24, 3), nn.CrossEntropyLoss(), Descent, lr=0.1, **options), (X, labels_of(X)), {}
    )
    assert warned(program) == expected


def test_optimizers_of_ones_own_are_left_as_they_were() -> None:
    class Counting(Descent):
        steps = 0

        def step(self, closure: Any = None) -> None:
            self.steps += 1
            self.inner.step()

    held: list[Counting] = []

    def optimizer(params: Any, lr: float) -> Counting:
        held.append(Counting(params, lr))
        return held[-1]

    net = mlp(6, 24, 3)
    before = copy.deepcopy(net.state_dict())
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optimizer).set_opt_hparams(lr=0.1)
    recipe.check((X, labels_of(X)))
    assert [one.steps for one in held] == [0] * len(held)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def lagged(by: int) -> tuple[Tensor, Tensor]:
    x = tokens(200, 12)
    return (x[:, :-by], x[:, by:]) if by > 0 else (x[:, -by:], x[:, :by])


@pytest.mark.parametrize(("by", "expected"), [(1, []), (2, []), (-1, ["LB077"])])
def test_targets_before_their_inputs(by: int, expected: list[str]) -> None:
    net = lambda: Own(
        lambda m, x: m.out(m.rnn(m.words(x))[0]).transpose(1, 2),
        words=nn.Embedding(20, 8),
        rnn=nn.GRU(8, 16, batch_first=True),
        out=nn.Linear(16, 20),
    )
    assert warned(Program(setup(net, nn.CrossEntropyLoss()), lagged(by), {})) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((32, 4, 9, 9), (32, 1, 18, 18), True),
        ((32, 4, 8, 8), (32, 1, 16, 16), True),
        ((32, 50, 40), (32, 25, 80), False),
        ((32, 6, 4), (96, 8), False),
        ((8, 5, 12, 4), (8, 5, 6, 8), False),
        ((32, 3, 16, 16), (32, 3, 8, 32), False),
    ],
)
def test_pictures_made_larger_by_view(before: tuple[int, ...], after: tuple[int, ...], expected: bool) -> None:
    assert scrambles(before, after) == expected


@pytest.mark.parametrize(
    ("peak", "lr", "expected"),
    [(1e-3, 1e-3, ["LB035"]), (1.0, 1e-3, []), (1e-3, 1.0, [])],
    ids=["rate_for_factor", "factor", "rate_of_one"],
)
def test_a_rate_in_place_of_a_factor(peak: float, lr: float, expected: list[str]) -> None:
    by = lb.callbacks.LRScheduler(optim.lr_scheduler.LambdaLR, lr_lambda=lambda epoch: peak * 0.9**epoch)
    recipe = setup(lambda: mlp(6, 24, 3), nn.CrossEntropyLoss(), lr=lr)
    assert warned(Program(recipe, (X, labels_of(X)), {"callbacks": [by], "epochs": 5})) == expected


@pytest.mark.parametrize(
    ("target", "expected"),
    [([[0, 2, -1, -1]], []), ([[3, -1, 0, 0]], []), ([[0, 1, 1, 0]], ["LB065"]), ([[1, 1, -1, -1]], ["LB065"])],
)
def test_lists_of_classes(target: list[list[int]], expected: list[str]) -> None:
    data = X, torch.tensor(target).expand(256, 4).contiguous()
    found = warned(Program(setup(lambda: mlp(6, 24, 4), nn.MultiLabelMarginLoss()), data, {}))
    assert [code for code in found if code == "LB065"] == expected


def test_a_loss_that_asks_its_net_again_and_again_is_asked_seldom() -> None:
    calls = 0

    class Counted(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return super().forward(input)

    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = Counted(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.f(x), x

        def loss(self, out: Any, y: Tensor) -> Tensor:
            near = [self.f(out[1] + 0.1 * torch.randn_like(out[1])) for _ in range(5)]
            return F.cross_entropy(out[0], y) + 0.1 * sum((one - out[0]).square().mean() for one in near)

    assert warned(Program(setup(Smooth), (X, labels_of(X)), {})) == []
    assert calls <= 45


def test_a_loss_of_each_row_beside_all_others() -> None:
    def pairs(m: nn.Module, out: Any, y: Tensor) -> Tensor:
        scores = 5 * F.normalize(out[0], dim=1) @ F.normalize(out[1], dim=1).T - 3
        return -F.logsigmoid((2 * torch.eye(len(scores)) - 1) * scores).sum(1).mean()

    other = X @ noise(6, 5, seed=4) + 0.1 * noise(256, 5)
    net = lambda: Judged(lambda m, a, b: (m.f(a), m.g(b)), pairs, f=mlp(6, 24, 8), g=mlp(5, 24, 8))
    assert warned(Program(setup(net), ((X, other), torch.zeros(256)), {})) == []


def test_waiting_for_a_processor_ends_no_budget() -> None:
    short, patient = Budget(1e-4, waiting=0.0), Budget(100.0, waiting=1e9)
    sum(range(100_000))
    assert short.is_over
    assert not patient.is_over
