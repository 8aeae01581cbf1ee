"""The recorded step. Without a CUDA device a stand-in repeats the step on the graph's own tensors, as a replay does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net, blobs
from lumbre.graphs import Compiled
from lumbre.graphs import _replay as replay

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def stand_in(step: Any, inputs: Any) -> tuple[Callable[[], None], tuple[Any, Tensor]]:
    outputs = torch.empty(10, 3), torch.empty(())

    def start() -> None:
        for place, value in zip(outputs, step(*inputs), strict=True):
            place.copy_(value)

    return start, outputs


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    if not torch.cuda.is_available():
        monkeypatch.setattr(replay, "recorded", stand_in)
        monkeypatch.setattr("lumbre.run._engine._recording_hindrance", lambda *_: None)


class Fall(lb.Callback):
    def on_train_batch_begin(self, ctx: lb.Context) -> None:
        for group in ctx.optimizer.param_groups:
            group["lr"] = 0.1 * 0.97**ctx.step


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("optimizer", [optim.SGD, optim.Adam, optim.AdamW])
@pytest.mark.parametrize(
    "callbacks",
    [[], [lb.callbacks.GradientClip(0.5)], [lb.callbacks.Accumulate(2)]],
    ids=["plain", "clip", "accumulate"],
)
def test_a_recorded_run_ends_where_an_eager_one_does(optimizer: Any, callbacks: list[lb.Callback]) -> None:
    """With a schedule, dropout and a short last batch."""
    recipe = lb.setup(lambda: Net(4, dropout=0.2), loss=nn.CrossEntropyLoss(), optimizer=optimizer)
    recorded, eager = (
        recipe.fit(blobs(65), epochs=4, batch_size=10, engine=engine, callbacks=[Fall(), *callbacks], verbose=False)
        for engine in ("cuda_graph", "eager")
    )
    assert recorded.engine.startswith("cuda_graph: the whole step as one graph")
    for ours, theirs in zip(recorded.model.parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert recorded.history["value"].tolist() == pytest.approx(eager.history["value"].tolist(), rel=1e-4)


@pytest.mark.usefixtures("recorded")
def test_an_update_that_differs_is_found_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    eager_update = Compiled._eager_update
    monkeypatch.setattr(Compiled, "_eager_update", lambda self, p: [value + 0.1 for value in eager_update(self, p)])
    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    fitted = recipe.fit(blobs(60), epochs=2, batch_size=10, engine="cuda_graph", verbose=False)
    assert "not recorded: the update differs from the eager one" in fitted.engine
    plain = recipe.fit(blobs(60), epochs=2, batch_size=10, engine="eager", verbose=False)
    assert torch.equal(fitted.predict(blobs(60)), plain.predict(blobs(60)))


@pytest.mark.usefixtures("recorded")
def test_predictions_that_a_callback_keeps_are_not_written_over() -> None:
    kept: list[Tensor] = []
    copies: list[Tensor] = []

    def keep(ctx: lb.Context) -> None:
        assert isinstance(ctx.pred, Tensor)
        kept.append(ctx.pred)
        copies.append(ctx.pred.clone())

    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    watch = lb.callbacks.On(train_batch_end=keep)
    recipe.fit(blobs(60), epochs=2, batch_size=10, engine="cuda_graph", callbacks=watch, verbose=False)
    assert all(map(torch.equal, kept, copies))


def test_it_is_refused_where_it_cannot_be() -> None:
    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    with pytest.raises(lb.OptionError, match="the device is cpu"):
        recipe.fit(blobs(60), engine="cuda_graph", device="cpu", verbose=False)


@cuda
def test_an_optimizer_that_is_not_fused_is_refused() -> None:
    recipe = lb.setup(lambda: Net(4), loss=nn.CrossEntropyLoss(), optimizer=optim.RMSprop)
    with pytest.raises(lb.OptionError, match="RMSprop is not fused"):
        recipe.fit(blobs(60), engine="cuda_graph", verbose=False)
