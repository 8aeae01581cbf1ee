"""Large products of matrices by oneDNN: chosen by counts, the same bits every time, gone with the run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.devices import onednn_gains
from lumbre.steps import mean_product

X = torch.randn(256, 100, generator=torch.Generator().manual_seed(0))
Y = (X[:, :50].sum(1) > 0).long()

here = pytest.mark.skipif(not onednn_gains(torch.device("cpu")), reason="no AMD processor with AVX-512 and bfloat16")


class Wide(nn.Module):
    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(100, width), nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x).relu()).relu())


def fit(width: int = 512, **options: Any) -> lb.Fitted:
    recipe = lb.setup(Wide, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=lb.metrics.Accuracy())
    return recipe.set_hparams(width=width).fit(
        (X, Y), **{"epochs": 2, "batch_size": 64, "verbose": False, "device": "cpu", **options}
    )


def bits(fitted: lb.Fitted) -> list[list[int]]:
    return [value.reshape(-1).view(torch.int32).tolist() for value in fitted.model.state_dict().values()]


@here
def test_wide_nets_have_onednn_while_they_train_and_the_same_numbers() -> None:
    asked: list[str] = []

    class Listens(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            asked.append(torch.get_float32_matmul_precision())

    auto, eager = fit(callbacks=Listens()), fit(engine="eager")
    assert "products by oneDNN" in auto.engine
    assert "oneDNN" not in eager.engine
    assert set(asked) == {"medium"}
    for ours, theirs in zip(auto.model.state_dict().values(), eager.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert bits(fit()) == bits(auto)
    assert torch.get_float32_matmul_precision() == "highest"


@here
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*")
def test_a_compiled_step_has_it_too() -> None:
    compiled, eager = fit(engine="compiled", epochs=3), fit(engine="eager", epochs=3)
    assert compiled.engine.startswith("compiled")
    assert compiled.engine.endswith("products by oneDNN")
    for ours, theirs in zip(compiled.model.state_dict().values(), eager.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@here
def test_small_nets_and_other_precisions_are_left_alone() -> None:
    assert "oneDNN" not in fit(width=16).engine
    assert "oneDNN" not in fit(precision="bfloat16").engine


@here
def test_nothing_of_it_stays_after_an_error() -> None:
    class Fails(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            raise KeyError("on purpose")

    with pytest.raises(lb.CallbackError):
        fit(callbacks=Fails())
    assert torch.get_float32_matmul_precision() == "highest"


@here
def test_a_run_that_goes_on_and_a_model_that_is_loaded_have_it_too(tmp_path: Path) -> None:
    whole = fit(epochs=4)
    fit(epochs=2, resume=tmp_path / "run")
    assert bits(fit(epochs=4, resume=tmp_path / "run")) == bits(whole)
    whole.save(tmp_path / "wide.lumbre")
    loaded = lb.load(tmp_path / "wide.lumbre", Wide)
    assert torch.equal(loaded.predict(X), whole.predict(X))


def test_products_are_counted_without_a_trace() -> None:
    net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Linear(16, 4))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = torch.randn(32, 8)
    assert mean_product(net, lambda: net(x)) == (32 * 8 * 16 + 32 * 16 * 4) / 2
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    batches = torch.randn(5, 6, 7)
    assert mean_product(net, lambda: batches @ batches.transpose(1, 2)) == 5 * 6 * 7 * 6
    assert mean_product(net, lambda: net(x.double())) == 0  # fails
    assert mean_product(net.double(), lambda: net(x.double())) == 0  # is not float32
