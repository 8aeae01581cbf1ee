"""The public API: declaring a run, and what fit() guarantees."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import lumbre as lb
from conftest import Net, blobs


def weights(fitted: lb.Fitted) -> Tensor:
    return torch.cat([p.detach().flatten() for p in fitted.model.parameters()])


def test_it_learns(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    fitted = recipe.fit(data, epochs=20, valid_data=0.25, verbose=False)
    assert fitted.evaluate(blobs(seed=1)).metrics["acc"] > 0.9
    assert fitted.predict(data).shape == (120, 3)


def test_a_recipe_never_changes(recipe: lb.Recipe) -> None:
    changed = recipe.set_hparams(d_hidden=8).set_opt_hparams(weight_decay=0.1)
    assert dict(recipe.hparams) == {"d_in": 4}
    assert dict(changed.hparams) == {"d_in": 4, "d_hidden": 8}
    assert dict(changed.opt_hparams) == {"lr": 0.01, "weight_decay": 0.1}
    with pytest.raises(AttributeError):
        recipe.loss = None  # type: ignore[misc]
    with pytest.raises(TypeError):
        recipe.hparams["d_in"] = 5  # type: ignore[index]


def test_each_fit_of_a_class_starts_afresh(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    first, second = (recipe.fit(data, epochs=2, verbose=False) for _ in range(2))
    assert first.model is not second.model
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(recipe.fit(data, epochs=2, seed=1, verbose=False)))


def test_an_instance_is_trained_itself_and_fit_says_so(
    data: tuple[Tensor, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Net(4)
    before = model.layers[0].weight.detach().clone()
    fitted = lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(data, epochs=1)
    assert fitted.model is model
    assert not torch.equal(before, model.layers[0].weight)
    assert "its own weights change" in capsys.readouterr().out


def test_the_callers_random_state_is_left_alone(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    import random

    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    fitted = recipe.fit(data, epochs=1, valid_data=0.2, verbose=False)
    fitted.evaluate(data), fitted.predict(data), recipe.check(data)
    assert (torch.rand(1), random.random(), np.random.rand()) == expected


SCRIPT = """
import sys, torch
sys.path.insert(0, "tests")
import lumbre as lb
from conftest import Net, blobs
from torch import nn, optim
from torch.utils.data import Dataset

class Noisy(Dataset):
    def __init__(self): self.x, self.y = blobs()
    def __len__(self): return len(self.x)
    def __getitem__(self, i): return self.x[i] + 0.1 * torch.randn(4), self.y[i]

if __name__ == "__main__":
    torch.set_num_threads(1)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    fitted = recipe.set_hparams(d_in=4, dropout=0.3).fit(
        Noisy(), epochs=3, valid_data=0.2, num_workers=int(sys.argv[1]), verbose=sys.argv[2] == "yes", seed=7)
    print("BITS", [p.detach().numpy().tobytes().hex() for p in fitted.model.parameters()])
"""


def test_same_seed_same_bits_in_other_processes_with_any_workers_and_progress(tmp_path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    from conftest import ROOT

    found = set()
    for workers, verbose in (("0", "no"), ("2", "yes")):
        run = subprocess.run(
            [sys.executable, script, workers, verbose], cwd=ROOT, capture_output=True, text=True, check=True
        )
        found.add(run.stdout.partition("BITS")[2])
    assert len(found) == 1
    assert len(found.pop()) > 1000


class Rows(Dataset):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.x[i], self.y[i]


class Stream(IterableDataset):
    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y

    def __iter__(self):
        return iter(list(zip(self.x, self.y, strict=True)))


def test_the_same_rows_in_any_wrapping_train_to_the_same_bits(recipe: lb.Recipe) -> None:
    x, y = blobs()
    forms = {
        "tensors": (x, y),
        "arrays": (x.numpy(), y.numpy()),
        "float64 array": (x.double().numpy(), y.numpy().astype("int32")),
        "list": [x, y],
        "dict": {"x": x, "y": y},
        "other dict": {"input": x, "target": y},
        "frames": (pd.DataFrame(x.numpy(), columns=list("abcd")), pd.Series(y.numpy())),
        "TensorDataset": TensorDataset(x, y),
        "Subset": Subset(TensorDataset(x, y), range(120)),
        "Dataset": Rows(x, y),
        "Subset of Dataset": Subset(Rows(x, y), range(120)),
        "rows": list(zip(x, y, strict=True)),
        "InMemoryDataset": lb.data.InMemoryDataset(x, y),
    }
    found = {name: weights(recipe.fit(form, epochs=2, verbose=False)) for name, form in forms.items()}
    for name, bits in found.items():
        assert torch.equal(bits, found["tensors"]), name


def test_loaders_streams_and_generators(recipe: lb.Recipe) -> None:
    x, y = blobs()
    dataset = TensorDataset(x, y)
    ordered = weights(recipe.fit((x, y), epochs=2, shuffle=False, batch_size=40, verbose=False))
    loader = DataLoader(dataset, batch_size=40)
    assert torch.equal(weights(recipe.fit(loader, epochs=2, verbose=False)), ordered)
    stream = recipe.fit(Stream(x, y), epochs=2, batch_size=40, verbose=False)
    assert torch.equal(weights(stream), ordered)
    batches = [(a, b) for a, b in loader]
    assert torch.equal(
        weights(recipe.fit(iter(batches * 1), epochs=1, verbose=False)),
        weights(recipe.fit(batches_of(batches), epochs=1, verbose=False)),
    )
    shuffled = DataLoader(dataset, batch_size=40, shuffle=True)
    first, second = (weights(recipe.fit(shuffled, epochs=2, verbose=False)) for _ in range(2))
    assert torch.equal(first, second), "a loader that shuffles by torch's generator repeats under the seed"
    with pytest.raises(lb.DataError, match="no batch in epoch 2"):
        recipe.fit(iter(batches), epochs=2, verbose=False)


class batches_of:
    """An iterable of batches that can be read again and again."""

    def __init__(self, batches) -> None:
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def test_several_inputs_by_position_and_by_name() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(2, 1)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.line(torch.cat([a, b], 1))

    a, b = torch.randn(20, 1), torch.randn(20, 1)
    recipe = lb.setup(Two, loss=nn.MSELoss(), optimizer=optim.SGD)
    spread = recipe.fit(((a, b), a + b), epochs=2, verbose=False)
    named = recipe.fit(({"b": b, "a": a}, a + b), epochs=2, verbose=False)
    assert torch.equal(weights(spread), weights(named))
    assert spread.predict(((a, b), None)).shape == (20, 1)


def test_a_module_may_bring_its_own_loss_optimizer_and_predict() -> None:
    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(4, 2), nn.Linear(2, 4)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.decode(self.encode(x)), x

        def loss(self, pred: tuple[Tensor, Tensor], target: None) -> Tensor:
            assert target is None
            return (pred[0] - pred[1]).square().mean()

        def configure_optimizers(self, lr: float) -> optim.Optimizer:
            return optim.Adam(self.parameters(), lr=lr)

        def predict(self, x: Tensor) -> Tensor:
            return self.encode(x)

    x = blobs()[0]
    fitted = lb.setup(Auto).set_opt_hparams(lr=0.01).fit(x, epochs=30, verbose=False)
    values = fitted.history["value"]
    assert values.iloc[-1] < 0.5 * values.iloc[0]
    assert fitted.predict(x).shape == (120, 2)


def test_nested_predictions_keep_their_form() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> dict[str, object]:
            return {"scores": self.line(x), "parts": (x[:, :1], x.sum(1))}

    fitted = lb.setup(
        Both, loss=lambda pred, target: nn.functional.cross_entropy(pred["scores"], target), optimizer=optim.SGD
    ).fit(blobs(), epochs=1, verbose=False)
    found = fitted.predict(blobs())
    assert found["scores"].shape == (120, 3)
    assert found["parts"][0].shape == (120, 1)
    assert found["parts"][1].shape == (120,)


def test_lazy_modules_take_their_shape_from_the_data() -> None:
    recipe = lb.setup(lambda: nn.Sequential(nn.LazyLinear(3)), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)
    assert recipe.fit(blobs(), epochs=1, verbose=False).model[0].in_features == 4


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precisions_learn_and_predict_in_float32(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], precision: str
) -> None:
    fitted = recipe.fit(data, epochs=15, precision=precision, verbose=False)
    assert fitted.evaluate(data).metrics["acc"] > 0.9
    assert fitted.predict(data).dtype == torch.float32
    assert next(fitted.model.parameters()).dtype == torch.float32


def test_the_loss_is_the_mean_over_samples_not_over_batches(line: lb.Recipe) -> None:
    x = torch.arange(5.0).reshape(5, 1)
    recipe = line.set_opt_hparams(lr=0.0)
    fitted = recipe.fit((x, x), epochs=1, batch_size=4, verbose=False)
    exact = nn.functional.mse_loss(fitted.model(x), x).item()
    assert fitted.history["value"][0] == pytest.approx(exact, rel=1e-6)
    assert fitted.evaluate((x, x), batch_size=2).metrics["loss"] == pytest.approx(exact, rel=1e-6)


def test_history_timings_and_reprs(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    fitted = recipe.fit(data, epochs=3, valid_data=0.2, verbose=False)
    history = fitted.history
    assert list(history.columns) == ["set", "metric", "epoch", "value"]
    assert len(history) == 3 * 2 * 2
    whole = {"fit_seconds", "train_seconds_per_epoch", "valid_seconds_per_epoch"}
    parts = {f"{phase}_seconds" for phase in ("data", "step", "metrics", "callbacks", "validation")}
    assert set(fitted.timings) == whole | parts
    assert sum(fitted.timings[part] for part in parts) <= fitted.timings["fit_seconds"]
    assert "time went to" in repr(fitted)
    for text in (repr(fitted), fitted._repr_html_()):
        for part in ("total time", "training time per epoch", "validation time per epoch", "last train", "last valid"):
            assert part in text
    assert fitted.engine.startswith("eager: ")
    assert "fused Adam" in fitted.engine
    evaluation = fitted.evaluate(data)
    assert list(evaluation.frame()["metric"]) == ["loss", "acc"]
    assert "loss: " in repr(evaluation)
    assert "<table>" in evaluation._repr_html_()
    assert "CrossEntropyLoss" in repr(recipe)
    assert not fitted.model.training


def test_frames_are_encoded_by_what_the_training_rows_say() -> None:
    penguins = lb.datasets.penguins(drop_missing=True)
    features = ["bill_length_mm", "body_mass_g", "island", "sex"]
    data = lb.data.from_frame(penguins, target="species", features=features)
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
    fitted = (
        recipe.set_hparams(d_in=data.width).set_opt_hparams(lr=0.01).fit(data, epochs=10, valid_data=0.2, verbose=False)
    )
    assert data.width == 2 + 3 + 2
    assert fitted.evaluate(penguins).metrics["acc"] > 0.9
    names = fitted.predict_classes(penguins.drop(columns="species"))
    assert (names == penguins["species"].to_numpy()).mean() > 0.9
    one, all_rows = fitted.predict(penguins.iloc[:1]), fitted.predict(penguins)
    torch.testing.assert_close(one[0], all_rows[0])
    encoding = fitted._session.encoding
    assert encoding.center[0] != pytest.approx(penguins["bill_length_mm"].mean(), rel=1e-9), "training rows only"


def test_a_run_that_waits_for_data_says_so(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> None:
    fitted = recipe.fit(data, epochs=1, verbose=False)
    seconds = fitted._history.phase_seconds
    assert seconds["data"] > 0
    for waited, said in ((3.0, True), (0.1, False)):  # set, since a busy machine has shares of its own
        seconds.clear()
        seconds.update(data=waited, step=1.0)
        assert ("raise num_workers" in repr(fitted)) == said


def test_what_is_saved_comes_back_as_it_was(data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    """Tuples and NumPy numbers as hyper-parameters; tensors and NumPy numbers in the history."""

    class Sized(nn.Module):
        def __init__(self, sizes: tuple[int, int], deep: dict[str, Any], width: int) -> None:
            super().__init__()
            assert type(sizes) is tuple
            assert type(deep["sizes"][0]) is tuple
            self.layers = nn.Sequential(nn.Linear(sizes[0], width), nn.ReLU(), nn.Linear(width, sizes[1]))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    def log(ctx: lb.Context) -> None:
        ctx.log("norm", torch.linalg.vector_norm(next(ctx.model.parameters())))
        ctx.log("rate", np.float32(0.5))

    recipe = lb.setup(Sized, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    recipe = recipe.set_hparams(sizes=(4, 3), deep={"sizes": [(1, 2)]}, width=np.int64(8))
    fitted = recipe.fit(data, epochs=1, callbacks=lb.callbacks.On(epoch_end=log), verbose=False)
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Sized)
    assert again.history.equals(fitted.history)
    assert torch.equal(again.predict(data), fitted.predict(data))
    bad = lb.callbacks.On(epoch_end=lambda ctx: ctx.log("what", object()))
    with pytest.raises(lb.LumbreError, match="a number"):
        recipe.fit(data, epochs=1, callbacks=bad, verbose=False)
