"""Files: whole or refused, by name."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import Net
from lumbre.base import ArchiveError
from lumbre.storage import read_archive, write_archive

CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]  # that examples need not pass


@pytest.fixture
def fitted(recipe: lb.Recipe, data: tuple[Tensor, Tensor]) -> lb.Fitted:
    return recipe.fit(data, epochs=2, valid_data=0.2, verbose=False)


def test_a_model_comes_back_whole(
    fitted: lb.Fitted, recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Net)
    assert torch.equal(again.predict(data), fitted.predict(data))
    assert again.history.equals(fitted.history)
    assert again.hparams == fitted.hparams
    assert again.engine == fitted.engine
    assert again.timings == fitted.timings
    assert not again.model.training
    judged = lb.load(tmp_path / "net.lumbre", recipe).evaluate(data)
    assert judged.metrics == fitted.evaluate(data).metrics
    with pytest.raises(lb.RecipeError, match="no loss"):
        again.evaluate(data)


def test_frames_and_class_names_come_back(tmp_path: Path) -> None:
    penguins = lb.datasets.penguins(drop_missing=True)
    data = lb.data.from_frame(penguins, target="species", features=["bill_length_mm", "sex", "body_mass_g"])
    recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(d_in=data.width)
    fitted = recipe.fit(data, epochs=1, verbose=False)
    fitted.save(tmp_path / "net.lumbre")
    again = lb.load(tmp_path / "net.lumbre", Net)
    assert again.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert (again.predict_classes(penguins) == fitted.predict_classes(penguins)).all()


def test_any_reader_of_safetensors_can_take_the_weights(fitted: lb.Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "net.lumbre")
    found = safetensors.torch.load_file(tmp_path / "net.lumbre")
    for name, tensor in fitted.model.state_dict().items():
        assert torch.equal(found[name], tensor)


def test_what_json_cannot_hold_is_asked_for_at_load(tmp_path: Path, data: tuple[Tensor, Tensor]) -> None:
    class Chosen(Net):
        def __init__(self, d_in: int, activation: type[nn.Module]) -> None:
            super().__init__(d_in)
            self.layers[1] = activation()

    recipe = lb.setup(Chosen, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_hparams(d_in=4, activation=nn.Tanh)
    fitted = recipe.fit(data, epochs=1, verbose=False)
    fitted.save(tmp_path / "net.lumbre")
    with pytest.raises(ArchiveError, match=r"activation=\.\.\."):
        lb.load(tmp_path / "net.lumbre", Chosen)
    again = lb.load(tmp_path / "net.lumbre", Chosen, activation=nn.Tanh)
    assert torch.equal(again.predict(data), fitted.predict(data))


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

    model = Tied()
    write_archive(tmp_path / "t", model.state_dict(), {})
    assert len(safetensors.torch.load_file(tmp_path / "t")) == 1
    found = read_archive(tmp_path / "t").tensors
    assert torch.equal(found["a.weight"], model.a.weight)
    assert torch.equal(found["b.weight"], model.a.weight)


def test_parts_of_one_memory_are_stored_apart(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    given = {"first": whole[:4], "last": whole[2:], "turned": whole.reshape(2, 3).T, "none": whole[:0]}
    write_archive(tmp_path / "parts.lumbre", given, {})
    found = read_archive(tmp_path / "parts.lumbre").tensors
    assert found.keys() == given.keys()
    assert all(torch.equal(found[name], one) for name, one in given.items())
    (tmp_path / "plain").touch()
    assert (tmp_path / "parts.lumbre").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_another_module_is_refused_with_what_differs(fitted: lb.Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "net.lumbre")
    with pytest.raises(ArchiveError, match=r"layers.0.weight has shape \(16, 4\) in the file and \(8, 4\)"):
        lb.load(tmp_path / "net.lumbre", Net, d_hidden=8)
    with pytest.raises(ArchiveError, match=r"layers\.0\.weight is not in the module"):
        lb.load(tmp_path / "net.lumbre", nn.ReLU())


def test_no_archive_no_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    safetensors.torch.save_file({"a": torch.zeros(3)}, tmp_path / "foreign")
    for name in ("text", "empty", "foreign"):
        with pytest.raises(ArchiveError, match="is no lumbre archive") as caught:
            lb.load(tmp_path / name, Net)
        assert "fitted.save" in caught.value.expected
        assert "check the path" in caught.value.fix
    with pytest.raises(ArchiveError, match="cannot be read"):
        lb.load(tmp_path / "absent", Net)
    with pytest.raises(ArchiveError, match="cannot be written"):
        write_archive(tmp_path / "no" / "folder", {}, {})


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("archive") / "net.lumbre"
    write_archive(path, Net(4).state_dict(), {"words": "some text"})
    return path.read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=CHECKS)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_anywhere_is_found(content: bytes, tmp_path: Path, where: float, bit: int) -> None:
    damaged = bytearray(content)
    damaged[int(where * len(content))] ^= 1 << bit
    (tmp_path / "f").write_bytes(damaged)
    with pytest.raises(ArchiveError) as caught:
        read_archive(tmp_path / "f")
    assert str(tmp_path / "f") in caught.value.received


@settings(max_examples=100, deadline=None, suppress_health_check=CHECKS)
@given(where=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_found(content: bytes, tmp_path: Path, where: float) -> None:
    (tmp_path / "f").write_bytes(content[: int(where * len(content))])
    with pytest.raises(ArchiveError):
        read_archive(tmp_path / "f")


def test_a_flipped_byte_is_called_damage(content: bytes, tmp_path: Path) -> None:
    damaged = bytearray(content)
    damaged[-5] ^= 1
    (tmp_path / "f").write_bytes(damaged)
    with pytest.raises(ArchiveError, match=r"is damaged: its content does not match its own SHA-256") as caught:
        read_archive(tmp_path / "f")
    assert "copy the file again" in caught.value.fix


def test_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lumbre.storage._archive as archive

    monkeypatch.setattr(archive, "SCHEMA", 99)
    write_archive(tmp_path / "f", {"a": torch.zeros(1)}, {})
    monkeypatch.undo()
    with pytest.raises(ArchiveError, match="schema 99"):
        read_archive(tmp_path / "f")


def test_a_save_that_fails_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "net.lumbre"
    write_archive(path, {"a": torch.zeros(3)}, {})
    before = path.read_bytes()

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left"):
        write_archive(path, {"a": torch.ones(3)}, {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["net.lumbre"]


def test_a_killed_save_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "net.lumbre"
    write_archive(path, {"a": torch.zeros(3)}, {})
    code = (
        "import os, signal, sys, torch; from pathlib import Path; from lumbre.storage import write_archive; "
        "os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL); "
        "write_archive(Path(sys.argv[1]), {'a': torch.ones(3)}, {})"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert run.returncode == -9
    assert torch.equal(read_archive(path).tensors["a"], torch.zeros(3))


def test_the_document_is_plain_json(fitted: lb.Fitted, tmp_path: Path) -> None:
    fitted.save(tmp_path / "net.lumbre")
    document = read_archive(tmp_path / "net.lumbre").document
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == 2
    assert {"hparams", "history", "record", "recipe", "engine", "classes"} <= set(document)


@pytest.mark.parametrize("name", ["schema1.lumbre", "schema1_early.lumbre"])
def test_files_of_schema_1_are_read(name: str) -> None:
    path = Path(__file__).parent / "files" / name

    class Stored(nn.Module):
        def __init__(self, d_in: int, d_hidden: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(d_in, d_hidden), nn.ReLU(), nn.Linear(d_hidden, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.layers(x)

    fitted = lb.load(path, Stored)
    rows = lb.datasets.penguins(drop_missing=True).iloc[:2]
    # What the model gave when it was saved.
    expected = torch.tensor([[-0.2042, 1.0214, 0.2513], [0.0201, 0.7611, 0.2606]])
    torch.testing.assert_close(fitted.predict(rows), expected, atol=1e-4, rtol=0)
    assert fitted.classes == ("Adelie", "Chinstrap", "Gentoo")
    assert len(fitted.history) == 8
    assert lb.inspect_file(path).document["record"]["receipt"] == {}
