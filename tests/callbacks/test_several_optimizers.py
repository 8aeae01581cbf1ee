"""Schedules, clips and plans of unfreezing for several optimizers, each by its name, beside loops by hand."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import GradientClip, GradualUnfreezing, LearningRate, LRScheduler

RUN: dict[str, Any] = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": False, "seed": 1, "device": "cpu"}


class Two(nn.Module):
    """Two optimizers that share one loss."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())

    def configure_optimizers(self, lr: float = 0.1) -> dict[str, optim.Optimizer]:
        return {
            "body": optim.SGD(self.body.parameters(), lr=lr, momentum=0.9),
            "head": optim.Adam(self.head.parameters(), lr=lr / 10),
        }


class Each(Two):
    """A loss for each of both."""

    def loss_body(self, pred: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(pred, target)

    def loss_head(self, pred: Tensor, target: Tensor) -> Tensor:
        return 2 * nn.functional.cross_entropy(pred, target)


def fit(kind: type[Two], *callbacks: lb.Callback, **options: Any) -> lb.Fitted:
    recipe = lb.setup(kind, loss=nn.CrossEntropyLoss()) if kind is Two else lb.setup(kind)
    return recipe.fit(blobs(48), callbacks=list(callbacks), **RUN | options)


def by_hand(
    kind: type[Two], *, each_step: Any = None, each_epoch: Any = None, clip: Any = None, schedulers: Any = None
) -> Two:
    """The run in torch alone."""
    net = kind()
    still = lb.setup(Two, loss=nn.CrossEntropyLoss()).set_opt_hparams(lr=0.0).fit(blobs(48), **RUN)
    net.load_state_dict(still.model.state_dict())
    optimizers = net.configure_optimizers()
    made: list[Any] = schedulers(optimizers) if schedulers else []
    x, y = blobs(48)
    for epoch in range(3):
        if each_epoch:
            each_epoch(net, epoch)
        for batch in range(3):
            at = slice(16 * batch, 16 * batch + 16)
            if each_step:
                each_step(optimizers, 3 * epoch + batch)
            passes = [list(optimizers)] if kind is Two else [[name] for name in optimizers]
            for names in passes:
                for one in optimizers.values():
                    one.zero_grad()
                loss = getattr(net, f"loss_{names[0]}", nn.functional.cross_entropy)(net(x[at]), y[at])
                loss.backward()
                for name in names:
                    if clip:
                        clip(name, [one for one in getattr(net, name).parameters() if one.grad is not None])
                for name in names:
                    optimizers[name].step()
        for one in made:
            one.step()
    return net


def close(fitted: lb.Fitted, net: nn.Module) -> None:
    torch.testing.assert_close(fitted.model.state_dict(), net.state_dict())


KINDS = pytest.mark.parametrize("kind", [Two, Each])


@KINDS
@pytest.mark.parametrize("name", [None, "body", "head"])
def test_a_schedule_moves_the_optimizer_of_its_name(kind: type[Two], name: str | None) -> None:
    rates = {"body": 0.1, "head": 0.01}

    def move(optimizers: dict[str, Any], step: int) -> None:
        for one in optimizers if name is None else [name]:
            optimizers[one].param_groups[0]["lr"] = rates[one] * (1 - step / 9)

    fitted = fit(kind, LearningRate(lambda step, steps: 1 - step / steps, optimizer=name))
    close(fitted, by_hand(kind, each_step=move))
    logged = {one for one in fitted.history.metric if one.startswith("lr")}
    assert logged == {f"lr_{one}" for one in (rates if name is None else [name])}


@KINDS
def test_each_may_have_a_schedule_of_its_own(kind: type[Two]) -> None:
    fitted = fit(
        kind,
        LearningRate(lambda step, steps: 1 - step / steps, optimizer="body"),
        LRScheduler(lr_scheduler.StepLR, optimizer="head", step_size=1, gamma=0.5),
    )

    def move(optimizers: dict[str, Any], step: int) -> None:
        optimizers["body"].param_groups[0]["lr"] = 0.1 * (1 - step / 9)

    close(fitted, by_hand(kind, each_step=move, schedulers=lambda made: [lr_scheduler.StepLR(made["head"], 1, 0.5)]))
    shown = fitted.history.query("metric == 'lr_head'").value
    assert [*shown] == pytest.approx([0.01, 0.005, 0.0025])


@KINDS
def test_plateau_and_resuming_by_name(kind: type[Two]) -> None:
    callbacks: Callable[[], list[lb.Callback]] = lambda: [  # noqa: E731
        lb.schedules.plateau("train_loss", patience=0, min_delta=10.0, factor=0.5, optimizer="head"),
        LearningRate(lb.schedules.cosine(), optimizer="body"),
    ]
    whole = fit(kind, *callbacks())
    assert [*whole.history.query("metric == 'lr_head'").value] == pytest.approx([0.01, 0.01, 0.005])
    recipe = lb.setup(kind, loss=nn.CrossEntropyLoss()) if kind is Two else lb.setup(kind)
    assert str(recipe.verify_resume(blobs(48), batch_size=16, callbacks=callbacks())).startswith("Exact")


@KINDS
def test_clips_by_name_take_the_norm_of_one_optimizer(kind: type[Two]) -> None:
    def clip(name: str, parameters: list[nn.Parameter]) -> None:
        nn.utils.clip_grad_norm_(parameters, {"body": 0.01, "head": 0.05}[name])

    both = [GradientClip(0.01, optimizer="body"), GradientClip(0.05, optimizer="head")]
    close(fit(kind, *both), by_hand(kind, clip=clip))

    def one(name: str, parameters: list[nn.Parameter]) -> None:
        if name == "head":
            nn.utils.clip_grad_value_(parameters, 0.001)

    close(fit(kind, GradientClip(None, max_value=0.001, optimizer="head")), by_hand(kind, clip=one))


@KINDS
@pytest.mark.parametrize("plan", [["head", "body"], ["body", "head"]])
def test_an_optimizer_whose_parameters_are_all_held_still(kind: type[Two], plan: list[str]) -> None:
    def free(net: Two, epoch: int) -> None:
        for place, name in enumerate(plan):
            getattr(net, name).requires_grad_(epoch >= place)

    close(fit(kind, GradualUnfreezing(plan)), by_hand(kind, each_epoch=free))


class Own(Two):
    """A step of its own, of optimizers one of which may have nothing to train."""

    def step(self, ctx: lb.Context) -> Tensor:
        for name in ctx.optimizers:
            loss = nn.functional.cross_entropy(self(ctx.batch.input), ctx.batch.target)
            ctx.minimize(loss, name)
        return loss.detach()


def test_a_step_of_ones_own_may_meet_an_optimizer_that_is_held_still() -> None:
    fitted = lb.setup(Own).fit(blobs(48), **RUN | {"epochs": 1}, callbacks=GradualUnfreezing(["head"]))
    begun = lb.setup(Own).set_opt_hparams(lr=0.0).fit(blobs(48), **RUN | {"epochs": 1})
    assert torch.equal(fitted.model.body.weight, begun.model.body.weight)
    assert not torch.equal(fitted.model.head.weight, begun.model.head.weight)


def test_what_does_not_name_an_optimizer_is_refused_in_one_message() -> None:
    wrong: list[tuple[lb.Callback, str]] = [
        (LearningRate(lb.schedules.cosine(), optimizer="bodi"), "Did you mean 'body'"),
        (GradientClip(1.0, optimizer="bodi"), "Did you mean 'body'"),
        (LRScheduler(lr_scheduler.StepLR, optimizer="bodi", step_size=1), "Did you mean 'body'"),
        (LRScheduler(lr_scheduler.StepLR, step_size=1), "StepLR for a run with 2 optimizers: body, head"),
        (lb.schedules.plateau("train_loss"), "ReduceLROnPlateau for a run with 2 optimizers"),
    ]
    for callback, words in wrong:
        with pytest.raises(lb.OptionError, match=words) as caught:
            fit(Two, callback)
        assert str(caught.value).count("received:") == 1
    for several in (
        [GradientClip(1.0), GradientClip(1.0, optimizer="body")],
        [GradientClip(1.0, optimizer="body"), GradientClip(2.0, optimizer="body")],
        [LearningRate(lb.schedules.cosine()), LRScheduler(lr_scheduler.StepLR, optimizer="head", step_size=1)],
        [LearningRate(lb.schedules.cosine(), optimizer="body"), LearningRate(lb.schedules.cosine(), optimizer="body")],
    ):
        with pytest.raises(lb.OptionError):
            fit(Two, *several)
    with pytest.raises(lb.RecipeError, match=r"set_opt_hparams\(lrr=...\) for Two.configure_optimizers"):
        lb.setup(Two, loss=nn.CrossEntropyLoss()).set_opt_hparams(lrr=0.1).fit(blobs(48), **RUN)
    with pytest.raises(lb.OptionError, match="clipped by the optimizer's name"):
        fit(Two, GradientClip(1.0, optimizer="body"), engine="compiled")


@KINDS
def test_configured_optimizers_are_fused_as_others_are(kind: type[Two]) -> None:
    seen: dict[str, optim.Optimizer] = {}

    class Look(lb.Callback):
        def on_fit_begin(self, ctx: lb.Context) -> None:
            seen.update(ctx.optimizers)

    fit(kind, Look())
    assert all(group["fused"] for one in seen.values() for group in one.param_groups)
    one = lb.setup(lambda: nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(blobs(48), **RUN)

    class Same(nn.Linear):
        def configure_optimizers(self) -> optim.Optimizer:
            return optim.Adam(self.parameters())

    other = lb.setup(lambda: Same(4, 3), loss=nn.CrossEntropyLoss()).fit(blobs(48), **RUN)
    assert torch.equal(one.model.weight, other.model.weight)


class Mine(optim.Adam):
    """A class of the user's own, of which nothing is assumed."""


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: optim.Adam(parameters, foreach=True),
        lambda parameters: optim.Adam(parameters, fused=False),
        lambda parameters: optim.Adam(parameters, lr=torch.tensor(0.1)),
        lambda parameters: optim.RMSprop(parameters),
        lambda parameters: Mine(parameters),
    ],
)
def test_what_its_maker_has_decided_stays(make: Any) -> None:
    seen: list[optim.Optimizer] = []

    class Net(nn.Linear):
        def configure_optimizers(self) -> optim.Optimizer:
            seen.append(make(self.parameters()))
            return seen[-1]

    lb.setup(lambda: Net(4, 3), loss=nn.CrossEntropyLoss()).fit(blobs(48), **RUN, preflight=False)
    assert not any(group.get("fused") for group in seen[-1].param_groups)
