"""The learning-rate finder, the batch-size finder, one batch by heart: they find something and leave no trace."""

import copy
import runpy

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import ROOT, Net, blobs
from lumbre.callbacks import Accumulate, GradientClip, Mixup


@pytest.fixture
def ready() -> Net:
    return Net(4, dropout=0.2)


def recipe_of(module, **opt_hparams) -> lb.Recipe:
    return lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(**opt_hparams)


def test_the_rate_rises_in_equal_ratios_until_the_loss_diverges(ready: Net) -> None:
    found = recipe_of(ready).lr_finder(blobs(600), start=1e-5, end=1e3, steps=90)
    ratios = [after / before for before, after in zip(found.rates, found.rates[1:], strict=False)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert found.rates[0] == 1e-5
    assert len(found.losses) < 90, "it stopped when the loss diverged"
    assert found.suggest() < found.rates[-1] / 3
    assert list(found.frame().columns) == ["lr", "loss", "smoothed"]
    assert "suggestion" in repr(found)


def test_no_trace_is_left(ready: Net) -> None:
    ready.eval()
    before, state = copy.deepcopy(ready.state_dict()), torch.get_rng_state()
    recipe = recipe_of(ready)
    recipe.lr_finder(blobs())
    recipe.overfit_one_batch(blobs(), steps=5)
    recipe.batch_size_finder(blobs(), sizes=[16, 32], seconds=0.01)
    assert all(torch.equal(before[name], value) for name, value in ready.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not ready.training
    assert all(parameter.grad is None for parameter in ready.parameters())


def test_settings_of_the_user_are_kept() -> None:
    each: dict[int, list[tuple]] = {}  # the checks step copies of the optimizer, too

    class Spy(optim.SGD):
        def step(self, closure=None):
            first, second = self.param_groups
            each.setdefault(id(self), []).append((first["momentum"], first["lr"], second["lr"]))
            return super().step(closure)

    class Groups(Net):
        def configure_optimizers(self, momentum: float):
            body, head = [*self.layers[:2].parameters()], [*self.layers[2:].parameters()]
            return Spy([{"params": body, "lr": 0.1}, {"params": head, "lr": 0.01}], momentum=momentum)

    recipe = lb.setup(Groups, loss=nn.CrossEntropyLoss()).set_hparams(d_in=4).set_opt_hparams(momentum=0.8)
    callbacks = [GradientClip(1.0), Accumulate(2), Mixup()]
    found = recipe.lr_finder(blobs(), steps=20, batch_size=30, callbacks=callbacks)
    assert len(found.losses) == 20
    seen = max(each.values(), key=len)
    assert len(seen) == 10, "one update for two batches"
    assert all(momentum == 0.8 and head == pytest.approx(body / 10) for momentum, body, head in seen)


def test_other_callbacks_hear_nothing() -> None:
    class Loud(lb.Callback):
        def on_fit_begin(self, ctx: lb.Context) -> None:
            raise AssertionError

        on_train_batch_begin = on_train_batch_end = on_fit_begin

    recipe_of(Net).set_hparams(d_in=4).lr_finder(blobs(), callbacks=Loud(), steps=3)


def test_a_loss_that_never_fell_gives_no_suggestion() -> None:
    found = recipe_of(Net).set_hparams(d_in=4).lr_finder(blobs(), start=1e3, end=1e9, steps=20)
    with pytest.raises(lb.OptionError, match="range in which the net learns"):
        found.suggest()
    assert "never fell" in repr(found)


@pytest.mark.parametrize("wrong", [{"start": 0}, {"start": 1.0, "end": 0.1}, {"steps": 1}])
def test_an_impossible_range_is_refused(wrong) -> None:
    with pytest.raises(lb.OptionError):
        recipe_of(Net).set_hparams(d_in=4).lr_finder(blobs(), **wrong)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(lb.OptionError, match="batch_size"):
        recipe_of(Net).set_hparams(d_in=4).lr_finder(blobs(), batchsize=3)


def test_larger_batches_are_tried_until_the_rows_run_out() -> None:
    found = recipe_of(Net).set_hparams(d_in=4).batch_size_finder(blobs(100), seconds=0.01)
    assert found.sizes == [16, 32, 64]
    assert "fewer rows than 128" in found.stopped
    assert found.suggest() in found.sizes
    assert all(speed > 0 for speed in found.frame()["rows_per_second"])


def test_memory_that_runs_out_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(Net):
        def forward(self, x):
            if len(x) > 32:
                raise torch.OutOfMemoryError("no memory")
            return super().forward(x)

    recipe = recipe_of(Greedy).set_hparams(d_in=4)
    found = recipe.batch_size_finder(blobs(), sizes=[16, 32, 64], seconds=0.01, preflight=False)
    assert found.sizes == [16, 32]
    assert "no memory for 64" in found.stopped


def test_one_batch_is_learned_by_heart_unless_something_is_wrong() -> None:
    recipe = recipe_of(Net, lr=0.05).set_hparams(d_in=4)
    assert recipe.overfit_one_batch(blobs(), steps=100).learned

    class Cut(Net):
        def forward(self, x):
            return super().forward(x).detach().requires_grad_()

    found = recipe_of(Cut, lr=0.05).set_hparams(d_in=4).overfit_one_batch(blobs(), steps=30)
    assert not found.learned
    assert "look for a mistake" in repr(found)


def test_the_picture_has_points_a_line_and_the_suggestion(ready: Net) -> None:
    pytest.importorskip("plotnine")
    chart = recipe_of(ready).lr_finder(blobs(600), start=1e-5, end=1e3).plot()
    layers = [type(layer.geom).__name__ for layer in chart.layers]
    assert layers == ["geom_point", "geom_line", "geom_vline"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_mnist_net_gets_a_rate_that_trains_it(mnist_root, seed: int) -> None:
    Convnet = runpy.run_path(str(ROOT / "examples" / "mnist_cnn.py"))["Net"]
    train = lb.datasets.mnist(root=mnist_root, download=False)
    found = recipe_of(Convnet).lr_finder(train, batch_size=128, seed=seed)
    assert len(found.losses) <= 100
    assert 3e-4 <= found.suggest() <= 3e-2


def test_a_loss_that_leaps_at_the_end_hides_no_fall_before_it() -> None:
    """As a net may do whose rate has become too high: from below the first loss to forty times it in a step."""

    class Leaps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.steps = nn.Parameter(torch.ones(1)), 0

        def forward(self, x: Tensor) -> Tensor:
            self.steps += 1
            level = 2.3 - 0.06 * max(0, self.steps - 65) if self.steps < 81 else 100.0
            return self.weight * 0 + level + x[:, :1] * 0

    recipe = lb.setup(Leaps, loss=lambda pred, target: pred.mean(), optimizer=optim.SGD)
    found = recipe.lr_finder((torch.randn(64, 2), torch.zeros(64)), start=1e-6, end=1.0, batch_size=8, preflight=False)
    assert max(found.losses) > 20 * found.losses[0]
    assert 1e-3 < found.suggest() < 0.1
