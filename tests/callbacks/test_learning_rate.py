"""Schedules against torch's, and schedulers in a run."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from lumbre.callbacks import LearningRate, LRScheduler

s = lb.schedules
ROWS = (torch.ones(12, 1), torch.zeros(12, 1))


class Rates(lb.Callback):
    """Keeps the rate of every step, of each group."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, ...]] = []

    def on_train_batch_end(self, ctx: lb.Context) -> None:
        self.seen.append(tuple(float(group["lr"]) for group in ctx.optimizer.param_groups))


def rates(line: lb.Recipe, callback: lb.Callback, epochs: int = 3, **options: object) -> list[float]:
    """The rates of a run of 4 steps an epoch; the rate at the end of a step, before `callback` hears of it."""
    seen = Rates()
    line.fit(ROWS, epochs=epochs, batch_size=3, callbacks=[seen, callback], verbose=False, **options)
    return [first for first, *_ in seen.seen]


def by_torch(scheduler: type, steps: int, lr: float = 0.1, **kwargs: object) -> list[float]:
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    made, found = scheduler(optimizer, **kwargs), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


@settings(deadline=None)
@given(steps=st.integers(10, 200), share=st.floats(0.15, 0.9), start=st.floats(0.01, 0.9), end=st.floats(1e-5, 1e-2))
def test_one_cycle_is_torch_s(steps: int, share: float, start: float, end: float) -> None:
    expected = by_torch(
        lr_scheduler.OneCycleLR,
        steps,
        max_lr=0.1,
        total_steps=steps,
        pct_start=share,
        div_factor=1 / start,
        final_div_factor=start / end,
        cycle_momentum=False,
    )
    schedule = s.one_cycle(warmup=share, start=start, end=end)
    assert [0.1 * schedule(step, steps) for step in range(steps)] == pytest.approx(expected, rel=1e-9)


def test_one_cycle_s_defaults_are_torch_s() -> None:
    expected = by_torch(lr_scheduler.OneCycleLR, 50, max_lr=0.1, total_steps=50, cycle_momentum=False)
    assert [0.1 * s.one_cycle()(step, 50) for step in range(50)] == pytest.approx(expected)


@settings(deadline=None)
@given(steps=st.integers(1, 200), end=st.floats(0, 1))
def test_cosine_and_linear_are_torch_s(steps: int, end: float) -> None:
    cosine = by_torch(lr_scheduler.CosineAnnealingLR, steps, T_max=steps, eta_min=0.1 * end)
    assert [0.1 * s.cosine(end=end)(step, steps) for step in range(steps)] == pytest.approx(cosine, abs=1e-9)
    linear = by_torch(lr_scheduler.LinearLR, steps, start_factor=1.0, end_factor=end, total_iters=steps)
    assert [0.1 * s.linear(end=end)(step, steps) for step in range(steps)] == pytest.approx(linear, abs=1e-9)


@settings(deadline=None)
@given(
    schedule=st.sampled_from(
        [s.one_cycle(), s.cosine(warmup=0.1), s.cosine(end=0.2), s.linear(warmup=0.3), s.constant_with_warmup(0.5)]
    ),
    total=st.integers(1, 100),
    step=st.integers(0, 150),
)
def test_factors_lie_between_nothing_and_the_full_rate(schedule, total: int, step: int) -> None:
    assert 0 <= schedule(step, total) <= 1
    if step >= total:
        assert schedule(step, total) == pytest.approx(schedule(total + 1, total), abs=1e-9), "beyond the end it stays"


def test_warm_up_is_a_number_of_steps_or_a_share() -> None:
    assert [s.constant_with_warmup(4)(step, 100) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert [s.constant_with_warmup(0.04)(step, 100) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]
    assert s.cosine(warmup=4)(4, 100) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: s.one_cycle(warmup=1.5), "warmup=1.5"),
        (lambda: s.one_cycle(start=25), "start=25"),
        (lambda: s.cosine(warmup=-1), "a number of steps, or a share"),
        (lambda: s.cosine(end=2), "end=2"),
        (lambda: s.plateau(mode="least"), 'mode="min"'),
        (lambda: s.plateau(factor=2), "factor=2"),
        (lambda: LearningRate(0.1), "schedules.cosine()"),
        (lambda: LearningRate(s.plateau()), "among the callbacks"),
        (lambda: LearningRate(s.linear(), step_on="epochs"), "Did you mean 'epoch'"),
        (lambda: LRScheduler(lr_scheduler.StepLR, step_on="step"), "one of 'epoch', 'batch'"),
        (
            lambda: LRScheduler(lr_scheduler.StepLR(optim.SGD([nn.Parameter(torch.zeros(1))]), 1)),
            r"LRScheduler\(StepLR",
        ),
    ],
)
def test_what_is_no_schedule_is_refused(make, words: str) -> None:
    with pytest.raises(lb.OptionError, match=words):
        make()


# ---------------------------------------------------------------- in a run


def test_a_rate_for_each_step(line: lb.Recipe) -> None:
    schedule = s.cosine(warmup=2)
    assert rates(line, LearningRate(schedule)) == pytest.approx([0.1 * schedule(step, 12) for step in range(12)])


def test_a_rate_for_each_epoch(line: lb.Recipe) -> None:
    found = rates(line, LearningRate(s.linear(), step_on="epoch"))
    assert found == pytest.approx([0.1] * 4 + [0.1 * 2 / 3] * 4 + [0.1 / 3] * 4)


def test_groups_keep_their_proportions() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(1, 4), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).relu())

        def configure_optimizers(self) -> optim.Optimizer:
            groups = [{"params": self.body.parameters(), "lr": 0.01}, {"params": self.head.parameters()}]
            return optim.SGD(groups, lr=0.1)

    seen = Rates()
    callbacks = [LearningRate(s.linear()), seen]
    lb.setup(Two, loss=nn.MSELoss()).fit(ROWS, epochs=1, batch_size=3, callbacks=callbacks, verbose=False)
    assert [body for body, _ in seen.seen] == pytest.approx([0.01, 0.0075, 0.005, 0.0025])
    assert [head for _, head in seen.seen] == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_the_rate_stands_in_the_history_of_each_epoch(line: lb.Recipe) -> None:
    fitted = line.fit(ROWS, epochs=3, batch_size=3, callbacks=LearningRate(s.linear()), verbose=False)
    assert fitted.history_wide["train_lr"].tolist() == pytest.approx([0.1 * (1 - last / 12) for last in (3, 7, 11)])
    fitted.plot()


def test_a_rate_in_a_tensor_keeps_its_place() -> None:
    places = set()

    class Watch(lb.Callback):
        def on_train_batch_end(self, ctx: lb.Context) -> None:
            places.add(ctx.optimizer.param_groups[0]["lr"].data_ptr())

    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.Adam).set_hparams(in_features=1, out_features=1)
    recipe = recipe.set_opt_hparams(lr=torch.tensor(0.1), foreach=False)
    fitted = recipe.fit(ROWS, epochs=2, batch_size=3, callbacks=[LearningRate(s.linear()), Watch()], verbose=False)
    assert len(places) == 1
    assert fitted.history_wide["train_lr"].iloc[-1] == pytest.approx(0.1 / 8)


def test_a_stream_has_no_rate_for_each_batch(line: lb.Recipe) -> None:
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from zip(*ROWS, strict=True)

    with pytest.raises(lb.OptionError, match='step_on="epoch"'):
        line.fit(Stream(), epochs=1, callbacks=LearningRate(s.linear()), verbose=False)
    line.fit(Stream(), epochs=1, callbacks=LearningRate(s.linear(), step_on="epoch"), verbose=False)


def test_a_factor_that_is_no_number_stops_the_run(line: lb.Recipe) -> None:
    with pytest.raises(lb.OptionError, match="at step 2 of 4 is nan"):
        line.fit(
            ROWS,
            epochs=1,
            batch_size=3,
            callbacks=LearningRate(lambda step, total: math.nan if step == 2 else 1.0),
            verbose=False,
        )


@pytest.mark.parametrize(("step_on", "every"), [("epoch", 4), ("batch", 1)])
def test_any_scheduler_of_torch(line: lb.Recipe, step_on: str, every: int) -> None:
    found = rates(line, LRScheduler(lr_scheduler.ExponentialLR, step_on=step_on, gamma=0.5))
    assert found == pytest.approx([0.1 * 0.5 ** (step // every) for step in range(12)])


def test_a_scheduler_learns_how_many_steps_there_are(line: lb.Recipe) -> None:
    callback = LRScheduler(lr_scheduler.OneCycleLR, step_on="batch", max_lr=0.1, cycle_momentum=False)
    assert rates(line, callback) == pytest.approx([0.1 * s.one_cycle()(step, 12) for step in range(12)])
    fitted = line.fit(ROWS, epochs=3, batch_size=3, callbacks=callback, verbose=False)
    assert fitted.history_wide["train_lr"].iloc[-1] == pytest.approx(0.1 / 25e4), "the rate of the last step"


class Scripted(lb.Callback):
    """Gives the validation loss chosen values."""

    def __init__(self, *values: float) -> None:
        self.values = values

    def on_valid_end(self, ctx: lb.Context) -> None:
        records = ctx.history.records
        records[:] = [record for record in records if record[:3] != ("valid", "loss", ctx.epoch)]
        ctx.log("loss", self.values[ctx.epoch - 1])


def test_plateau_gets_the_epoch_s_validation_loss(line: lb.Recipe) -> None:
    # luz hands over the last batch's training loss instead.
    callbacks = [Scripted(5, 4, 4, 4, 4, 3), s.plateau(patience=1, factor=0.5)]
    fitted = line.fit(ROWS, epochs=6, valid_data=ROWS, callbacks=callbacks, verbose=False)
    assert fitted.history_wide["train_lr"].tolist() == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_a_metric_is_asked_for_by_name_before_the_first_epoch(line: lb.Recipe) -> None:
    with pytest.raises(lb.OptionError, match=r"valid_data=0\.2"):
        line.fit(ROWS, callbacks=s.plateau(), verbose=False)
    with pytest.raises(lb.OptionError, match="Did you mean 'valid_loss'"):
        line.fit(ROWS, valid_data=ROWS, callbacks=s.plateau("val_loss"), verbose=False)
    with pytest.raises(lb.OptionError, match="looks at no metric"):
        line.fit(ROWS, callbacks=LRScheduler(lr_scheduler.StepLR, step_size=1, monitor="train_loss"), verbose=False)
    with pytest.raises(lb.OptionError, match="after each epoch"):
        line.fit(ROWS, callbacks=LRScheduler(lr_scheduler.ReduceLROnPlateau, step_on="batch"), verbose=False)
    with pytest.raises(lb.OptionError, match="step_size"):
        line.fit(ROWS, callbacks=LRScheduler(lr_scheduler.StepLR), verbose=False)


@pytest.mark.parametrize("early", [True, False])
def test_a_scheduler_goes_on_from_its_state(line: lb.Recipe, early: bool) -> None:
    def make() -> LRScheduler:
        return LRScheduler(lr_scheduler.CosineAnnealingLR, T_max=6)

    whole = rates(line, make(), epochs=6)
    first = make()
    rates(line, first, epochs=2, ignore="LB035")
    second = make()
    if early:
        second.load_state_dict(first.state_dict())
        assert rates(line, second, epochs=4, ignore="LB035") == pytest.approx(whole[8:])
    else:

        class Restore(lb.Callback):
            def on_fit_begin(self, ctx: lb.Context) -> None:
                second.load_state_dict(first.state_dict())

        seen = Rates()
        line.fit(ROWS, epochs=4, batch_size=3, callbacks=[second, Restore(), seen], preflight=False, verbose=False)
        assert [rate for (rate,) in seen.seen] == pytest.approx(whole[8:])


def test_the_same_callback_serves_two_runs(line: lb.Recipe) -> None:
    for callback in (LearningRate(s.linear()), LRScheduler(lr_scheduler.ExponentialLR, gamma=0.5)):
        assert rates(line, callback) == rates(line, callback)


@pytest.mark.parametrize("engine", ["auto", "eager"])
def test_accumulated_batches_bring_no_warning_about_the_order_of_steps(line: lb.Recipe, engine: str) -> None:
    for step_on in ("batch", "epoch"):
        scheduler = LRScheduler(lr_scheduler.OneCycleLR, step_on=step_on, max_lr=0.1, cycle_momentum=False)
        many = lb.callbacks.Accumulate(4)
        line.fit(ROWS, epochs=2, batch_size=3, callbacks=[many, scheduler], engine=engine, verbose=False)
    chained = LRScheduler(
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, total_iters=2), lr_scheduler.ExponentialLR(optimizer, 0.9)],
            [2],
        ),
        step_on="batch",
    )
    line.fit(ROWS, epochs=2, batch_size=3, callbacks=[lb.callbacks.Accumulate(3), chained], verbose=False)
