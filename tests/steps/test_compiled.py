"""The compiled engine beside the eager one: same losses, gradients, buffers, dropout; and when it steps aside."""

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.callbacks import GradientClip, Mixup
from lumbre.graphs import obstacle
from lumbre.metrics import LossMeter

pytestmark = [
    pytest.mark.skipif(obstacle(torch.device("cpu")) is not None, reason=str(obstacle(torch.device("cpu")))),
    # torch warns about its own insides while it compiles
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.*"),
]


class Convnet(nn.Module):
    """Convolution, BatchNorm, pooling, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(36, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Attention(nn.Module):
    """A transformer over eight numbers as a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(1, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.lift(x.unsqueeze(2))).mean(1))


def weights(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().double().flatten() for value in model.state_dict().values()])


def both(net, data, *, optimizer=optim.SGD, opt_hparams=None, loss=None, dtype=torch.float64, **options):
    """The same run eagerly and compiled; gives both."""
    recipe = lb.setup(lambda: net().to(dtype), loss=loss or nn.CrossEntropyLoss(), optimizer=optimizer)
    recipe = recipe.set_opt_hparams(**(opt_hparams or {"lr": 0.05}))
    runs = [recipe.fit(data, engine=engine, verbose=False, **options) for engine in ("eager", "compiled")]
    assert runs[1].engine.startswith("compiled"), runs[1].engine
    return runs


@pytest.mark.slow
def test_fifty_steps_of_a_convnet_with_batchnorm_and_dropout_agree() -> None:
    x, y = torch.randn(100, 1, 8, 8, dtype=torch.float64), torch.arange(100) % 3
    eager, compiled = both(
        Convnet, (x, y), epochs=10, batch_size=20, opt_hparams={"lr": 0.05, "momentum": 0.9}, valid_data=0.1
    )
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-10, atol=1e-10)
    assert eager.history["value"].tolist() == pytest.approx(compiled.history["value"].tolist(), rel=1e-9)


_MISTAKES_FLOAT64 = torch.__version__.startswith(("2.11.", "2.12."))


@pytest.mark.skipif(_MISTAKES_FLOAT64, reason="torch 2.11 and 2.12 cannot run compiled attention in float64")
@pytest.mark.slow
def test_fifty_steps_of_a_transformer_agree() -> None:
    x, y = torch.randn(80, 8, dtype=torch.float64), torch.arange(80) % 3
    eager, compiled = both(Attention, (x, y), epochs=10, batch_size=16)
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-10, atol=1e-10)


@pytest.mark.skipif(not _MISTAKES_FLOAT64, reason="torch 2.13 and newer run compiled attention in float64")
def test_a_graph_that_torch_makes_and_cannot_run_leaves_no_trace() -> None:
    data = torch.randn(80, 8, dtype=torch.float64), torch.arange(80) % 3
    eager, left = (
        lb.setup(lambda: Attention().double(), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).fit(
            data, epochs=2, batch_size=16, engine=engine, verbose=False
        )
        for engine in ("eager", "compiled")
    )
    assert "not compiled: RuntimeError" in left.engine
    assert torch.equal(weights(eager.model), weights(left.model))


def test_clip_mixup_schedules_and_short_batches_are_kept() -> None:
    class Fall(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            for group in ctx.optimizer.param_groups:
                group["lr"] = 0.1 * 0.97**ctx.step

    x, y = blobs(50)
    eager, compiled = both(
        lambda: Net(4, dropout=0.2), (x.double(), y), epochs=5, batch_size=8, opt_hparams={"lr": 0.1, "momentum": 0.5},
        callbacks=[GradientClip(0.5), Mixup(0.4), Fall()],
    )  # fmt: skip
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-9, atol=1e-10)
    assert isinstance(compiled.model, Net)


@pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")
@pytest.mark.parametrize("reduction", ["mean", pytest.param("sum", marks=pytest.mark.slow)])
def test_accumulated_gradients_agree(reduction: str) -> None:
    """Groups of three batches, the last group and the last batch short, clipped, with dropout."""
    x, y = blobs(75)
    eager, compiled = both(
        lambda: Net(4, dropout=0.2), (x.double(), y), epochs=6, batch_size=10, optimizer=optim.Adam,
        loss=nn.CrossEntropyLoss(reduction=reduction), callbacks=[lb.callbacks.Accumulate(3), GradientClip(0.5)],
    )  # fmt: skip
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-8, atol=1e-9)
    assert "an update every 3 batches" in eager.engine
    assert (
        " 36 steps of it" in compiled.engine
    )  # after two updates of three batches; of the eight of an epoch one is short


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "opt_hparams"),
    [
        (optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}),
        (optim.Adam, {"lr": 0.01}),
        (optim.Adam, {"lr": 0.01, "amsgrad": True}),
        (optim.AdamW, {"lr": 0.01}),
        (optim.NAdam, {"lr": 0.01}),
        (optim.RAdam, {"lr": 0.01}),
        (optim.RMSprop, {"lr": 0.001}),
        (optim.Adagrad, {"lr": 0.01}),
        (optim.Adadelta, {"lr": 1.0}),
        (optim.Adamax, {"lr": 0.01}),
        (optim.ASGD, {"lr": 0.01}),
        (optim.Rprop, {"lr": 0.001}),
    ],
)
def test_every_optimizer_that_traces_agrees(optimizer, opt_hparams) -> None:
    x, y = blobs(60)
    eager, compiled = both(
        lambda: Net(4), (x.double(), y), epochs=5, batch_size=10, optimizer=optimizer, opt_hparams=opt_hparams
    )
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-7, atol=1e-8)


def test_unused_parameters_stay_as_they_are() -> None:
    class Spare(Net):
        def __init__(self) -> None:
            super().__init__(4)
            self.spare = nn.Parameter(torch.ones(3))

    x, y = blobs(40)
    options = {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9}
    eager, compiled = both(Spare, (x.double(), y), epochs=2, batch_size=10, opt_hparams=options, ignore="LB023")
    assert torch.equal(compiled.model.spare, torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-9, atol=1e-10)


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    x, y = blobs(80)
    x[75] = float("nan")
    model = Net(4)
    seen: list[Tensor] = []

    class Keep(lb.Callback):
        def on_train_batch_begin(self, ctx: lb.Context) -> None:
            seen.append(weights(ctx.model))

    recipe = lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    with pytest.raises(lb.NonFiniteLossError, match=r"epoch 1, step 8 of the epoch, rows 75"):
        recipe.fit(
            (x, y), epochs=1, batch_size=10, shuffle=False, engine="compiled", preflight=False, callbacks=Keep(),
            verbose=False,
        )  # fmt: skip
    assert torch.equal(seen[-1], weights(model))


def run(net, *, callbacks=(), **options) -> lb.Fitted:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=options.pop("optimizer", optim.SGD))
    data = options.pop("data", blobs(60))
    return recipe.fit(data, epochs=2, batch_size=10, callbacks=callbacks, engine="compiled", verbose=False, **options)


def test_a_forward_that_counts_in_python_is_left_eager() -> None:
    class Counter(Net):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls = self.calls + 1
            return super().forward(x)

    fitted = run(lambda: Counter(4))
    assert "not compiled: " in fitted.engine
    assert fitted.model.calls >= 12


def test_a_graph_break_is_left_eager_and_changes_nothing() -> None:
    class Prints(Net):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum().item() > 1e9:
                return -super().forward(x)
            return super().forward(x)

    fitted = run(lambda: Prints(4))
    assert "not compiled" in fitted.engine
    plain = lb.setup(lambda: Prints(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).fit(
        blobs(60), epochs=2, batch_size=10, engine="eager", verbose=False
    )
    assert torch.equal(weights(fitted.model), weights(plain.model))


def test_a_change_between_steps_is_noticed() -> None:
    class Freeze(lb.Callback):
        def on_epoch_begin(self, ctx: lb.Context) -> None:
            if ctx.epoch == 2:
                ctx.model.layers[0].weight.requires_grad_(False)

    kept: list[Tensor] = []

    class Watch(lb.Callback):
        def on_epoch_end(self, ctx: lb.Context) -> None:
            kept.append(ctx.model.layers[0].weight.detach().clone())

    fitted = run(lambda: Net(4), callbacks=[Freeze(), Watch()])
    assert "changed while it was training" in fitted.engine
    assert torch.equal(kept[0], kept[1])


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"callbacks": type("Spy", (lb.Callback,), {"on_after_loss": lambda self, ctx: None})()}, "Spy.on_after_loss"),
        ({"precision": "float16"}, "float16"),
        ({"optimizer": optim.Adafactor}, "Adafactor"),
        ({"optimizer": optim.LBFGS}, "LBFGS"),
    ],
)
def test_what_cannot_be_one_graph_is_refused_by_name(option, match) -> None:
    with pytest.raises(lb.OptionError, match=match):
        run(lambda: Net(4), **option)


class Convolves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv1d(1, 4, 3), nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x.unsqueeze(1)).flatten(1))


class Attends(Attention):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)


class AttendsAndConvolves(Attends):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(1, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.first(x.unsqueeze(1)).squeeze(1))


@pytest.mark.parametrize(
    ("net", "limits", "engine"),
    [
        (lambda: nn.Linear(8, 3), {}, "eager"),  # too few steps
        (lambda: nn.Linear(8, 3), {"TINY_STEPS": 10}, "compiled"),
        (lambda: nn.Linear(8, 3), {"TINY_STEPS": 10, "TINY_FLOPS": 9}, "eager"),
        (lambda: nn.Linear(8, 3), {"SMALL_STEPS": 10}, "eager"),
        (lambda: nn.Linear(8, 3), {"SMALL_STEPS": 10, "TINY_FLOPS": 9}, "compiled"),
        (lambda: nn.Linear(8, 3), {"SMALL_STEPS": 10, "TINY_FLOPS": 9, "SMALL_FLOPS": 9}, "compiled"),
        (lambda: nn.Linear(8, 3), {"SMALL_STEPS": 10, "TINY_FLOPS": 9, "SMALL_FLOPS": 9, "SLOW_MKL": False}, "eager"),
        pytest.param(Convolves, {"SMALL_STEPS": 10, "TINY_FLOPS": 9}, "compiled", marks=pytest.mark.slow),
        (Convolves, {"SMALL_STEPS": 10, "TINY_FLOPS": 9, "SMALL_FLOPS": 9}, "eager"),
        (Attends, {"ATTENTION_STEPS": 10}, "eager"),  # a tiny one
        pytest.param(Attends, {"ATTENTION_STEPS": 10, "TINY_FLOPS": 9}, "compiled", marks=pytest.mark.slow),
        (AttendsAndConvolves, {"ATTENTION_STEPS": 10, "TINY_FLOPS": 9}, "eager"),
        (Attends, {"ATTENTION_STEPS": 10, "TINY_FLOPS": 9, "ATTENTION_FLOPS": 9}, "eager"),
    ],
)
def test_auto_compiles_runs_long_enough_for_the_size_of_their_nets(net, limits, engine, monkeypatch) -> None:
    monkeypatch.setattr("lumbre.run._engine.mkl_is_slow", lambda: limits.get("SLOW_MKL", True))
    for name in limits.keys() - {"SLOW_MKL"}:
        monkeypatch.setattr(f"lumbre.run._engine._{name}", limits[name])
    data = torch.randn(60, 8), torch.arange(60) % 3
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = recipe.fit(data, epochs=3, batch_size=10, verbose=False)
    assert fitted.engine.startswith(engine), fitted.engine
    assert ("repay" in fitted.engine) == (engine == "compiled")


def test_a_machine_without_a_compiler_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(lb.OptionError, match=r"no C\+\+ compiler"):
        run(lambda: Net(4))


def test_compiled_runs_repeat_to_the_bit() -> None:
    first, second = (run(lambda: Net(4, dropout=0.3)) for _ in range(2))
    assert torch.equal(weights(first.model), weights(second.model))


@pytest.mark.parametrize("accumulate", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_metrics_that_keep_sums_are_added_up_by_the_graph(accumulate: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over short batches and epochs; a metric that keeps rows is left to the meter."""
    by_hand: list[bool] = []
    update = LossMeter.update

    def watched(self, batch, pred, losses, *, added=False) -> None:
        by_hand.append(not added)
        update(self, batch, pred, losses, added=added)

    monkeypatch.setattr(LossMeter, "update", watched)
    x, y = blobs(75)
    metrics = [lb.metrics.Accuracy(), lb.metrics.F1(), lb.metrics.ConfusionMatrix(), lb.metrics.Perplexity()]
    callbacks = [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    histories = []
    for engine, more in (("eager", []), ("compiled", []), ("compiled", [lb.metrics.AUROC()])):
        by_hand.clear()
        fitted = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=metrics + more).fit(
            (x, y), epochs=4, batch_size=10, engine=engine, callbacks=callbacks, verbose=False
        )
        assert fitted.engine.startswith(engine)
        histories.append(fitted.history[~fitted.history["metric"].str.startswith("auroc")]["value"].tolist())
        eagerly = 4 + 2 * accumulate  # a short batch in each epoch, and the two updates before the graph
        assert sum(by_hand) == (eagerly if engine == "compiled" and not more else 32)
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)
    assert histories[2] == pytest.approx(histories[0], rel=1e-5)


@pytest.mark.parametrize(("accumulate", "mixed"), [pytest.param(1, False, marks=pytest.mark.slow), (3, True)])
def test_weights_of_rows_go_through_the_graph(accumulate: int, mixed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand: list[bool] = []
    update = LossMeter.update

    def watched(self, batch, pred, losses, *, added=False) -> None:
        by_hand.append(not added)
        update(self, batch, pred, losses, added=added)

    monkeypatch.setattr(LossMeter, "update", watched)
    x, y = blobs(75)
    w = torch.rand(75, generator=torch.Generator().manual_seed(0)) * 3 + 0.1
    callbacks = [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    callbacks += [Mixup(0.4)] if mixed else []
    metrics = [lb.metrics.Accuracy(), lb.metrics.F1(), lb.metrics.Perplexity()]
    loss = nn.CrossEntropyLoss(weight=torch.tensor([0.5, 2.0, 1.0]).double())
    recipe = lb.setup(lambda: Net(4).double(), loss=loss, optimizer=optim.Adam, metrics=metrics)
    eager, compiled = (
        recipe.fit(
            (x.double(), y), weights=w, epochs=5, batch_size=10, engine=engine, callbacks=callbacks, verbose=False
        )
        for engine in ("eager", "compiled")
    )
    assert compiled.engine.startswith("compiled"), compiled.engine
    assert by_hand.count(False) == 40 - 5 - 2 * accumulate  # of the eight of an epoch one is short
    torch.testing.assert_close(weights(eager.model), weights(compiled.model), rtol=1e-8, atol=1e-9)
    values = eager.history["value"].tolist()
    assert compiled.history["value"].tolist() == pytest.approx(values, rel=1e-8)


class Peeks(lb.metrics.Metric):
    """Cannot be traced."""

    def init(self, device):
        return torch.zeros((), device=device)

    def update(self, state, pred, target):
        return state + (1.0 if pred.sum().item() > 0 else 0.5)

    def compute(self, state):
        return state.sum().item()


class Grows(Peeks):
    """Its state changes its form, which no graph can keep."""

    def init(self, device):
        return torch.zeros(1, device=device)

    def update(self, state, pred, target):
        return torch.cat([state, pred.sum().reshape(1)])


class Largest(Peeks):
    """Begins elsewhere than at zero."""

    def init(self, device):
        return torch.tensor(-100.0, device=device)

    def update(self, state, pred, target):
        return torch.maximum(state, pred.max())


@pytest.mark.parametrize("metric", [Grows, *(pytest.param(one, marks=pytest.mark.slow) for one in (Peeks, Largest))])
def test_metrics_of_all_kinds_leave_the_step_a_graph(metric) -> None:
    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD, metrics=[metric()])
    eager, compiled = (
        recipe.fit(blobs(60), epochs=3, batch_size=10, engine=e, verbose=False) for e in ("eager", "compiled")
    )
    assert compiled.engine.startswith("compiled")
    assert compiled.history["value"].tolist() == pytest.approx(eager.history["value"].tolist(), rel=1e-5)


@pytest.mark.slow
def test_a_buffer_that_adds_up_in_float64_goes_on() -> None:
    """A pass of torch over Python's numbers would lose the additions."""

    class Adds(Net):
        def __init__(self) -> None:
            super().__init__(4)
            self.register_buffer("total", torch.zeros((), dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.total.add_(x.abs().sum(), alpha=0.5)
            return super().forward(x)

    x, y = blobs(60)
    fitted = run(Adds, data=(x, y), optimizer=optim.Adam)
    assert fitted.engine.startswith("compiled")
    assert fitted.model.total.item() == pytest.approx(x.abs().sum().item(), rel=1e-5)


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_compiled_run_that_stops_within_an_epoch_goes_on_to_the_same_bits(accumulate: int) -> None:
    """Sums of metrics with fractions, which a graph may round otherwise than the meter does."""
    metrics = [lb.metrics.Perplexity(), lb.metrics.Accuracy()]
    recipe = lb.setup(lambda: Net(4, dropout=0.2), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=metrics)
    callbacks = [lb.callbacks.Accumulate(accumulate)] if accumulate > 1 else []
    proof = recipe.verify_resume(
        blobs(231), steps=26 // accumulate, epochs=3, batch_size=17, engine="compiled", callbacks=callbacks,
        seed=1,
    )  # fmt: skip
    assert proof, str(proof)
