"""Training a trained model further: from its weights on, and the model before it stays as it is."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn, optim

import lumbre as lb

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
QUIET = {"verbose": False, "preflight": False}


def line(optimizer: type[optim.Optimizer] = optim.SGD) -> lb.Recipe:
    recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optimizer, metrics=lb.metrics.MAE())
    return recipe.set_hparams(in_features=3, out_features=1).set_opt_hparams(lr=0.01)


def table() -> pd.DataFrame:
    frame = pd.DataFrame(X.numpy() * 10 + 3, columns=list("abc"))
    return frame.assign(kind=["low" if value < 0 else "high" for value in Y[:, 0].tolist()])


def test_steps_without_memory_go_on_as_in_one_run() -> None:
    """SGD remembers nothing, and every epoch in order is the same: 2 epochs and 3 are 5 at a stretch."""
    whole = line().fit((X, Y), epochs=5, shuffle=False, engine="eager", **QUIET)
    first = line().fit((X, Y), epochs=2, shuffle=False, engine="eager", **QUIET)
    weights = {name: value.clone() for name, value in first.model.state_dict().items()}
    more = first.fit((X, Y), epochs=3, shuffle=False, engine="eager", **QUIET)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(more.model.state_dict()[name], value), name
        assert torch.equal(first.model.state_dict()[name], weights[name]), name
    pd.testing.assert_frame_equal(more.history, whole.history)
    assert first.history["epoch"].max() == 2
    assert more.timings["fit_seconds"] > first.timings["fit_seconds"]


def test_the_optimizer_is_new() -> None:
    first = line(optim.Adam).fit((X, Y), epochs=1, shuffle=False, **QUIET)
    more = first.fit((X, Y), epochs=1, shuffle=False, max_steps=1, **QUIET)
    moved = (more.model.weight - first.model.weight).abs()  # type: ignore[operator]
    torch.testing.assert_close(moved, torch.full_like(moved, 0.01), rtol=1e-3, atol=0)  # Adam's first step is lr


def test_a_loaded_model_is_trained_further_and_saved_again(tmp_path: Path) -> None:
    first = line().fit((X, Y), epochs=2, batch_size=20, seed=3, **QUIET)
    first.save(tmp_path / "first.lumbre")
    loaded = lb.load(tmp_path / "first.lumbre", line())
    more, same = loaded.fit((X, Y), epochs=1, **QUIET), first.fit((X, Y), epochs=1, **QUIET)
    assert torch.equal(more.predict(X), same.predict(X))
    more.save(tmp_path / "more.lumbre")
    again = lb.load(tmp_path / "more.lumbre", nn.Linear)
    assert torch.equal(again.predict(X), more.predict(X))
    assert again.hparams == {"in_features": 3, "out_features": 1}
    assert list(again.history["epoch"].unique()) == [1, 2, 3]


def test_frames_go_through_the_encoding_that_is_there() -> None:
    frame = table()
    data = lb.data.from_frame(frame, target="kind")
    net = lb.setup(lambda: nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    first = net.fit(data, epochs=1, **QUIET)
    shifted = frame[list("abc")] + 100.0
    moved = shifted.assign(kind=frame["kind"])[["c", "kind", "a", "b"]]
    # A step of zero changes nothing: what differs would be the encoding.
    still = net.set_opt_hparams(lr=0.0).fit(data, epochs=1, **QUIET)
    more = still.fit(moved, epochs=1, **QUIET)
    assert torch.equal(more.predict(frame), still.predict(frame))
    assert more.classes == first.classes == ("high", "low")
    assert set(first.fit(data, epochs=1, valid_data=frame, **QUIET).predict_classes(frame)) <= {"high", "low"}


def test_columns_of_a_plain_frame_are_taken_by_their_names() -> None:
    frame = pd.DataFrame(X.numpy(), columns=list("abc"))
    first = line().fit((frame, Y), epochs=1, **QUIET)
    more, turned = first.fit((frame, Y), epochs=1, **QUIET), first.fit((frame[list("cab")], Y), epochs=1, **QUIET)
    assert torch.equal(more.predict(frame), turned.predict(frame))
    assert torch.equal(turned.predict(frame[list("bca")]), turned.predict(frame))


def test_what_its_loss_has_learned_is_kept() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log = nn.Parameter(torch.zeros(()))

        def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return ((pred - target) ** 2).mean() * (-self.log).exp() + self.log

    recipe = lb.setup(lambda: nn.Linear(3, 1), loss=Scaled(), optimizer=optim.SGD).set_opt_hparams(lr=0.01)
    first = recipe.fit((X, Y), epochs=3, **QUIET)
    more = first.fit((X, Y), epochs=1, max_steps=1, shuffle=False, **QUIET)
    start, end = first.loss.log.item(), more.loss.log.item()
    assert start != 0
    assert abs(end - start) < abs(start)


def test_the_same_rows_are_held_out() -> None:
    still = line().set_opt_hparams(lr=0.0)
    first = still.fit((X, Y), epochs=1, valid_data=0.2, seed=7, **QUIET)
    more = first.fit((X, Y), epochs=1, valid_data=0.2, **QUIET)
    other = first.fit((X, Y), epochs=1, valid_data=0.2, seed=8, **QUIET)
    before, same = more.history_wide["valid_loss"]
    assert before == same
    assert other.history_wide["valid_loss"].iloc[-1] != before


def test_a_ready_module_stays_as_it_was_trained() -> None:
    net = nn.Linear(3, 1)
    first = lb.setup(net, loss=nn.MSELoss(), optimizer=optim.SGD).fit((X, Y), epochs=1, **QUIET)
    before = net.weight.detach().clone()
    more = first.fit((X, Y), epochs=1, verbose=False)
    assert first.model is net
    assert torch.equal(net.weight, before)
    assert not torch.equal(more.model.weight, before)  # type: ignore[arg-type]


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    data = lb.data.from_frame(table(), target="kind")
    first = lb.setup(lambda: nn.Linear(3, 2), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).fit(
        data, epochs=1, **QUIET
    )
    with pytest.raises(lb.DataError, match="missing: c"):
        first.fit(table().drop(columns="c"), epochs=1, **QUIET)
    with pytest.raises(lb.DataError, match="other"):
        first.fit(table().assign(kind="other"), epochs=1, **QUIET)
    with pytest.raises(lb.DataError, match="trained on the columns of a frame"):
        first.fit((X, torch.zeros(60, dtype=torch.int64)), epochs=1, **QUIET)
    with pytest.raises(lb.OptionError, match="epoch="):
        first.fit(data, epoch=3)
    line().fit((X, Y), epochs=1, **QUIET).save(tmp_path / "line.lumbre")
    with pytest.raises(lb.RecipeError, match="with its class alone"):
        lb.load(tmp_path / "line.lumbre", nn.Linear).fit((X, Y))
