"""Sound parts of other libraries, in short forms of their own: nothing is said of them."""

import warnings
from math import sqrt
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint

import lumbre as lb


def rows() -> tuple[Tensor, Tensor]:
    return torch.randn(48, 6, generator=torch.Generator().manual_seed(0)), torch.arange(48) % 3


def findings(net: Any, loss: Any) -> Any:
    torch.manual_seed(0)
    return lb.setup(net, loss=loss, optimizer=optim.SGD).set_opt_hparams(lr=0.01).check(rows())


def codes(net: Any, loss: Any) -> list[str]:
    return [one.code for one in findings(net, loss) if one.severity != "hint"]


class FirstRows(nn.Module):
    """Shifts and scales by the statistics of the first rows that it sees, in any mode, as layers of flows do.

    Args:
        once: by those of each batch otherwise, which is a mistake.
    """

    def __init__(self, once: bool = True) -> None:
        super().__init__()
        self.once, self.last = once, nn.Linear(6, 3)
        self.shift, self.scale = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.ones(6))
        self.register_buffer("set_up", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if not (self.set_up and self.once):
            self.shift.data = -x.mean(0).detach()
            self.scale.data = 1 / (1 + x.std(0).detach())
            self.set_up = torch.tensor(True)
        return self.last((x + self.shift) * self.scale)


@pytest.mark.parametrize(("once", "said"), [(True, []), (False, ["LB020"])])
def test_a_layer_that_is_set_up_by_the_first_rows(once: bool, said: list[str]) -> None:
    assert codes(lambda: FirstRows(once), nn.CrossEntropyLoss()) == said


class Anew(nn.Module):
    """A layer and what goes around it, computed once more on the way back, so that its graph is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.field, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        ends = checkpoint(lambda h: (h + self.field(h)).tanh(), self.first(x), use_reentrant=True)
        return self.last(ends)


def test_a_layer_within_a_function_with_a_gradient_of_its_own() -> None:
    assert codes(Anew, nn.CrossEntropyLoss()) == []


def circles(pred: Tensor, target: Tensor) -> Tensor:
    """The loss of embeddings of Sun and others (2020), of all pairs at once."""
    unit = F.normalize(pred)
    near, same = unit @ unit.T, target[:, None] == target
    other, pair = ~same, same & ~torch.eye(len(pred), dtype=torch.bool)
    push, pull = (near.detach() + 0.4).clamp_min(0) * (near - 0.4), (1.4 - near.detach()).clamp_min(0) * (0.6 - near)
    return F.softplus((80 * push[other]).logsumexp(0) + (80 * pull[pair]).logsumexp(0))


def pairs(pred: Tensor, target: Tensor) -> Tensor:
    """The loss of one pair of each class, the first two rows of it (Sohn 2016)."""
    picked = torch.stack([(target == one).nonzero()[:2, 0] for one in target.unique()])
    one, other = pred[picked[:, 0]], pred[picked[:, 1]]
    return F.cross_entropy(one @ other.T, torch.arange(len(one)))


def views(pred: Tensor, target: Tensor) -> Tensor:
    """The loss of two views of each row, which stand behind one another (Chen and others 2020), without a scale."""
    unit = F.normalize(pred)
    near = (unit @ unit.T)[~torch.eye(len(pred), dtype=torch.bool)].reshape(len(pred), -1)
    half = len(pred) // 2
    other = torch.arange(half)
    return F.cross_entropy(near, torch.cat([other + half - 1, other]))


@pytest.mark.parametrize("loss", [circles, pairs, views])
def test_losses_of_embeddings(loss: Any) -> None:
    assert codes(lambda: nn.Linear(6, 4), loss) == []


class WithTerm(nn.Module):
    """Gives a term of the loss beside its predictions, as quantizers and mixtures of experts do."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.last(x), self.last.weight.square().mean()


def test_a_loss_of_rows_and_of_a_single_number_is_looked_at() -> None:
    def loss(pred: Any, target: Tensor) -> Tensor:
        return (pred[0].logsumexp(1) - pred[0].gather(1, target[:, None])[:, 0]).mean() + pred[1]

    def again(pred: Any, target: Tensor) -> Tensor:
        return loss(pred, target) / len(target)

    assert "not looked at" not in str(findings(WithTerm, loss))
    assert codes(WithTerm, again) == ["LB114"]


class Stacked(nn.Module):
    """Several nets computed as one, by a net without numbers, as the tutorial on `torch.func` does."""

    def __init__(self) -> None:
        super().__init__()
        nets = [nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(3)]
        stacked, _ = stack_module_state(nets)
        self.names = list(stacked)
        self.stacked = nn.ParameterList([one.detach() for one in stacked.values()])
        self.form = [nets[0].to("meta")]

    def forward(self, x: Tensor) -> Tensor:
        parts = dict(zip(self.names, self.stacked, strict=True))
        return vmap(lambda own: functional_call(self.form[0], own, (x,)))(parts).mean(0)


def test_a_net_without_numbers_in_a_list_is_a_form() -> None:
    assert codes(Stacked, nn.CrossEntropyLoss()) == []


class Energy(nn.Module):
    """Motion by the slopes of an energy, taken for each row by `torch.func`."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        by_q, by_p = vmap(grad(lambda one: self.energy(one).squeeze()))(x).chunk(2, 1)
        return torch.cat([by_p, -by_q], 1)


def test_a_transform_within_the_module_is_not_looked_into() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    recipe = lb.setup(Energy, loss=nn.MSELoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    assert str(recipe.check((x, torch.cat([x[:, 2:], -x[:, :2]], 1)))) == "No findings."


class Turned(nn.Module):
    """A complex weight, whose slopes are imaginary alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.ones(3, 2, dtype=torch.complex64))
        self.last = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.complex64) @ self.first @ self.last).imag[:, :1]


def test_complex_weights_move_by_their_imaginary_parts() -> None:
    recipe = lb.setup(Turned, loss=lambda pred, target: pred.mean(), optimizer=optim.SGD).set_opt_hparams(lr=0.5)
    x = torch.ones(16, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [one.code for one in recipe.check((x, x)) if one.severity != "hint"] == []
        fitted = recipe.fit((x, x), epochs=1, batch_size=16, verbose=False, device="cpu", engine="eager")
    ledger = fitted.ledger.set_index("parameter")
    # The prediction is the imaginary part of sum(first @ last[:, :1]): a slope of i for each of the 6 numbers of
    # `first`, and of 3i for each of the 2 in the first column of `last`.
    assert ledger.gradient["first"] == pytest.approx(sqrt(6))
    assert ledger.gradient["last"] == pytest.approx(sqrt(18))
    assert ledger.change["first"] == pytest.approx(0.5 * sqrt(6))
    assert bool(ledger.changed.all())
