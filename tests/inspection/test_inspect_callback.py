"""A look inside during the training: the numbers of the training stay, and those recorded are right."""

import json
from typing import Any

import pytest
import torch
from inspection_nets import Parts, rows, state
from torch import Tensor, nn, optim
from torch.nn import functional as F

import lumbre as lb
from conftest import Net, blobs
from lumbre.base import CallbackError, DataError, OptionError


class Rich(nn.Module):
    """Layers whose numbers are random and depend on the order of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Linear(8, 8), nn.Tanh()
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def recipe(module: Any = Rich, optimizer: Any = optim.AdamW, lr: float = 0.01) -> lb.Recipe:
    return lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optimizer).set_opt_hparams(lr=lr)


def hooks(module: nn.Module) -> list[int]:
    return state(module)["hooks"]


@pytest.mark.parametrize("more", [(), (lb.callbacks.GradientClip(0.1), lb.callbacks.Accumulate(2))])
def test_the_training_is_the_same_to_the_last_bit(more: tuple[lb.Callback, ...]) -> None:
    look = lb.inspect.Inspect(every=3)
    options: dict[str, Any] = {"epochs": 3, "valid_data": 0.2, "verbose": False, "seed": 5}
    plain = recipe().fit(blobs(), callbacks=more, **options)
    watched = recipe().fit(blobs(), callbacks=[look, *more], **options)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name
    assert plain.history.equals(watched.history)
    assert set(look.frame()["what"]) == {"activations", "gradients", "weights", "weight_gradients", "updates"}
    assert not any(hooks(watched.model))


class Beside(lb.Callback):
    """What a batch's step does, by hand on a copy of the model."""

    def __init__(self) -> None:
        self.tensors: list[dict[str, Tensor]] = []

    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        assert ctx.batch is not None
        model: Any = ctx.model
        first, _, _, last = model.layers
        with torch.enable_grad():
            hidden = first(ctx.batch.input)
            scores = last(hidden.relu())
            loss = F.cross_entropy(scores, ctx.batch.target)
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(loss, [hidden, scores, *parameters])
        names = ["layers.0", "layers.3", *(name for name, _ in model.named_parameters())]
        of = dict(zip(names, gradients, strict=True))
        weights = {f"w {name}": value.detach().clone() for name, value in model.named_parameters()}
        self.tensors.append({"a layers.0": hidden.detach(), "a layers.3": scores.detach()} | of | weights)


def test_what_is_recorded_is_what_happened() -> None:
    look, beside = lb.inspect.Inspect(every=2), Beside()
    net = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_hparams(d_in=4).set_opt_hparams(lr=0.1)
    net.fit(blobs(90), epochs=2, batch_size=30, callbacks=[look, beside], verbose=False)
    assert sorted({record.step for record in look.records}) == [0, 2, 4]
    assert {record.step: record.epoch for record in look.records} == {0: 1, 2: 1, 4: 2}
    for record in look.records:
        found, by_hand = record.statistics, beside.tensors[record.step]
        key = {"activations": "a ", "weights": "w "}.get(record.what, "") + found.layer
        if key not in by_hand:
            assert found.layer in ("layers.1", "layers.2")
            continue
        expected = by_hand[key] * (-0.1 if record.what == "updates" else 1)
        assert found.l2_norm == pytest.approx(expected.norm().item(), rel=1e-3), record.what
        assert found.mean == pytest.approx(expected.mean().item(), abs=1e-6)
        if record.what == "updates":
            assert found.ratio == pytest.approx((expected.norm() / by_hand[f"w {found.layer}"].norm()).item(), rel=1e-3)
        if record.what in ("activations", "gradients"):
            assert found.shape == expected.shape[1:]


def test_dropout_is_on_and_clipped_gradients_are_clipped() -> None:
    look = lb.inspect.Inspect(every=1)
    recipe().fit(blobs(), epochs=1, callbacks=[look, lb.callbacks.GradientClip(1e-3)], verbose=False)
    frame = look.frame()
    activations = frame[frame["what"] == "activations"].groupby("layer")["zeros"].mean()
    assert activations["body.3"] > activations["body.2"] - 1e-9
    clipped = frame[frame["what"] == "weight_gradients"].groupby("step")["l2_norm"]
    assert (clipped.apply(lambda norms: (norms**2).sum() ** 0.5) <= 1.001e-3).all()


def test_an_update_that_comes_batches_later_is_the_one_recorded() -> None:
    look = lb.inspect.Inspect(every=4, what=("weights", "weight_gradients", "updates"))
    data = blobs(96)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 32, "verbose": False}
    fitted = recipe(optimizer=optim.SGD).fit(data, callbacks=[look, lb.callbacks.Accumulate(2)], **options)
    frame = look.frame().query("layer == 'head.weight'")
    assert set(map(tuple, frame[["what", "step"]].to_numpy().tolist())) == {
        (what, step) for what in ("weights", "weight_gradients", "updates") for step in (0, 4)
    }
    gradients, updates = (frame.query(f"what == '{what}'")["l2_norm"] for what in ("weight_gradients", "updates"))
    assert updates.to_numpy() == pytest.approx(0.01 * gradients.to_numpy(), rel=1e-4)
    assert not any(hooks(fitted.model))


def test_layers_and_things_can_be_chosen() -> None:
    look = lb.inspect.Inspect(["body.?", "head.weight"], what=("activations", "updates"), every=10)
    recipe().fit(blobs(), epochs=1, callbacks=look, verbose=False)
    frame = look.frame()
    assert set(frame[frame["what"] == "activations"]["layer"]) == {f"body.{place}" for place in range(6)}
    updates = {"body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias", "body.4.weight", "body.4.bias"}
    assert set(frame[frame["what"] == "updates"]["layer"]) == updates | {"head.weight"}
    with pytest.raises(OptionError, match="Did you mean 'head'"):
        recipe().fit(blobs(), epochs=1, callbacks=lb.inspect.Inspect("haed"), verbose=False)


def test_the_number_of_samples_is_bounded() -> None:
    look = lb.inspect.Inspect("head", every=1, samples=6, what="weights")
    recipe().fit(blobs(120), epochs=10, batch_size=12, callbacks=look, verbose=False)
    steps = sorted({record.step for record in look.records})
    assert len(steps) <= 6
    assert steps == list(range(0, 100, steps[1]))


def test_hooks_are_gone_after_an_error_in_the_model() -> None:
    class Fragile(Rich):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            found = super().forward(x)
            Fragile.calls += self.training
            if Fragile.calls == 3:
                raise RuntimeError("broken")
            return found

    net = Fragile()
    with pytest.raises(RuntimeError, match="broken"):
        recipe(net).fit(blobs(), epochs=1, callbacks=lb.inspect.Inspect(every=1), verbose=False, preflight=False)
    assert not any(hooks(net))


def test_hooks_are_gone_after_an_error_in_another_callback_and_an_interruption() -> None:
    class Stops(lb.Callback):
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def on_after_loss(self, ctx: lb.Context) -> None:
            raise self.error

    for error, raised in ((ValueError("no"), CallbackError), (KeyboardInterrupt(), None)):
        net = Rich()
        run = recipe(net)
        callbacks = [lb.inspect.Inspect(every=1), Stops(error)]
        if raised is None:
            run.fit(blobs(), epochs=1, callbacks=callbacks, verbose=False)
        else:
            with pytest.raises(raised):
                run.fit(blobs(), epochs=1, callbacks=callbacks, verbose=False)
        assert not any(hooks(net))


def test_a_failure_that_the_loop_tells_of_takes_the_hooks_away() -> None:
    net, look = Rich(), lb.inspect.Inspect(every=1)
    context: Any = type("Context", (), {"model": net, "batch": None, "epoch": 1, "step": 0})()
    look.on_fit_begin(context)
    look.on_train_batch_begin(context)
    assert any(hooks(net))
    look.on_failure(context)
    assert not any(hooks(net))


def test_a_callback_that_is_used_again_starts_afresh() -> None:
    look = lb.inspect.Inspect(every=4)
    first = recipe().fit(blobs(), epochs=1, callbacks=look, verbose=False, seed=1)
    before = look.frame()
    second = recipe().fit(blobs(), epochs=1, callbacks=look, verbose=False, seed=1)
    assert before.equals(look.frame())
    assert not any(hooks(first.model) + hooks(second.model))


def test_a_step_of_the_modules_own_and_several_optimizers() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.two(self.one(x).relu())

        def loss(self, pred: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(pred, target)

        def configure_optimizers(self) -> dict[str, optim.Optimizer]:
            parts = {"one": self.one, "two": self.two}
            return {name: optim.SGD(part.parameters(), lr=0.1) for name, part in parts.items()}

        def step(self, ctx: lb.Context) -> Tensor:
            assert ctx.batch is not None
            for name in ("one", "two"):
                loss = self.loss(self.two(self.one(ctx.batch.input)), ctx.batch.target)
                ctx.minimize(loss, name)
            return loss.detach()

    look = lb.inspect.Inspect(every=1)
    fitted = lb.setup(Pair).fit(blobs(), epochs=1, callbacks=look, verbose=False)
    assert not any(hooks(fitted.model))
    frame = look.frame()
    assert {"one", "two", "two#2"} <= set(frame[frame["what"] == "activations"]["layer"])
    assert (frame[frame["what"] == "updates"]["ratio"] > 0).all()


def test_recurrent_layers_and_dicts() -> None:
    look = lb.inspect.Inspect(["lstm", "head"], every=1)
    data = ({"x": rows(12, 7, 3), "scale": rows(12, 1)}, torch.arange(12) % 2)
    run = lb.setup(Parts, loss=lambda pred, target: F.cross_entropy(pred["scaled"], target), optimizer=optim.SGD)
    run.set_opt_hparams(lr=0.1).fit(data, epochs=1, batch_size=6, callbacks=look, verbose=False)
    frame = look.frame()
    shapes = dict(zip(frame["layer"], frame["shape"], strict=True))
    assert shapes["lstm[0]"] == (7, 5)
    assert shapes["lstm[1][0]"] == (2, 5)
    assert "head[scaled]" in set(frame[frame["what"] == "gradients"]["layer"])


def test_sparse_gradients() -> None:
    run = lb.setup(nn.EmbeddingBag(10, 3, sparse=True), loss=nn.CrossEntropyLoss(), optimizer=optim.SparseAdam)
    look = lb.inspect.Inspect(every=1)
    run.fit((torch.arange(24).reshape(12, 2) % 10, torch.arange(12) % 3), epochs=1, callbacks=look, verbose=False)
    assert look.frame().query("what == 'weight_gradients' and layer == 'weight'")["l2_norm"].item() > 0


def test_its_state_is_plain_and_whole() -> None:
    look = lb.inspect.Inspect(every=2)
    recipe().fit(blobs(), epochs=1, callbacks=look, verbose=False)
    again = lb.inspect.Inspect(every=2)
    again.load_state_dict(json.loads(json.dumps(look.state_dict())))
    assert again.records == look.records


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"samples": 1}, {"what": "activation"}], ids=lambda options: next(iter(options))
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        lb.inspect.Inspect(**options)


def test_nothing_recorded_says_so() -> None:
    pytest.importorskip("plotnine")
    with pytest.raises(DataError, match="records of nothing"):
        lb.inspect.Inspect().plot()
