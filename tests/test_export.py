"""Models for programs without lumbre."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from lumbre.fitted import _export


class TwoInputs(nn.Module):
    """Scores from a pair of inputs; predict() gives their probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Linear(3, 2)
        self.words = nn.Embedding(5, 2)

    def forward(self, left: Tensor, word: Tensor) -> Tensor:
        return self.left(left) + self.words(word)

    def predict(self, left: Tensor, word: Tensor) -> Tensor:
        return self(left, word).softmax(1)


class Branching(nn.Module):
    """Decides on a value, which no exporter can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else self.layer(-x)


@pytest.fixture
def fitted(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> lb.Fitted:
    return recipe.set_hparams(dropout=0.5).fit(data, epochs=1, verbose=False)


@pytest.fixture
def pair() -> tuple[lb.Fitted, tuple[Tensor, Tensor]]:
    inputs = torch.randn(20, 3), torch.arange(20) % 5
    recipe = lb.setup(TwoInputs, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return recipe.fit((inputs, torch.arange(20) % 2), epochs=1, verbose=False), inputs


def test_a_program_of_torch_export(fitted: lb.Fitted, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    fitted.export(tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2").module()
    for rows in (1, 7, 120):
        torch.testing.assert_close(program(data[0][:rows]), fitted.predict(data[0][:rows]))
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt2"]


def test_several_inputs_and_predict(pair: tuple[lb.Fitted, tuple[Tensor, Tensor]], tmp_path: Path) -> None:
    fitted, inputs = pair
    fitted.export(tmp_path / "net.pt2")
    found = torch.export.load(tmp_path / "net.pt2").module()(*inputs)
    torch.testing.assert_close(found, fitted.predict((inputs, None)))


def test_onnx(fitted: lb.Fitted, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    runtime = onnx_runtime()
    fitted.export(tmp_path / "net.onnx")
    running = runtime.InferenceSession(tmp_path / "net.onnx")
    for rows in (1, 7, 120):
        found = running.run(None, {"input": data[0][:rows].numpy()})[0]
        np.testing.assert_allclose(found, fitted.predict(data[0][:rows]), rtol=1e-4, atol=1e-5)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]


def test_onnx_of_several_inputs(pair: tuple[lb.Fitted, tuple[Tensor, Tensor]], tmp_path: Path) -> None:
    runtime = onnx_runtime()
    fitted, inputs = pair
    fitted.export(tmp_path / "net.onnx", (inputs, None))
    fed = {f"input_{i}": tensor.numpy() for i, tensor in enumerate(inputs)}
    found = runtime.InferenceSession(tmp_path / "net.onnx").run(None, fed)[0]
    np.testing.assert_allclose(found, fitted.predict((inputs, None)), rtol=1e-4, atol=1e-5)


def test_a_loaded_model_goes_out_too(fitted: lb.Fitted, net: Any, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    fitted.save(tmp_path / "net.lumbre")
    lb.load(tmp_path / "net.lumbre", net).export(tmp_path / "net.pt2")
    found = torch.export.load(tmp_path / "net.pt2").module()(data[0])
    torch.testing.assert_close(found, fitted.predict(data[0]))


def test_other_numbers_are_refused(fitted: lb.Fitted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(inputs: list[Tensor]) -> list[Any]:
        return [np.zeros((len(inputs[0]), 3), np.float32)]

    monkeypatch.setattr(_export, "_write_program", lambda *_: wrong)
    with pytest.raises(lb.ArchiveError, match="other numbers"):
        fitted.export(tmp_path / "net.pt2")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_said(fitted: lb.Fitted, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    with pytest.raises(lb.OptionError, match=r"\.onnx or \.pt2"):
        fitted.export(tmp_path / "net.pth")
    branching = lb.setup(Branching, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    with pytest.raises(lb.ArchiveError, match=r"Branching, which torch\.export cannot follow"):
        branching.fit(data, epochs=1, verbose=False).export(tmp_path / "net.pt2")
    with pytest.raises(lb.ArchiveError, match="no folder that can be written"):
        fitted.export(tmp_path / "nowhere" / "net.pt2")
    try:
        import onnx  # noqa: F401
    except ImportError:
        with pytest.raises(lb.MissingExtraError, match=r"lumbre\[onnx\]"):
            fitted.export(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())


class Masked(nn.Module):
    """Words, of which 0 stands for padding: a row of padding alone gives NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8, padding_idx=0)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.scores = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        words = self.words(x)
        seen = self.attention(words, words, words, key_padding_mask=x == 0, need_weights=False)[0]
        return self.scores(seen.mean(1))


class OneRowApart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * 0.5 if x.shape[0] > 1 else x)


class TwoRowsApart(OneRowApart):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * 0.5 if x.shape[0] == 2 else x)


class AnyInputs(OneRowApart):
    def forward(self, *inputs: Tensor) -> Tensor:
        return self.layer(inputs[0])


class Named(OneRowApart):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.layer(batch["x"]) + batch["more"]


class Counting(OneRowApart):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.zeros(len(x), 1)


class PartCalledPredict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.predict = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.body(x).relu())


def trained(module: type[nn.Module], input: Any) -> lb.Fitted:
    rows = len(input["x"] if isinstance(input, dict) else input)
    recipe = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    return recipe.fit((input, torch.arange(rows) % 3), epochs=1, preflight=False, verbose=False)


def test_whole_numbers_are_not_taken_for_padding(tmp_path: Path) -> None:
    x = torch.randint(1, 20, (64, 6), generator=torch.Generator().manual_seed(0))
    fitted = trained(Masked, x)
    fitted.export(tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2").module()
    for rows in (1, 2, 64):
        torch.testing.assert_close(program(x[:rows]), fitted.predict(x[:rows]))
    with pytest.raises(lb.DataError, match="the model itself gives NaN"):
        fitted.export(tmp_path / "net.pt2", torch.zeros(4, 6, dtype=torch.int64))


@pytest.mark.parametrize(("module", "rows"), [(OneRowApart, "1 row:"), (TwoRowsApart, "2 rows:")])
def test_a_branch_on_the_number_of_rows_is_seen(module: type[nn.Module], rows: str, tmp_path: Path) -> None:
    fitted = trained(module, torch.randn(64, 4))
    for data in (None, torch.randn(2, 4), torch.randn(1, 4)):
        with pytest.raises(lb.ArchiveError, match=f"for {rows}"):
            fitted.export(tmp_path / "net.pt2", data)
    assert not list(tmp_path.iterdir())


def test_inputs_in_any_form(tmp_path: Path) -> None:
    x = torch.randn(64, 4)
    for module, input in (
        (AnyInputs, x),
        (PartCalledPredict, x),
        (Named, {"x": x, "more": torch.randn(64, 3)}),
    ):
        fitted = trained(module, input)
        fitted.export(tmp_path / "net.pt2")
        program = torch.export.load(tmp_path / "net.pt2").module()
        for rows in (1, 2, 64):
            some = {name: part[:rows] for name, part in input.items()} if isinstance(input, dict) else input[:rows]
            found = program(*some.values()) if isinstance(some, dict) else program(some)
            torch.testing.assert_close(found, fitted.predict((some, None)))


def test_a_failure_is_short_and_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(lb.ArchiveError, match=r"x\.shape\[0\] in place of len\(x\)") as caught:
        trained(Counting, torch.randn(64, 4)).export(tmp_path / "net.pt2")
    assert len(str(caught.value)) < 500
    onnx_runtime()
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.utils.parametrizations.orthogonal(nn.Linear(8, 3)))
    with pytest.raises(lb.ArchiveError, match="no such operation") as caught:
        trained(lambda: net, torch.randn(64, 4)).export(tmp_path / "net.onnx")
    assert len(str(caught.value)) < 500
    assert not list(tmp_path.iterdir())


def test_shapes_that_are_not_known_are_asked_for(net: Any, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    class Stored(nn.Module):
        def __init__(self, d_in: int, d_hidden: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    old = lb.load(Path(__file__).parent / "storage" / "files" / "schema1_early.lumbre", Stored)
    with pytest.raises(lb.DataError, match=r"fitted\.export\(path, data\)"):
        old.export(tmp_path / "net.pt2")


def onnx_runtime() -> Any:
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    return pytest.importorskip("onnxruntime")


class Pair(NamedTuple):
    mean: Tensor
    parts: list[Tensor]


class NamedOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Pair:
        return Pair(self.layer(x), [x, 2 * x])


def fitted_for(module: Callable[[], nn.Module], x: Tensor, **options: Any) -> lb.Fitted:
    def loss(pred: Any, y: Tensor) -> Tensor:
        return (pred if isinstance(pred, Tensor) else pred[0]).float().square().mean()

    recipe = lb.setup(module, loss=loss, optimizer=optim.SGD)
    return recipe.fit((x, torch.zeros(len(x))), epochs=1, preflight=False, verbose=False, **options)


def test_named_tuples_go_out_as_tuples(tmp_path: Path) -> None:
    x = torch.randn(8, 4)
    fitted = fitted_for(NamedOut, x)
    fitted.export(tmp_path / "net.pt2")
    mean, parts = torch.export.load(tmp_path / "net.pt2").module()(x)
    with torch.no_grad():
        torch.testing.assert_close((mean, list(parts)), tuple(fitted.model(x)))


def test_a_module_that_does_not_take_one_row_is_refused_in_words(tmp_path: Path) -> None:
    x = torch.randn(8, 4)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(lb.LumbreError, match="Sequential, which cannot be run for 1 row"):
        fitted_for(lambda: net, x).export(tmp_path / "net.pt2", x)


def test_numbers_of_sixteen_bits_are_compared_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which a runtime may round the last one otherwise, here by hand."""
    fitted, compare = fitted_for(lambda: nn.Linear(4, 3).half(), torch.randn(8, 4).half()), _export._compare

    def rounded_otherwise(path: Path, rows: int, found: list[Any], wanted: list[Tensor]) -> None:
        compare(path, rows, [one + np.float16(2**-10) for one in found], wanted)

    monkeypatch.setattr(_export, "_compare", rounded_otherwise)
    fitted.export(tmp_path / "net.pt2")


class InParts(OneRowApart):
    """Spares memory where there are many rows."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.shape[0] < 64 else torch.cat([self.layer(part) for part in x.split(64)])


class OtherwiseFrom64(OneRowApart):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.shape[0] < 64 else 2 * self.layer(x)


def test_the_most_rows_of_a_program_are_said(
    data: tuple[Tensor, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = lb.setup(InParts, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)
    fitted = recipe.fit(data, epochs=1, verbose=False)
    fitted.export(tmp_path / "net.pt2")
    assert "net.pt2 takes at most 63 rows at a time" in capsys.readouterr().out
    program = torch.export.load(tmp_path / "net.pt2").module()
    torch.testing.assert_close(program(data[0][:63]), fitted.predict(data[0][:63]))


@pytest.mark.parametrize("module", [InParts, OtherwiseFrom64])
def test_onnx_is_tried_beyond_a_branch(module: type[nn.Module], data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    runtime = onnx_runtime()
    fitted = lb.setup(module, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).fit(data, epochs=1, verbose=False)
    if module is OtherwiseFrom64:
        with pytest.raises(lb.ArchiveError, match="other numbers than the model for 64 rows"):
            fitted.export(tmp_path / "net.onnx")
        return
    fitted.export(tmp_path / "net.onnx")
    found = runtime.InferenceSession(tmp_path / "net.onnx").run(None, {"input": data[0].numpy()})[0]
    np.testing.assert_allclose(found, fitted.predict(data[0]), rtol=1e-4, atol=1e-5)
