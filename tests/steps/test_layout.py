"""Channels last: used where it works, gone when the run is over, and never seen by users."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.graphs import obstacle


class Residual(nn.Module):
    """Convolutions, BatchNorm and a shortcut; `flat` says how images become rows, `spatial` keeps them images."""

    def __init__(self, flat: str = "flatten", spatial: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Linear(8 * 36, 4)
        self.flat, self.spatial = flat, spatial
        self.seen: set[bool] = set()

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        h = h + self.norm(self.second(h)).relu()
        self.seen.add(h.is_contiguous())
        if self.spatial:
            return h
        views = self.flat == "view" or (self.flat == "view in evaluation" and not self.training)
        return self.last(h.view(len(h), -1) if views else h.flatten(1))


compiles = (
    pytest.mark.slow,
    pytest.mark.skipif(obstacle(torch.device("cpu")) is not None, reason=str(obstacle(torch.device("cpu")))),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*", "ignore::UserWarning:torch.*"),
)

IMAGES = torch.randn(48, 3, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(48) % 4


def fit(recipe: lb.Recipe, target: Tensor = LABELS, **options: Any) -> lb.Fitted:
    return recipe.fit(
        (IMAGES, target), epochs=2, batch_size=16, verbose=False, preflight=False, device="cpu", **options
    )


def recipe(module: Any = Residual, loss: Any = None) -> lb.Recipe:
    return lb.setup(module, loss=loss or nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.05)


@pytest.mark.parametrize("engine", ["auto", pytest.param("compiled", marks=compiles)])
def test_a_net_of_convolutions_trains_with_channels_last_to_the_same_numbers(engine: str) -> None:
    fitted, eager = fit(recipe(), engine=engine), fit(recipe(), engine="eager")
    assert fitted.engine.startswith("compiled") == (engine == "compiled")
    assert "channels last" in fitted.engine
    assert "channels last" not in eager.engine
    assert False in fitted.model.seen
    assert eager.model.seen == {True}
    for ours, theirs in zip(fitted.model.state_dict().values(), eager.model.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_nothing_of_it_stays_when_the_run_is_over(tmp_path: Any) -> None:
    fitted = fit(recipe())
    assert all(weight.is_contiguous() for weight in fitted.model.parameters())
    fitted.save(tmp_path / "net.lumbre")
    assert torch.equal(lb.load(tmp_path / "net.lumbre", Residual).predict(IMAGES), fitted.predict(IMAGES))
    assert lb.replay(tmp_path / "net.lumbre", recipe(), (IMAGES, LABELS)).same


@pytest.mark.parametrize("engine", ["auto", pytest.param("compiled", marks=compiles)])
def test_a_run_that_goes_on_keeps_it_and_its_bits(engine: str, tmp_path: Any) -> None:
    def run(epochs: int, **options: Any) -> lb.Fitted:
        net = lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout(), nn.Flatten(), nn.Linear(128, 4))  # noqa: E731
        made = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
        return made.fit(
            (IMAGES, LABELS), epochs=epochs, batch_size=16, verbose=False, device="cpu", engine=engine, **options
        )

    whole = run(4)
    run(2, resume=tmp_path)
    rest = run(4, resume=tmp_path)
    assert "channels last" in rest.engine
    assert rest.engine.startswith("compiled") == (engine == "compiled")
    assert torch.equal(rest.predict(IMAGES), whole.predict(IMAGES))


def test_it_ends_with_a_run_that_fails() -> None:
    net = Residual()
    with pytest.raises(lb.CallbackError):
        fit(recipe(net), callbacks=lb.callbacks.On(epoch_end=lambda ctx: 1 / 0))
    assert all(weight.is_contiguous() for weight in net.parameters())


@pytest.mark.parametrize(
    ("module", "loss", "target"),
    [
        (lambda: Residual(flat="view"), None, LABELS),
        (lambda: Residual(flat="view in evaluation"), None, LABELS),
        (lambda: Residual(spatial=True), nn.CrossEntropyLoss(), torch.arange(48 * 36).reshape(48, 6, 6) % 8),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(108, 4)), None, LABELS),
    ],
    ids=["a view that needs channels first", "a view in evaluation alone", "a prediction of images", "no convolution"],
)
def test_what_it_does_not_suit_trains_as_ever(module: Any, loss: Any, target: Tensor) -> None:
    fitted = fit(recipe(module, loss), target)
    assert "channels last" not in fitted.engine
    assert torch.equal(fitted.predict(IMAGES), fit(recipe(module, loss), target, engine="eager").predict(IMAGES))


def test_a_module_that_gives_its_loss_nothing_in_evaluation_is_not_slowed_down() -> None:
    class Plain(Residual):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x) if self.training else None

    assert "channels last" in fit(recipe(Plain)).engine


def test_the_trial_leaves_no_trace() -> None:
    net = Residual().eval()
    before = copy.deepcopy(net.state_dict())
    recipe(net).check((IMAGES, LABELS), device="cpu")
    assert not net.training
    assert all(weight.is_contiguous() for weight in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
