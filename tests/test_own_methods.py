"""Methods of a module's class count, attributes that bear their names do not; clipping with several optimizers."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs


class Named(nn.Module):
    """A net whose parts are called as methods of other modules are."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.predict = nn.Linear(8, 3)
        self.loss = nn.Identity()
        self.loss_weight = 2.0
        self.register_buffer("step", torch.zeros(()))
        self.configure_optimizers = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.body(x).relu())


def test_parts_of_a_module_are_not_taken_for_its_methods() -> None:
    x, y = blobs()
    recipe = lb.setup(Named, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.set_opt_hparams(lr=0.05).fit((x, y), epochs=10, verbose=False)
    assert fitted.evaluate((x, y)).metrics["acc"] == pytest.approx(
        (torch.as_tensor(fitted.predict_classes(x)) == y).float().mean().item()
    )
    assert torch.equal(fitted.predict(x), fitted.model(x))
    assert fitted.compare((x, y)).shape[0] == len(y)


def test_a_part_called_loss_is_no_loss() -> None:
    with pytest.raises(lb.RecipeError, match="no loss for Named"):
        lb.setup(Named, optimizer=optim.Adam).fit(blobs(), verbose=False)
    with pytest.raises(lb.RecipeError, match="no optimizer for Named"):
        lb.setup(Named, loss=nn.CrossEntropyLoss()).fit(blobs(), verbose=False)


class Two(nn.Module):
    """A net trained by an optimizer for each of its layers."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 3)
        self.apart = apart

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())

    def configure_optimizers(self, lr: float) -> dict[str, optim.Optimizer] | optim.Optimizer:
        if not self.apart:
            return optim.SGD(self.parameters(), lr=lr)
        parts = {"first": self.first, "second": self.second}
        return {name: optim.SGD(part.parameters(), lr=lr) for name, part in parts.items()}


def test_one_norm_is_taken_over_all_gradients_of_a_step() -> None:
    def trained(apart: bool) -> nn.Module:
        recipe = lb.setup(Two, loss=nn.CrossEntropyLoss()).set_hparams(apart=apart).set_opt_hparams(lr=0.5)
        options = {"callbacks": lb.callbacks.GradientClip(0.05), "verbose": False, "engine": "eager"}
        return recipe.fit(blobs(), epochs=2, **options).model

    for one, other in zip(trained(True).parameters(), trained(False).parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)  # torch sums the norm in another order


def test_a_helper_whose_name_begins_with_loss_is_no_loss() -> None:
    class Helped(Net):
        def loss_scale(self) -> float:
            return 1.0

    with pytest.raises(lb.RecipeError, match="loss_scale would be for optimizers called scale") as caught:
        lb.setup(Helped, optimizer=optim.SGD).set_hparams(d_in=4).fit(blobs(), verbose=False)
    assert "setup(..., loss=...)" in str(caught.value)
    recipe = lb.setup(Helped, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4)
    assert recipe.fit(blobs(), epochs=1, verbose=False).evaluate(blobs()).metrics["loss"] > 0


class Cells(nn.Module):
    """Its methods have names that lumbre knows, and take something else."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.along, self.out = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.inside(x) + self.along(state))

    def response(self, x: Tensor, factor: float) -> Tensor:
        return factor * self(x)

    def loss(self, x: Tensor) -> Tensor:
        return self(x).square().mean()

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(len(x), 6)
        for time in range(x.shape[1]):
            state = self.step(x[:, time], state)
        return self.out(state)


def test_methods_that_take_something_else_are_the_modules_own_affair() -> None:
    x, y = torch.randn(24, 4, 3), torch.arange(24) % 2
    recipe = lb.setup(Cells, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=lb.metrics.Accuracy())
    fitted = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        scores = fitted.model(x)
    found = fitted.evaluate((x, y)).metrics
    assert found["loss"] == pytest.approx(nn.functional.cross_entropy(scores, y).item(), rel=1e-5)
    assert fitted.compare((x, y)).correct.mean() == pytest.approx(found["acc"])
    assert torch.allclose(fitted.predict_probabilities(x), scores.softmax(1))
    with pytest.raises(lb.RecipeError, match="no loss for Cells"):
        lb.setup(Cells, optimizer=optim.SGD).fit((x, y), epochs=1, verbose=False)


class OfLoader(nn.Linear):
    def predict(self, loader: Any) -> Tensor:
        return torch.cat([self(batch[0]) for batch in loader])


def test_a_predict_that_takes_no_batch_is_named() -> None:
    x = torch.randn(12, 2)
    recipe = lb.setup(OfLoader, loss=nn.MSELoss(), optimizer=optim.SGD).set_hparams(in_features=2, out_features=1)
    fitted = recipe.fit((x, x[:, :1]), epochs=1, verbose=False, preflight=False)
    with pytest.raises(lb.RecipeError, match=r"in OfLoader.predict\(\), called with a batch"):
        fitted.predict(x)


class Chooses(nn.Linear):
    def predict(self, x: Tensor) -> Tensor:
        return self(x).argmax(1)


def test_class_numbers_that_a_module_predicts_are_classes() -> None:
    x, y = torch.randn(30, 4), torch.arange(30) % 3
    y[::7] = -100
    recipe = lb.setup(Chooses, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(
        in_features=4, out_features=3
    )
    fitted = recipe.fit((x, y), epochs=1, verbose=False, preflight=False)
    with torch.no_grad():
        chosen = fitted.model(x).argmax(1)
    assert fitted.predict_classes(x).tolist() == chosen.tolist()
    frame, kept = fitted.compare((x, y)), y >= 0
    assert "residual" not in frame
    assert "probability" not in frame
    assert frame.correct.dropna().tolist() == (chosen == y)[kept].tolist()
    assert frame.predicted.tolist() == chosen.tolist()
    with pytest.raises(lb.DataError, match="class numbers"):
        fitted.conformal((x, y))
    with pytest.raises(lb.DataError):
        fitted.predict_probabilities(x)
