"""Sound programs of which a check once said something: it says nothing, and still finds the mistake beside it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim
from torch.utils.data import Dataset

import lumbre as lb
from conftest import blobs


def found(net: Callable[[], nn.Module], data: Any = None, loss: Any = None, **options: Any) -> list[str]:
    torch.manual_seed(0)
    recipe = lb.setup(net, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.AdamW).set_opt_hparams(lr=1e-3)
    return [one.code for one in recipe.check(rows() if data is None else data, **options)]


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(256, 8, generator=generator), torch.arange(256) % 3


class Pair(nn.Module):
    """Two linear layers, and what is done between them."""

    def __init__(self, between: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b, self.between = nn.Linear(8, 16), nn.Linear(16, 3), between

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        h = self.between(h)
        return self.b(h)


def in_place(h: Tensor) -> Tensor:
    h.relu_()
    return h


def without_graph(h: Tensor) -> Tensor:
    with torch.no_grad():
        h.clamp_(min=0)
    return h


def by_index(h: Tensor) -> Tensor:
    h[:, :8] = h[:, :8].exp()
    return h


class Activated(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return torch.relu(super().forward(input))


def hooked() -> nn.Module:
    first = nn.Linear(8, 16)
    first.register_forward_hook(lambda layer, args, output: output.relu())
    return nn.Sequential(first, nn.Linear(16, 3))


class Shared(nn.Module):
    """A projection that queries, keys, values and a connection around them share, as in ALBERT."""

    def __init__(self) -> None:
        super().__init__()
        self.m, self.q, self.k, self.v = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.m(x.unflatten(1, (1, 8)))
        h = self.norm(h + F.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h)))
        return self.head(h.mean(1))


class Around(Pair):
    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.b(h) + h[:, :3]


@pytest.mark.parametrize(
    "net",
    [
        lambda: Pair(lambda h: F.relu(h, inplace=True)),
        lambda: Pair(in_place),
        lambda: Pair(without_graph),
        lambda: Pair(by_index),
        lambda: Pair(lambda h: F.silu(h, inplace=True).mul_(1.7)),
        lambda: Pair(lambda h: h.mul_(h.detach().sigmoid())),
        lambda: nn.Sequential(Activated(8, 16), nn.Linear(16, 3)),
        hooked,
        Shared,
        lambda: Around(in_place),
    ],
)
def test_something_between_linear_layers(net: Callable[[], nn.Module]) -> None:
    assert found(net) == []


@pytest.mark.parametrize("between", [lambda h: h, lambda h: h.reshape(-1, 16), lambda h: h.clone()])
def test_nothing_between_linear_layers(between: Callable[[Tensor], Tensor]) -> None:
    assert found(lambda: Pair(between)) == ["LB027"]


class Normed(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor], around: bool = False) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 3)
        self.between, self.around = between, around

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        self.between(h)
        return self.b(torch.relu(self.norm(h)) + (h if self.around else 0))


def test_a_bias_before_an_activation_in_place_or_a_connection_is_used() -> None:
    assert found(lambda: Normed(lambda h: h)) == ["LB031"]
    assert found(lambda: Normed(in_place)) == []
    assert found(lambda: Normed(lambda h: h, around=True)) == []


class Squeezed(nn.Module):
    """A residual block with squeeze-and-excitation, whose branch begins at zero unless `start` says otherwise."""

    def __init__(self, start: float, bias: float | None = 0.0, *, at_end: bool = True) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Linear(8, 16), nn.Linear(16, 16, bias=False), nn.BatchNorm1d(16)
        self.reduce, self.expand, self.head = nn.Linear(16, 4), nn.Linear(4, 16), nn.Linear(16, 3)
        self.at_end = at_end
        nn.init.constant_(self.norm.weight, start)
        if bias is not None:
            nn.init.constant_(self.reduce.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        z = self.norm(self.conv(x))
        if not self.at_end:
            return self.head(x + torch.relu(z))
        return self.head(x + z * torch.sigmoid(self.expand(torch.relu(self.reduce(z)))))


@pytest.mark.parametrize("bias", [0.0, -0.1])
def test_squeeze_and_excitation_behind_a_branch_that_begins_at_zero(bias: float) -> None:
    assert found(lambda: Squeezed(0.0, bias)) == []


def test_a_relu_that_stays_at_zero_is_found() -> None:
    assert "LB029" in found(lambda: Squeezed(1.0, -50.0))
    assert "LB029" in found(lambda: Squeezed(0.0, at_end=False))  # no gradient passes it


def deep(norm: Callable[[int], nn.Module], depth: int = 20) -> nn.Module:
    parts = [part for _ in range(depth) for part in (nn.Linear(8, 8, bias=False), norm(8), nn.SiLU())]
    return nn.Sequential(*parts, nn.Linear(8, 3))


class OwnNorm(nn.BatchNorm1d):
    pass


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, OwnNorm, nn.SyncBatchNorm])
def test_a_deep_net_is_not_constant_before_its_norms_have_statistics(norm: Any) -> None:
    assert found(lambda: deep(norm)) == []


class Ones(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = deep(nn.BatchNorm1d, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.ones_like(x))


def test_a_net_with_norms_that_does_not_read_its_input_is_found() -> None:
    assert "LB057" in found(Ones)


@pytest.mark.parametrize("shape", [(1,), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"callbacks": lb.callbacks.Accumulate(2)}, {"precision": "bfloat16"}])
def test_a_loss_of_one_number_may_have_dimensions(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    def loss(pred: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(pred, target).reshape(shape)

    def fitted(loss: Any) -> lb.Fitted:
        recipe = lb.setup(lambda: nn.Linear(8, 3), loss=loss, optimizer=optim.Adam)
        return recipe.fit(rows(), epochs=1, valid_data=0.2, verbose=False, **options)

    assert found(lambda: nn.Linear(8, 3), loss=loss) == []
    one, other = fitted(loss), fitted(F.cross_entropy)
    assert torch.equal(one.model.weight, other.model.weight)
    assert one.history.value.tolist() == pytest.approx(other.history.value.tolist(), rel=1e-6)
    assert one.evaluate(rows()).metrics["loss"] == pytest.approx(other.evaluate(rows()).metrics["loss"], rel=1e-6)


def test_a_loss_by_the_row_is_still_an_error() -> None:
    assert found(lambda: nn.Linear(8, 3), loss=nn.CrossEntropyLoss(reduction="none")) == ["LB010"]


def masked(pred: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(pred[target >= 0], target[target >= 0])


@pytest.mark.parametrize(
    ("loss", "label"),
    [(nn.CrossEntropyLoss(), -100), (nn.CrossEntropyLoss(ignore_index=255), 255), (masked, -1), (nn.NLLLoss(), -100)],
)
def test_ignored_labels_are_no_new_classes(loss: Any, label: int) -> None:
    x, y = rows()
    valid = y.clone()
    valid[::4] = label
    net = lambda: nn.Sequential(nn.Linear(8, 3), nn.LogSoftmax(1) if isinstance(loss, nn.NLLLoss) else nn.Identity())  # noqa: E731
    assert found(net, (x, y), loss, valid_data=(x + 0.1, valid)) == []
    assert found(net, (x, y.clamp(max=1)), loss, valid_data=(x + 0.1, y)) == ["LB042"]


def test_ignored_labels_are_no_class_of_their_own() -> None:
    x, y = rows()
    y[8:] = -100
    recipe = lb.setup(
        lambda: nn.Linear(8, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy()
    )
    assert [one.code for one in recipe.check((x, y))] == []


def test_a_schedule_that_waits_for_the_training_loss() -> None:
    plateau = lb.schedules.plateau("train_loss", patience=1)
    assert found(lambda: nn.Linear(8, 3), callbacks=plateau, epochs=3) == []


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.AdamW])
@pytest.mark.parametrize("epochs", [1, 2])
def test_parameters_behind_a_branch_that_begins_at_zero_move_later(optimizer: Any, epochs: int) -> None:
    recipe = lb.setup(lambda: Squeezed(0.0), loss=nn.CrossEntropyLoss(), optimizer=optimizer).set_opt_hparams(lr=1e-3)
    assert recipe.fit(rows(), epochs=epochs, batch_size=256, verbose=False).remarks == []


def test_a_parameter_whose_gradient_stays_zero_is_named_after_enough_steps() -> None:
    class Zero(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 3)
            self.spare = nn.Parameter(torch.ones(3))

        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + 0 * self.spare

    def remarks(epochs: int) -> list[str]:
        recipe = lb.setup(Zero, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
        return [line[:5] for line in recipe.fit(blobs(), epochs=epochs, verbose=False).remarks]

    assert remarks(1) == []
    assert remarks(6) == ["LB107"]


def over_pairs(pred: Tensor, target: Tensor) -> Tensor:
    """Compares rows with one another, as losses with miners do: for more rows a little else than a sum and a mean."""
    return 1000 + (pred[:, None] - pred).square().sum() / (len(pred) * (len(pred) - 1))


def of_sum_and_mean(pred: Tensor, target: Tensor) -> Tensor:
    return 100 + F.cross_entropy(pred, target) + pred.square().sum()


@pytest.mark.parametrize(("loss", "mixed"), [(over_pairs, False), (of_sum_and_mean, True)])
def test_a_mean_over_pairs_of_rows_is_no_sum_beside_a_mean(loss: Any, mixed: bool) -> None:
    assert ("LB114" in found(lambda: nn.Linear(8, 3), loss=loss, batch_size=4)) is mixed


@pytest.mark.parametrize(
    "schedule",
    [
        lambda one: optim.lr_scheduler.LambdaLR(one, lambda step: 1.0),
        lambda one: optim.lr_scheduler.ConstantLR(one, factor=1.0),
        lambda one: optim.lr_scheduler.StepLR(one, 10, gamma=1.0),
    ],
    ids=["function", "factor", "gamma"],
)
def test_a_schedule_that_is_to_change_nothing(schedule: Any) -> None:
    assert found(lambda: nn.Linear(8, 3), callbacks=lb.callbacks.LRScheduler(schedule, step_on="batch")) == []


def test_a_schedule_that_changes_nothing_within_the_run_is_found() -> None:
    late = lb.callbacks.LRScheduler(optim.lr_scheduler.StepLR, step_size=100, gamma=0.1)
    assert found(lambda: nn.Linear(8, 3), callbacks=late) == ["LB035"]


class Tokens(nn.Module):
    """A first token and places that begin at zero, before a norm with a tiny eps, as in vision transformers."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.zeros(1, 3, 16))
        self.shift, self.factor = nn.Parameter(torch.zeros(1, 4)), factor
        self.into, self.norm = nn.Linear(4, 16), nn.LayerNorm(16, eps=1e-12)
        self.attend, self.last = nn.MultiheadAttention(16, 2, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.into(x.unflatten(1, (2, 4)) + self.factor * self.shift)
        parts = torch.cat([self.token.expand(len(x), -1, -1), parts], 1) + self.places
        normed = self.norm(parts)
        return self.last((parts + self.attend(normed, normed, normed)[0]).mean(1))


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_a_gradient_that_is_large_at_zero_alone(factor: float) -> None:
    recipe = lb.setup(lambda: Tokens(factor), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    torch.manual_seed(0)
    said = [str(one) for one in recipe.check(rows()) if one.code == "LB058"]
    assert ["shift" in one for one in said] == ([True] if factor > 1 else [])


class TwoTowers(nn.Module):
    """Gives the scores of each row beside each other one, and the embeddings that they were made of."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        a, b = F.normalize(self.a(x[:, :4])), F.normalize(self.b(x[:, 4:]))
        scores = 14 * a @ b.T
        return {"loss": F.cross_entropy(scores, torch.arange(len(x))), "scores": scores, "a": a, "b": b}


def test_scores_of_rows_beside_rows_and_their_embeddings() -> None:
    assert found(TwoTowers, loss=lambda pred, target: pred["loss"]) == []


class Noise:
    """A transform with a generator of its own, as those of MONAI are."""

    def __init__(self) -> None:
        self.R = np.random.RandomState(0)

    def __call__(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.as_tensor(self.R.normal(size=x.shape), dtype=x.dtype)


class Noisy(Dataset[Any]):
    """Rows put through transforms in a list; `scaled`: and scaled in place."""

    def __init__(self, scaled: bool) -> None:
        self.rows, self.numbers, self.scaled = rows(), list(range(5_000)), scaled
        self.transforms = {"x": [Noise(), Noise()]}

    def __len__(self) -> int:
        return len(self.rows[0])

    def __getitem__(self, row: int) -> Any:
        x, y = (part[row] for part in self.rows)
        if self.scaled:
            x -= 0.5
        for one in self.transforms["x"]:
            x = one(x)
        return x, y


@pytest.mark.parametrize("scaled", [False, True])
def test_chance_within_transforms_overwrites_no_rows(scaled: bool) -> None:
    said = found(lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)), Noisy(scaled))
    assert ("LB129" in said) == scaled
