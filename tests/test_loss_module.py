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


def hand_average(steps: int, update: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of module and loss after so many steps of the run by hand, averaged by `update(average, now, step)`."""
    fitted = recipe(Proxies()).set_opt_hparams(lr=0.0).fit(data(), epochs=1, verbose=False, seed=3)
    net, loss = nn.Linear(5, 4), Proxies()
    net.load_state_dict(fitted.model.state_dict())
    weights = [*net.parameters(), *loss.parameters()]
    optimizer = optim.SGD(weights, lr=0.1)
    average = [one.detach().clone() for one in weights]
    x, y = data()
    for step in range(steps):
        at = slice(step % 3 * 32, step % 3 * 32 + 32)
        optimizer.zero_grad()
        loss(net(x[at]), y[at]).backward()
        optimizer.step()
        average = [update(one, now.detach(), step) for one, now in zip(average, weights, strict=True)]
    return average, [one.detach() for one in weights]


@pytest.mark.parametrize("held", [Proxies, Holder])
def test_ema_averages_the_parameters_of_the_loss_with_the_modules(held: Any, tmp_path: Path) -> None:
    average, _ = hand_average(9, lambda one, now, step: 0.8 * one + 0.2 * now)
    options = {"callbacks": lb.callbacks.EMA(0.8, warm_up=False)}
    fitted = recipe(held()).fit(data(), **RUN, **options)
    torch.testing.assert_close([*fitted.model.parameters()], average[:2])
    own = fitted.loss if isinstance(fitted.loss, nn.Module) else fitted.loss.inner
    torch.testing.assert_close(own.proxies.detach(), average[2])
    one = recipe(held())
    one.fit(data(), **RUN | {"epochs": 2}, callbacks=lb.callbacks.EMA(0.8, warm_up=False), resume=tmp_path)
    gone_on = one.fit(data(), **RUN, callbacks=lb.callbacks.EMA(0.8, warm_up=False), resume=tmp_path)
    own = gone_on.loss if isinstance(gone_on.loss, nn.Module) else gone_on.loss.inner
    torch.testing.assert_close(own.proxies.detach(), average[2])


def test_swa_averages_the_parameters_of_the_loss_with_the_modules() -> None:
    def mean(one: Tensor, now: Tensor, step: int) -> Tensor:
        return now if step < 3 else one if step % 3 != 2 else (one * (step // 3 - 1) + now) / (step // 3)

    average, last = hand_average(9, mean)
    fitted = recipe(Proxies()).fit(data(), **RUN, callbacks=lb.callbacks.SWA(0.34))
    torch.testing.assert_close([*fitted.model.parameters(), *fitted.loss.parameters()], average)
    assert not torch.equal(fitted.loss.proxies, last[2])


def best(name: str) -> Any:
    return {
        "keep": lambda: lb.callbacks.KeepBestModel("train_loss", mode="max"),
        "stop": lambda: lb.callbacks.EarlyStopping("train_loss", mode="max", patience=5, restore_best=True),
    }[name]()


@pytest.mark.parametrize("name", ["keep", "stop"])
def test_the_weights_of_the_best_epoch_are_those_of_the_loss_too(name: str, tmp_path: Path) -> None:
    first = recipe(Proxies()).fit(data(), **RUN | {"epochs": 1})
    fitted = recipe(Proxies()).fit(data(), **RUN, ignore="LB089", callbacks=best(name))
    assert torch.equal(fitted.model.weight, first.model.weight)
    assert torch.equal(fitted.loss.proxies, first.loss.proxies)
    one = recipe(Proxies())
    one.fit(data(), **RUN | {"epochs": 2}, ignore="LB089", callbacks=best(name), resume=tmp_path)
    assert torch.equal(
        one.fit(data(), **RUN, ignore="LB089", callbacks=best(name), resume=tmp_path).loss.proxies, first.loss.proxies
    )


class Grows(nn.Module):
    """A module with buffers that it makes anew: one of the same shape, one that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 4)
        self.register_buffer("mean", torch.zeros(5))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.5 * self.mean + 0.5 * x.mean(0)
            self.seen = torch.cat([self.seen, x.mean().reshape(1)])
        return self.layer(x - self.mean)


def grown() -> lb.Recipe:
    return lb.setup(Grows, loss=Proxies(), optimizer=optim.SGD).set_opt_hparams(lr=0.1)


def test_buffers_that_a_module_makes_anew_are_averaged_too() -> None:
    one = data(32)
    fitted = grown().fit(one, **RUN, callbacks=lb.callbacks.EMA(0.8, warm_up=False))
    means = [torch.zeros(5)]
    for _ in range(3):
        means += [0.5 * means[-1] + 0.5 * one[0].mean(0)]
    average = torch.zeros(5)
    for mean in means[1:]:
        average = 0.8 * average + 0.2 * mean
    torch.testing.assert_close(fitted.model.mean, average)
    assert len(fitted.model.seen) == 4
    kept = grown().fit(one, **RUN, ignore="LB089", callbacks=best("keep"))
    assert len(kept.model.seen) == 2
    torch.testing.assert_close(kept.model.mean, means[1])
