"""Predictions written in pieces, the mean over changed inputs, and whether a run was interrupted."""

import gc
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, TensorDataset

import lumbre as lb
from conftest import blobs
from lumbre.callbacks import On
from lumbre.fitted import _pieces


def fitted_of(module: Any = nn.Linear, **options: Any) -> lb.Fitted:
    recipe = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    recipe = recipe.set_hparams(in_features=4, out_features=3) if module is nn.Linear else recipe
    given: dict[str, Any] = {"epochs": 1, "verbose": False, "preflight": False, **options}
    return recipe.fit(blobs(40), **given)


def test_the_file_holds_what_predict_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pieces, "_ROWS", 10)
    fitted, (x, _) = fitted_of(), blobs(50)
    path = fitted.predict(x, to=tmp_path / "some.parquet", batch_size=4)
    assert path == tmp_path / "some.parquet"
    frame = pd.read_parquet(path)
    assert list(frame.columns) == ["prediction_0", "prediction_1", "prediction_2"]
    assert torch.equal(torch.tensor(frame.to_numpy()), fitted.predict(x, batch_size=4))
    assert [one.name for one in tmp_path.iterdir()] == ["some.parquet"]


def test_columns_bear_the_names_of_classes_and_of_intervals(tmp_path: Path) -> None:
    x, y = blobs(40)
    table = pd.DataFrame(x.numpy(), columns=list("abcd")).assign(kind=[("low", "mid", "top")[one] for one in y])
    recipe = lb.setup(nn.Linear(4, 3), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    data = lb.data.from_frame(table, target="kind")
    fitted = recipe.fit(data, epochs=1, verbose=False, preflight=False)
    written = pd.read_parquet(fitted.predict(table, to=tmp_path / "named.parquet"))
    assert list(written.columns) == ["prediction_low", "prediction_mid", "prediction_top"]
    fitted.conformal(data, level=0.8)
    sets = pd.read_parquet(fitted.predict(table, to=tmp_path / "sets.parquet", interval=True))
    assert list(sets.columns) == ["prediction", "set", "size"]
    assert sets["size"].tolist() == fitted.predict(table, interval=True)["size"].tolist()


def test_rows_of_intervals_are_counted_over_all_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pieces, "_ROWS", 8)
    x = torch.randn(20, 4)
    fitted = lb.setup(nn.Linear(4, 2), loss=nn.MSELoss(), optimizer=optim.SGD).fit(
        (x, x[:, :2]), epochs=1, verbose=False, preflight=False
    )
    fitted.conformal((x, x[:, :2]), level=0.8)
    written = pd.read_parquet(fitted.predict(x, interval=True, to=tmp_path / "two.parquet", batch_size=4))
    pd.testing.assert_frame_equal(written, fitted.predict(x, interval=True, batch_size=4))


def test_an_error_of_the_data_is_no_error_of_the_file(tmp_path: Path) -> None:
    fitted = fitted_of()

    def broken() -> Any:
        yield torch.zeros(4, 4)
        raise FileNotFoundError("picture.png")

    class Broken:
        def __iter__(self) -> Any:
            return broken()

    with pytest.raises(Exception, match=r"picture\.png") as raised:
        fitted.predict(Broken(), to=tmp_path / "some.parquet")
    assert "to=" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_a_single_number_is_a_column_prediction(tmp_path: Path) -> None:
    x, y = torch.randn(12, 2), torch.randn(12, 1)
    fitted = lb.setup(nn.Linear(2, 1), loss=nn.MSELoss(), optimizer=optim.SGD).fit(
        (x, y), epochs=1, verbose=False, preflight=False
    )
    assert list(pd.read_parquet(fitted.predict(x, to=str(tmp_path / "one.parquet"))).columns) == ["prediction"]


class Counting(nn.Module):
    """Knows how many of its outputs are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.alive: list[Any] = []
        self.most = 0

    def forward(self, x: Tensor) -> Tensor:
        output = self.layer(x)
        self.alive = [one for one in self.alive if one() is not None] + [weakref.ref(output)]
        self.most = max(self.most, len(self.alive))
        return output


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all outputs only those of a piece are alive, however many rows there are."""
    monkeypatch.setattr(_pieces, "_ROWS", 20)
    fitted, most = fitted_of(Counting()), []
    for rows in (100, 400):
        model: Any = fitted.model
        model.alive, model.most = [], 0
        gc.collect()
        loader = DataLoader(TensorDataset(torch.randn(rows, 4)), batch_size=5)
        written = pd.read_parquet(fitted.predict(loader, to=tmp_path / "many.parquet"))
        assert len(written) == rows
        most.append(model.most)
    assert most[0] == most[1] <= 8, "a piece is of four batches"


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, (x, _) = fitted_of(), blobs(40)
    for wrong in (tmp_path / "some.csv", tmp_path / "absent" / "some.parquet"):
        with pytest.raises(lb.OptionError, match=r"a \.parquet file in a folder that is there"):
            fitted.predict(x, to=wrong)
    pairs = nn.Sequential(nn.Linear(4, 6), nn.Unflatten(1, (2, 3)))
    several = lb.setup(pairs, loss=lambda pred, target: pred.square().mean(), optimizer=optim.SGD).fit(
        blobs(40), epochs=1, verbose=False, preflight=False
    )
    with pytest.raises(lb.DataError, match=r"\(rows, numbers\)"):
        several.predict(x, to=tmp_path / "pairs.parquet")
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def shift(x: Tensor, seeds: Tensor) -> Tensor:
    """Adds to each row a number of its own."""
    return x + (seeds % 1000)[:, None].float() / 1000


def test_the_mean_over_changed_inputs(tmp_path: Path) -> None:
    fitted, (x, _) = fitted_of(), blobs(40)
    once, more = fitted.predict(x, augment=shift), fitted.predict(x, augment=shift, times=16)
    assert torch.equal(more, fitted.predict(x, augment=shift, times=16)), "the same seeds"
    # Products of batches of other sizes may differ in their last bits.
    assert torch.allclose(more, fitted.predict(x, augment=shift, times=16, batch_size=7), atol=1e-5)
    # Of a linear net the mean output is that of the mean input, whose shift is 0.5 with a spread of 0.29 / 4.
    middle = fitted.predict(x + 0.5)
    assert (more - middle).abs().mean() < (once - middle).abs().mean()
    written = pd.read_parquet(fitted.predict(x, augment=shift, times=16, to=tmp_path / "mean.parquet"))
    assert torch.equal(torch.tensor(written.to_numpy()), more)
    flips = lb.vision.Augment([lb.vision.RandomHorizontalFlip()])
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    images = torch.rand(6, 3, 2, 2)
    seen = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).fit(
        (images, torch.arange(6) % 3), epochs=1, verbose=False, preflight=False
    )
    assert seen.predict(images, augment=flips, times=3).shape == (6, 3)


def test_impossible_changes_are_refused() -> None:
    fitted, (x, _) = fitted_of(), blobs(40)
    with pytest.raises(lb.OptionError, match=r"times=3 without augment"):
        fitted.predict(x, times=3)
    with pytest.raises(lb.OptionError, match="interval=True beside augment"):
        fitted.predict(x, augment=shift, interval=True)
    with pytest.raises(lb.OptionError, match="times=0"):
        fitted.predict(x, augment=shift, times=0)
    with pytest.raises(lb.OptionError, match="cannot take two arguments"):
        fitted.predict(x, augment=lambda x: x)


def test_an_interrupted_run_says_so(tmp_path: Path) -> None:
    def interrupt(ctx: lb.Context) -> None:
        if ctx.epoch == 2:
            raise KeyboardInterrupt

    cut = fitted_of(epochs=5, callbacks=On(epoch_begin=interrupt))
    assert cut.interrupted
    assert not fitted_of(epochs=2).interrupted
    assert not fitted_of(epochs=5, callbacks=On(epoch_end=lambda ctx: ctx.stop("enough"))).interrupted
    cut.save(tmp_path / "cut.lumbre")
    assert not lb.load(tmp_path / "cut.lumbre", nn.Linear).interrupted
