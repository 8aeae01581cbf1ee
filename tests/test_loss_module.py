"""A loss that is a module is a part of the run: copied for it, trained by it, kept with it."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb


class Proxies(nn.Module):
    """A loss with weights of its own, as the losses of metric learning have them."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.proxies = nn.Parameter(torch.randn(3, 4, generator=generator))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred @ self.proxies.T, target)


class Scaled(nn.Module):
    """A loss that divides by a running mean of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        error = (pred.logsumexp(1) - target).square().mean()
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * error.detach())
        return error / self.mean


class Holder:
    """No module, but holds one."""

    def __init__(self) -> None:
        self.inner = Proxies()

    def __call__(self, pred: Tensor, target: Tensor) -> Tensor:
        return self.inner(pred, target)


def weighted(inner: Proxies, pred: Tensor, target: Tensor) -> Tensor:
    return 2 * inner(pred, target)


def data(rows: int = 96, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator), torch.arange(rows) % 3


def recipe(loss: Any, **options: Any) -> lb.Recipe:
    made = lb.setup(nn.Linear, loss=loss, optimizer=optim.SGD).set_hparams(in_features=5, out_features=4)
    return made.set_opt_hparams(lr=0.1, **options)


def by_hand(epochs: int, rows: int) -> tuple[nn.Linear, Proxies]:
    """The same run in torch alone, in batches of 32 in order, from the weights that the recipe begins with."""
    fitted = recipe(Proxies()).set_opt_hparams(lr=0.0).fit(data(), epochs=1, verbose=False, seed=3)
    net, loss = nn.Linear(5, 4), Proxies()
    net.load_state_dict(fitted.model.state_dict())
    optimizer = optim.SGD([*net.parameters(), *loss.parameters()], lr=0.1)
    x, y = data(rows)
    for _ in range(epochs):
        for one, other in zip(x.split(32), y.split(32), strict=True):
            optimizer.zero_grad()
            loss(net(one), other).backward()
            optimizer.step()
    return net, loss


RUN: dict[str, Any] = {"epochs": 3, "batch_size": 32, "shuffle": False, "verbose": False, "seed": 3, "device": "cpu"}


def test_the_parameters_of_a_loss_are_trained_as_by_hand() -> None:
    declared = Proxies()
    fitted = recipe(declared).fit(data(), **RUN)
    net, loss = by_hand(3, 96)
    torch.testing.assert_close(fitted.model.weight, net.weight)
    torch.testing.assert_close(fitted.loss.proxies, loss.proxies)
    assert torch.equal(declared.proxies, Proxies().proxies), "the recipe's own loss stays what it was"
    assert not fitted.loss.training
    moved = fitted.ledger.set_index("parameter").loc["loss.proxies"]
    assert moved.numbers == 12
    assert moved.changed


@pytest.mark.parametrize("held", [Holder, lambda: partial(weighted, Proxies()), lambda: Proxies().forward])
def test_a_module_within_a_loss_is_trained_too(held: Any) -> None:
    declared = held()
    first, second = (recipe(declared).fit(data(), **RUN) for _ in range(2))
    assert torch.equal(first.model.weight, second.model.weight)
    assert first.ledger.set_index("parameter").filter(like="loss.", axis=0).changed.all()
    assert "loss.proxies" in set(first.ledger.parameter)


@pytest.mark.parametrize("loss", [Proxies, Scaled])
@pytest.mark.parametrize("preflight", [True, False])
def test_the_same_recipe_twice_gives_the_same_bits(loss: type[nn.Module], preflight: bool) -> None:
    one = recipe(loss())
    one.check(data())
    first = one.fit(data(), **RUN, preflight=preflight)
    first.evaluate(data())
    second = one.fit(data(), **RUN, preflight=not preflight)
    other = recipe(loss()).fit(data(), **RUN, preflight=preflight, valid_data=data(30, 1))
    assert torch.equal(first.model.weight, second.model.weight)
    assert torch.equal(first.model.weight, other.model.weight)


def test_groups_name_the_loss() -> None:
    fitted = recipe(Proxies(), groups={"loss": {"lr": 0.0}}).fit(data(), **RUN)
    assert torch.equal(fitted.loss.proxies, Proxies().proxies)
    assert fitted.ledger.set_index("parameter").loc["weight"].changed


def test_a_file_keeps_what_the_loss_has_learned(tmp_path: Path) -> None:
    one = recipe(Proxies())
    fitted = one.fit(data(), **RUN)
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", one)
    assert torch.equal(again.loss.proxies, fitted.loss.proxies)
    assert again.evaluate(data()).metrics == fitted.evaluate(data()).metrics
    assert set(lb.load_weights(tmp_path / "net.lumbre")) == {"weight", "bias"}
    assert lb.load(tmp_path / "net.lumbre", nn.Linear).loss is None
    with pytest.raises(lb.ArchiveError, match="loss had learned proxies of shape \\(3, 4\\)"):
        lb.load(tmp_path / "net.lumbre", recipe(nn.CrossEntropyLoss()))
    recipe(nn.CrossEntropyLoss(weight=torch.ones(4))).fit(data(), **RUN).save(tmp_path / "plain.lumbre")
    assert lb.load(tmp_path / "plain.lumbre", recipe(nn.CrossEntropyLoss())).loss is not None


@pytest.mark.parametrize("loss", [Proxies, Scaled])
def test_a_run_goes_on_with_its_loss(loss: type[nn.Module], tmp_path: Path) -> None:
    whole = recipe(loss()).fit(data(), **RUN)
    one = recipe(loss())
    one.fit(data(), **RUN | {"epochs": 1}, resume=tmp_path)
    gone_on = one.fit(data(), **RUN, resume=tmp_path)
    assert torch.equal(gone_on.model.weight, whole.model.weight)
    for name, value in whole.loss.state_dict().items():
        assert torch.equal(gone_on.loss.state_dict()[name], value)
    assert str(recipe(loss()).verify_resume(data(), batch_size=32)).startswith("Exact")


def test_a_loss_that_stands_on_the_model_given_is_not_copied_from_it() -> None:
    net = nn.Linear(5, 4)

    class Decay(nn.Module):
        def __init__(self, of: nn.Module) -> None:
            super().__init__()
            self.of = of

        def forward(self, pred: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(pred, target) + self.of.weight.square().sum()

    fitted = lb.setup(net, loss=Decay(net), optimizer=optim.SGD).set_opt_hparams(lr=0.1).fit(data(), **RUN)
    assert fitted.loss.of is net
    assert list(fitted.ledger.parameter) == ["weight", "bias"]
    assert net.weight.norm() < 0.5, "the decay has reached the weights that are trained"


def test_clipping_takes_one_norm_over_module_and_loss() -> None:
    x, y = data(32)
    plain = recipe(Proxies()).fit((x, y), **RUN | {"epochs": 1, "callbacks": lb.callbacks.GradientClip(1e-3)})
    moved = [*plain.ledger.change]
    assert sum(change**2 for change in moved) ** 0.5 == pytest.approx(0.1 * 1e-3, rel=1e-3)
    assert min(moved) > 0


def test_what_no_optimizer_would_train_is_refused() -> None:
    class Own(nn.Linear):
        def configure_optimizers(self) -> optim.Optimizer:
            return optim.SGD(self.parameters(), lr=0.1)

    with pytest.raises(lb.RecipeError, match=r"loss with parameters \(loss.proxies\) beside Own.configure_optimizers"):
        lb.setup(lambda: Own(5, 4), loss=Proxies()).fit(data(), **RUN)

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loss = nn.ParameterDict({"proxies": torch.zeros(5, 4)})

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.loss["proxies"]

    with pytest.raises(lb.RecipeError, match='parameters under the name "loss"'):
        lb.setup(Named, loss=Proxies(), optimizer=optim.SGD).fit(data(), **RUN)
    with pytest.raises(lb.OptionError, match="the loss has parameters of its own"):
        recipe(Proxies()).fit(data(), **RUN, engine="compiled")


def test_compiled_steps_move_the_buffers_of_a_loss_as_eager_ones_do() -> None:
    eager = recipe(Scaled()).fit(data(), **RUN, engine="eager")
    compiled = recipe(Scaled()).fit(data(), **RUN, engine="compiled")
    torch.testing.assert_close(compiled.model.weight, eager.model.weight)
    torch.testing.assert_close(compiled.loss.mean, eager.loss.mean)
