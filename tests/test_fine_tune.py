"""Fine-tuning: the head first, then all, the first layers slowest; rates as fastai sets them, and to the same bits."""

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from lumbre.trials._fine_tune import fine_tuning


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x).relu()).relu())


class Watch(lb.Callback):
    """What the parameters are after each epoch, and the rates of its last step."""

    def __init__(self) -> None:
        self.parameters: list[dict[str, torch.Tensor]] = []
        self.rates: list[list[float]] = []

    def on_epoch_end(self, ctx: lb.Context) -> None:
        self.parameters.append({name: value.detach().clone() for name, value in ctx.model.named_parameters()})
        self.rates.append([float(group["lr"]) for group in ctx.optimizers["optimizer"].param_groups])


PARTS = ["head", "second"]
X = torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(48) % 3


def recipe(**options: object) -> lb.Recipe:
    made = lb.setup(Body, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW)
    return made.set_opt_hparams(**{"lr": 0.01, **options})


def fine_tuned(watch: Watch, **options: object) -> lb.Fitted:
    given = {"epochs": 2, "frozen": 2, "parts": PARTS, "batch_size": 16, "verbose": False, **options}
    return recipe().fine_tune((X, Y), callbacks=watch, preflight=False, **given)  # type: ignore[arg-type]


def test_the_body_is_held_still_before_all_is_trained() -> None:
    watch = Watch()
    fitted = fine_tuned(watch)
    start = recipe().fit((X, Y), epochs=1, max_steps=1, preflight=False, verbose=False, seed=0)
    assert fitted.history["epoch"].max() == 4
    first, second, third, last = watch.parameters
    for name in first:
        frozen = not name.startswith("head")
        assert torch.equal(first[name], second[name]) == frozen, name
        assert not torch.equal(third[name], second[name]), name
        assert not torch.equal(last[name], third[name]), name
    assert set(first) == set(dict(start.model.named_parameters()))
    assert all(one.requires_grad for one in fitted.model.parameters())


def test_each_part_learns_slower_than_the_one_above_it() -> None:
    watch = Watch()
    fine_tuned(watch, spread=100)
    head, second, rest = watch.rates[0]
    assert head / second == pytest.approx(10)
    assert head / rest == pytest.approx(100)


def test_rates_are_those_of_fastai() -> None:
    """Learner.fine_tune: fit_one_cycle(1, lr, pct_start=0.99), then at half the rate div=5 and pct_start=0.3."""
    factor, steps, frozen = fine_tuning(1 / 4), 40, 10

    def cycle(total: int, peak: float, share: float, div: float, last: float) -> list[float]:
        optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        schedule = optim.lr_scheduler.OneCycleLR(
            optimizer, peak, total, pct_start=share, div_factor=div, final_div_factor=last / div, cycle_momentum=False
        )
        rates: list[float] = []
        for _ in range(total):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step() if len(rates) < total else None
        return rates

    expected = [*cycle(frozen, 1.0, 0.99, 25, 25e4), *cycle(steps - frozen, 0.5, 0.3, 5, 1e5)]
    assert [factor(step, steps) for step in range(steps)] == pytest.approx(expected, rel=1e-6)


def test_without_frozen_epochs_all_is_trained_from_the_start() -> None:
    watch = Watch()
    assert fine_tuned(watch, frozen=0).history["epoch"].max() == 2
    assert not torch.equal(watch.parameters[0]["first.weight"], watch.parameters[1]["first.weight"])


def test_groups_of_the_recipe_stay() -> None:
    watch = Watch()
    slow = recipe(groups={"first": {"lr": 1e-4}})
    slow.fine_tune((X, Y), 1, parts=PARTS, callbacks=watch, preflight=False, verbose=False)
    first, others = watch.rates[0]
    assert others / first == pytest.approx(100)


class Stops(lb.Callback):
    """Stops the first run in the middle of an epoch."""

    armed = True

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        if Stops.armed and ctx.epoch == 3:
            Stops.armed = False
            raise RuntimeError("the machine goes down")


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path) -> None:
    def tuned(**options: object) -> lb.Fitted:
        given = {"parts": PARTS, "verbose": False, "preflight": False, **options}
        return recipe().fine_tune((X, Y), 2, frozen=2, callbacks=Stops(), **given)  # type: ignore[arg-type]

    Stops.armed = True
    keep = lb.Checkpoints(tmp_path / "run", steps=1, wait=True)
    with pytest.raises(lb.CallbackError):
        tuned(resume=keep)
    resumed, whole = tuned(resume=keep), tuned()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: recipe().fine_tune((X, Y)), "parts="),
        (lambda: recipe().fine_tune((X, Y), parts=["hed"]), "head"),
        (lambda: recipe().fine_tune((X, Y), (1, 5), parts=PARTS), "whole number"),
        (lambda: recipe().fine_tune((X, Y), frozen=-1, parts=PARTS), "frozen=-1"),
        (lambda: recipe().fine_tune((X, Y), spread=0.5, parts=PARTS), "spread=0.5"),
        (lambda: recipe(lr=None).fine_tune((X, Y), parts=PARTS), "learning rate"),
    ],
    ids=["parts", "name", "epochs", "frozen", "spread", "rate"],
)
def test_what_cannot_be_is_said(call, words: str) -> None:
    with pytest.raises(lb.LumbreError, match=words):
        call()
