"""Gradients of what is no leaf, beside autograd by hand."""

from typing import Any

import pytest
import torch
from inspection_nets import Plain, Twice, rows
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from lumbre.base import DataError, OptionError

CE = nn.CrossEntropyLoss()


def data(count: int = 20) -> tuple[Tensor, Tensor]:
    return rows(count, 4), torch.arange(count) % 3


def by_hand(net: Plain, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Gradients of each row's loss."""
    tensors = {"input": x.clone().requires_grad_()}
    tensors["fc1"] = net.fc1(tensors["input"])
    tensors["relu"] = tensors["fc1"].relu()
    tensors["fc2"] = net.fc2(tensors["relu"])
    loss = F.cross_entropy(tensors["fc2"], y, reduction="sum")
    return dict(zip(tensors, torch.autograd.grad(loss, list(tensors.values())), strict=True))


@pytest.mark.parametrize("batch_size", [20, 6])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_with_respect_to_what_layers_put_out(batch_size: int, reduction: str) -> None:
    net, (x, y) = Plain(), data()
    loss = nn.CrossEntropyLoss(reduction=reduction)
    found = lb.inspect.gradients(net, (x, y), loss=loss, layers=["input", "*"], keep=True, batch_size=batch_size)
    expected = by_hand(net, x, y)
    assert set(found.tensors) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
        assert found.layers[name].l2_norm == pytest.approx(float(gradient.double().norm()), rel=1e-5)


def test_with_respect_to_what_layers_take_in() -> None:
    net, (x, y) = Plain(), data()
    found = lb.inspect.gradients(net, (x, y), loss=CE, of="inputs", keep=True)
    expected = by_hand(net, x, y)
    for layer, tensor in {"fc1": "input", "relu": "fc1", "fc2": "relu"}.items():
        torch.testing.assert_close(found[layer], expected[tensor], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [20, 6])
@pytest.mark.parametrize("loss", [CE, nn.CrossEntropyLoss(weight=torch.tensor([0.2, 5.0, 1.0]))])
def test_with_respect_to_parameters_of_the_mean_over_all_rows(batch_size: int, loss: nn.Module) -> None:
    net, (x, y) = Plain(), data()
    y[:7] = -100
    found = lb.inspect.gradients(net, (x, y), loss=loss, of="parameters", keep=True, batch_size=batch_size)
    expected = torch.autograd.grad(loss(net(x), y), list(net.parameters()))
    for (name, value), gradient in zip(net.named_parameters(), expected, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
        assert found.layers[name].ratio == pytest.approx((gradient.norm() / value.norm()).item(), rel=1e-4)
    assert found.rows == 20


def test_work_in_place_and_a_layer_called_twice() -> None:
    net, x = Twice(), rows(9, 4)
    found = lb.inspect.gradients(net, (x, None), loss=lambda pred, _: pred.square().sum(1).mean(), keep=True)
    one = net.fc(x)
    two = net.fc(one.relu())
    three = net.tied(two.relu())
    gradients = torch.autograd.grad(three.square().sum(), [one, two, three])
    for name, gradient in zip(["fc", "fc#2", "tied"], gradients, strict=True):
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)


def test_a_first_layer_that_works_in_place() -> None:
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3))
    found = lb.inspect.gradients(net, data(), loss=CE, layers=["input", "0"], keep=True)
    torch.testing.assert_close(found["input"], found["0"] * (data()[0] > 0))


def test_frozen_layers_and_whole_numbers_as_input() -> None:
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 3)).requires_grad_(False)
    tokens = torch.arange(30).reshape(10, 3) % 10
    found = lb.inspect.gradients(net, (tokens, torch.arange(10) % 3), loss=CE, keep=True)
    assert found["0"].shape == (10, 3, 4)
    assert float(found["0"].abs().sum()) > 0
    assert not any(value.requires_grad for value in net.parameters())
    assert lb.inspect.gradients(net, (tokens, torch.arange(10) % 3), loss=CE, of="parameters").layers["2.bias"].count


def test_recurrent_layers() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.fc = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.gru(x)[0][:, -1])

    found = lb.inspect.gradients(Last(), (rows(6, 7, 4), torch.arange(6) % 3), loss=CE, keep=True)
    assert found["gru[0]"].shape == (6, 7, 5)
    assert float(found["gru[0]"][:, :-1].abs().sum()) == 0, "only the last step was used"
    assert "gru[1]" not in found.layers, "the loss does not depend on it"


def test_the_loss_of_the_training_and_of_the_module() -> None:
    recipe = lb.setup(Plain, loss=CE, optimizer=optim.SGD).set_opt_hparams(lr=0.1)
    fitted = recipe.fit(data(), epochs=1, verbose=False)
    one = lb.inspect.gradients(fitted, data()).layers
    assert one == lb.inspect.gradients(fitted.model, data(), loss=CE).layers

    class Own(Plain):
        def loss(self, pred: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(pred, target)

    own = Own()
    own.load_state_dict(fitted.model.state_dict())
    assert lb.inspect.gradients(own, data()).layers == one
    with pytest.raises(OptionError, match="without a loss"):
        lb.inspect.gradients(Plain(), data())


def test_gradients_exist_where_the_user_has_turned_them_off() -> None:
    with torch.no_grad():
        assert lb.inspect.gradients(Plain(), data(), loss=CE).layers["fc1"].l2_norm > 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"of": "output"}, "Did you mean 'outputs'"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, r"a loss that is a tensor of shape \(20,\)"),
        ({"loss": lambda pred, target: pred.detach().sum()}, "without a gradient"),
    ],
)
def test_what_is_impossible(options: dict[str, Any], says: str) -> None:
    with pytest.raises((OptionError, DataError), match=says):
        lb.inspect.gradients(Plain(), data(), **({"loss": CE} | options))


def test_layers_behind_the_loss() -> None:
    class Aside(Plain):
        def forward(self, x: Tensor) -> Tensor:
            self.relu(x)
            return self.fc2(self.fc1(x))

    with pytest.raises(OptionError, match="none of which have a gradient"):
        lb.inspect.gradients(Aside(), data(), loss=CE, layers="relu")
