"""Faults of luz 0.5 that a user of lumbre must not meet: one test each, named after the fault."""

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

import lumbre as lb
from conftest import Net, blobs
from lumbre.callbacks import Accumulate, KeepBestModel, LRScheduler, Mixup, On, SampleGenerations

CE = nn.CrossEntropyLoss()


def recipe(**kwargs) -> lb.Recipe:
    return lb.setup(Net, loss=CE, optimizer=optim.SGD, **kwargs).set_hparams(d_in=4).set_opt_hparams(lr=0.1)


# Set up and data


def test_luz_set_hparams_replaced_all_earlier_ones() -> None:
    again = recipe().set_hparams(d_hidden=5)
    assert dict(again.hparams) == {"d_in": 4, "d_hidden": 5}


def test_luz_set_hparams_before_setup_was_lost() -> None:
    first = lb.setup(Net, loss=CE, optimizer=optim.SGD).set_opt_hparams(lr=0.3).set_hparams(d_in=4)
    assert first.fit(blobs(), epochs=1, verbose=False).hparams == {"d_in": 4}


@pytest.mark.parametrize("fraction", [0.0, 0.05])
def test_luz_a_validation_fraction_without_a_row_emptied_the_training_data(fraction: float) -> None:
    with pytest.raises(lb.OptionError, match="valid_data"):
        recipe().fit(blobs(10), valid_data=fraction, verbose=False)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: x.numpy()], ids=["tensor", "array"])
def test_luz_dropped_the_loader_options_of_tensors_and_arrays(wrap) -> None:
    x, y = blobs(60)
    sizes: list[int] = []
    watch = On(train_batch_end=lambda ctx: sizes.append(ctx.batch.size))
    recipe().fit((wrap(x), wrap(y)), epochs=1, batch_size=20, callbacks=watch, verbose=False)
    assert sizes == [20, 20, 20]


def test_luz_left_out_the_last_batch_without_a_word() -> None:
    rows: list[int] = []
    watch = On(train_batch_end=lambda ctx: rows.extend(map(int, ctx.batch.rows)))
    recipe().fit(blobs(50), epochs=1, batch_size=32, callbacks=watch, verbose=False)
    assert sorted(rows) == list(range(50))


# The loop


def test_luz_accepted_handlers_that_were_never_called() -> None:
    with pytest.raises(TypeError, match="on_batch_end"):
        type("Mine", (lb.Callback,), {"on_batch_end": lambda self, ctx: None})
    with pytest.raises(TypeError, match="batch_end"):
        On(batch_end=print)


def test_luz_reported_the_mean_of_batch_means() -> None:
    x, y = blobs(40)
    model = Net(4)
    with torch.no_grad():
        expected = CE(model(x), y).item()
    same = lb.setup(model, loss=CE, optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    fitted = same.fit((x, y), epochs=1, batch_size=32, verbose=False)
    assert fitted.history["value"][0] == pytest.approx(expected, rel=1e-6)


def test_luz_never_printed_the_time_of_validation() -> None:
    assert "validation time per epoch" in repr(recipe().fit(blobs(), epochs=1, valid_data=0.2, verbose=False))


def test_luz_stopped_at_an_lbfgs_optimizer() -> None:
    fitted = lb.setup(Net, loss=CE, optimizer=optim.LBFGS).set_hparams(d_in=4)
    losses = fitted.fit(blobs(), epochs=10, batch_size=120, verbose=False).history["value"]
    assert losses.iloc[-1] < 0.1 * losses.iloc[0]


def test_luz_generator_left_its_gradients_in_the_discriminator() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.judge, self.maker = nn.Linear(1, 1), nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.maker(x)

        def loss_judge(self, pred: Tensor, target: Tensor) -> Tensor:
            return 0 * self.judge(target).sum()

        def loss_maker(self, pred: Tensor, target: Tensor) -> Tensor:
            return self.judge(pred).square().mean()

        def configure_optimizers(self) -> dict[str, optim.Optimizer]:
            return {name: optim.SGD(getattr(self, name).parameters(), lr=1.0) for name in ("judge", "maker")}

    model = Pair()
    before = model.judge.weight.item()
    lb.setup(model).fit((torch.ones(8, 1), torch.ones(8, 1)), epochs=3, batch_size=4, verbose=False)
    assert model.judge.weight.item() == before


# Metrics


def test_luz_metrics_of_one_name_overwrote_each_other() -> None:
    two = {"top1": lb.metrics.TopKAccuracy(1), "top2": lb.metrics.TopKAccuracy(2)}
    last = recipe(metrics=two).fit(blobs(), epochs=1, verbose=False).history.set_index("metric")["value"]
    assert last["top1"] < last["top2"]


def test_luz_auroc_thresholds_left_ties_and_ends_out() -> None:
    metric = lb.metrics.BinaryAUROC()
    state = metric.init(torch.device("cpu"))
    scores, truth = torch.tensor([0.9, 0.8, 0.4, 0.5, 0.3, 0.2]), torch.tensor([1, 1, 1, 0, 0, 0])
    assert metric.compute(metric.update(state, scores, truth)) == pytest.approx(8 / 9)
    assert metric.compute(metric.update(state, torch.full((6,), 0.5), truth)) == pytest.approx(0.5)


# Trial runs, schedules, best models


def test_luz_lr_finder_threw_the_other_optimizer_options_away() -> None:
    each: dict[int, list[float]] = {}  # the checks step copies of the optimizer, too

    class Spy(optim.SGD):
        def step(self, closure=None):
            each.setdefault(id(self), []).append(self.param_groups[0]["momentum"])
            return super().step(closure)

    spied = lb.setup(Net, loss=CE, optimizer=Spy).set_hparams(d_in=4).set_opt_hparams(momentum=0.7)
    spied.lr_finder(blobs(), steps=5)
    assert max(each.values(), key=len) == [0.7] * 5


def test_luz_lr_finder_skipped_its_first_rate() -> None:
    found = recipe().lr_finder(blobs(), start=1e-5, end=1e-2, steps=4)
    assert found.rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])


def test_luz_plateau_scheduler_was_given_the_last_batch() -> None:
    given: list[float] = []

    class Spy(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics, epoch=None):
            given.append(float(metrics))
            super().step(metrics)

    watch = LRScheduler(Spy, monitor="valid_loss")
    fitted = recipe().fit(blobs(), epochs=3, valid_data=0.3, callbacks=watch, verbose=False)
    losses = fitted.history.query("set == 'valid' and metric == 'loss'")["value"].tolist()
    assert given[-3:] == pytest.approx(losses)


def test_luz_scheduler_could_not_name_one_of_several_optimizers() -> None:
    class Two(Net):
        def configure_optimizers(self) -> dict[str, optim.Optimizer]:
            first, *rest = self.parameters()
            return {"first": optim.SGD([first], lr=0.1), "rest": optim.SGD(rest, lr=0.1)}

    lower = On(epoch_end=lambda ctx: ctx.optimizers["rest"].param_groups[0].update(lr=0.01))
    rates: list[float] = []
    watch = On(fit_end=lambda ctx: rates.extend(one.param_groups[0]["lr"] for one in ctx.optimizers.values()))
    lb.setup(Two, loss=CE).set_hparams(d_in=4).fit(blobs(), epochs=1, callbacks=[lower, watch], verbose=False)
    assert rates == [0.1, 0.01]


def test_luz_early_stopping_kept_the_last_weights_not_the_best() -> None:
    kept: list[Tensor] = []
    watch = On(epoch_end=lambda ctx: kept.append(ctx.model.layers[0].weight.clone()))
    best = KeepBestModel("valid_loss")
    fitted = (
        recipe().set_opt_hparams(lr=3.0).fit(blobs(), epochs=6, valid_data=0.3, callbacks=[watch, best], verbose=False)
    )
    assert best.best_epoch is not None
    assert torch.equal(fitted.model.layers[0].weight, kept[best.best_epoch - 1])


# Mixing, precision, accumulation, samples


def test_luz_mixup_crashed_in_validation() -> None:
    fitted = recipe().fit(blobs(), epochs=1, valid_data=0.2, callbacks=Mixup(), verbose=False)
    assert set(fitted.history["set"]) == {"train", "valid"}


def test_luz_mixup_aborted_where_training_accuracy_was_measured() -> None:
    only_valid = lb.metrics.Sets(valid=lb.metrics.Accuracy())
    fitted = recipe(metrics=only_valid).fit(blobs(), epochs=1, valid_data=0.2, callbacks=Mixup(), verbose=False)
    assert list(fitted.history.query("metric == 'acc'")["set"]) == ["valid"]


def test_luz_virtual_batches_logged_a_fraction_and_lost_the_last_group() -> None:
    x, y = blobs(50)
    model = Net(4)
    with torch.no_grad():
        expected = CE(model(x), y).item()
    steps: list[int] = []
    watch = On(epoch_end=lambda ctx: steps.append(ctx.step))
    small = lb.setup(model, loss=CE, optimizer=optim.SGD).set_opt_hparams(lr=0.0)
    fitted = small.fit((x, y), epochs=1, batch_size=10, callbacks=[Accumulate(3), watch], verbose=False)
    assert steps == [2], "five batches are a group of three and one of two"
    assert fitted.history["value"][0] == pytest.approx(expected, rel=1e-6)


def test_luz_sampling_left_the_model_in_evaluation_mode() -> None:
    modes: list[bool] = []
    show = SampleGenerations(lambda model, ctx: float(model.training))
    watch = On(train_batch_begin=lambda ctx: modes.append(ctx.model.training))
    recipe().fit(blobs(), epochs=2, callbacks=[show, watch], verbose=False)
    assert all(modes)
    assert [value for _, value in show.samples] == [0.0, 0.0]


def test_luz_predictions_stayed_on_the_device() -> None:
    fitted = recipe().fit(blobs(), epochs=1, verbose=False)
    assert fitted.predict(blobs()[0]).device.type == "cpu"
