"""Checks: each finds its mistake, and is silent on its mended twin."""

import warnings
from collections.abc import Generator

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs


def codes(recipe: lb.Recipe, data: object, **options: object) -> list[str]:
    return [finding.code for finding in recipe.check(data, **options)]


def classifier(module: object) -> lb.Recipe:
    return lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)


def test_a_healthy_run_has_no_findings(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    found = recipe.check(data, valid_data=0.2, batch_size=16)
    assert not found
    assert repr(found) == "No findings."


def test_checking_changes_nothing(data: tuple[Tensor, Tensor]) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    classifier(model).check(data)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_softmax_before_cross_entropy(data: tuple[Tensor, Tensor]) -> None:
    broken = classifier(lambda: nn.Sequential(Net(4), nn.Softmax(1)))
    assert codes(broken, data) == ["LB007"]
    with pytest.warns(lb.PreflightWarning, match="LB007.*\n.*\n.*\n.*leave the softmax out"):
        broken.fit(data, epochs=1, verbose=False)
    assert codes(classifier(lambda: Net(4)), data) == []


def test_batch_norm_and_a_batch_of_one() -> None:
    data = blobs(33)
    recipe = classifier(lambda: nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3)))
    assert codes(recipe, data, batch_size=32) == ["LB008"]
    assert codes(recipe, data, batch_size=32, drop_last=True) == []
    assert codes(recipe, data, batch_size=11) == []


def test_broadcasting_is_an_error_only_where_it_happens() -> None:
    x = torch.randn(20, 4)
    recipe = lb.setup(lambda: nn.Linear(4, 1), loss=nn.L1Loss(), optimizer=optim.SGD)
    assert codes(recipe, (x, x[:, 0])) == ["LB006"]
    assert codes(recipe, (x, x[:, :1])) == []


def test_ignored_labels_are_no_mistake(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    y = y.clone()
    y[:5] = -100
    assert codes(classifier(lambda: Net(4)), (x, y)) == []
    assert codes(classifier(lambda: Net(4)), (x, torch.full_like(y, -100))) == []


def test_class_probabilities_are_a_target_too(data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    assert codes(classifier(lambda: Net(4)), (x, nn.functional.one_hot(y, 3).float())) == []


def test_a_column_whose_sum_overflows_is_still_finite() -> None:
    x = torch.full((4, 1), 3e38)
    recipe = lb.setup(lambda: nn.Linear(1, 1), loss=nn.MSELoss(), optimizer=optim.SGD)
    assert "LB002" not in codes(recipe, (x, torch.zeros(4, 1)))


def test_findings_can_be_left_out(data: tuple[Tensor, Tensor]) -> None:
    broken = classifier(lambda: nn.Sequential(Net(4), nn.Softmax(1)))
    broken.fit(data, epochs=1, preflight=False, verbose=False)


@pytest.fixture
def every_warning() -> Generator[None]:
    """torch gives some warnings once in a process: here each time; those about scalars fail the test."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    # Kept, not raised: checks take an error for the module's.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    torch.set_warn_always(before)
    assert [str(one.message) for one in caught if "to a scalar" in str(one.message)] == []


@pytest.mark.usefixtures("every_warning")
def test_a_module_that_switches_gradients_on_gets_no_warning_of_torch() -> None:
    """Forces, penalties and the like are gradients in forward(), also where nothing else asks for them."""

    class Graded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                return self.net(x)

    x, y = blobs(33)
    for recipe in (
        classifier(Graded),
        lb.setup(Graded, loss=nn.MSELoss(), optimizer=optim.SGD),
        lb.setup(Graded, loss=nn.BCEWithLogitsLoss(), optimizer=optim.SGD),
    ):
        target = y if isinstance(recipe.loss, nn.CrossEntropyLoss) else (y[:, None] == torch.arange(3)).float()
        recipe.check((x, target), valid_data=0.25, batch_size=16)
        fitted = recipe.fit((x, target), epochs=2, valid_data=0.25, batch_size=16, verbose=False)
        fitted.evaluate((x, target))
        fitted.predict(x)
        lb.inspect.activations(fitted, x)
        lb.inspect.weights(fitted)


@pytest.mark.usefixtures("every_warning")
def test_targets_that_have_a_graph_get_no_warning_of_torch() -> None:
    x, y = blobs(33)
    target = (y[:, None] == torch.arange(3)).float().requires_grad_()
    recipe = lb.setup(lambda: Net(4), loss=nn.MSELoss(), optimizer=optim.SGD)
    recipe.check((x, target), valid_data=0.25, batch_size=16)
