"""A run done again from its receipt."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lumbre as lb
from lumbre.cli import main
from lumbre.storage import read_archive, write_archive

pytestmark = pytest.mark.filterwarnings("ignore::lumbre.PreflightWarning")

SCRIPT = '''
"""A run as a user writes it."""
import torch
from torch import nn, optim
import lumbre as lb


class Net(nn.Module):
    def __init__(self, d_hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, d_hidden), nn.Dropout(0.3), nn.Linear(d_hidden, 3))

    def forward(self, x):
        return self.layers(x)


generator = torch.Generator().manual_seed(3)
data = torch.randn(90, 4, generator=generator), torch.arange(90) % 3
recipe = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW).set_hparams(d_hidden=8)


def callbacks():
    return [lb.callbacks.EarlyStopping(patience=1, min_delta=10.0)]


if __name__ == "__main__":
    options = {"epochs": (2, 9), "valid_data": 0.2, "seed": 5, "verbose": False, "batch_size": 20}
    recipe.fit(data, callbacks=callbacks(), **options).save("net.lumbre")
'''


def test_the_same_bits(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "net.lumbre"
    options = {"epochs": 3, "valid_data": 0.2, "seed": 11, "batch_size": 16, "sampler": "balanced", "drop_last": True}
    recipe = recipe.set_hparams(dropout=0.5)
    recipe.fit(data, **options, verbose=False).save(path)
    found = lb.replay(path, recipe, data)
    assert found.same
    assert found.compared == (4, 12)
    assert not found.changed
    assert "the same to the last bit" in repr(found)


def test_what_differs_is_named(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "net.lumbre"
    recipe.fit(data, epochs=2, verbose=False).save(path)
    other = data[0].clone()
    other[0, 0] += 1e-3
    found = lb.replay(path, recipe, (other, data[1]))
    assert not found.same
    assert found.changed.keys() == {"data"}
    assert "apart at most" in repr(found)
    found = lb.replay(path, recipe.set_opt_hparams(lr=0.5), data)
    assert found.changed.keys() == {"opt_hparams"}
    assert "train_loss, epoch 2" in found.history

    archive = read_archive(path)
    record = archive.document["record"]
    record["environment"]["torch"] = "1.0"
    record["receipt"]["code"]["Net"] = "class Net: pass"
    record["receipt"]["flags"]["threads"] = 99
    write_archive(path, archive.tensors, archive.document)
    found = lb.replay(path, recipe, data)
    assert found.same
    assert found.changed.keys() == {"torch", "code of Net", "threads"}
    assert "without effect" in repr(found)


def test_a_flipped_bit_is_seen(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "net.lumbre"
    recipe.fit(data, epochs=1, verbose=False).save(path)
    archive = read_archive(path)
    archive.tensors["layers.0.weight"].view(torch.int32)[0, 0] ^= 1
    write_archive(path, archive.tensors, archive.document)
    found = lb.replay(path, recipe, data)
    assert not found.same
    assert list(found.weights) == ["layers.0.weight"]
    assert not found.history


def test_a_checkpoint_from_the_middle_of_a_run(recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    def saver(folder: str) -> lb.Callback:
        return lb.callbacks.ModelCheckpoint(tmp_path / folder / "{epoch:02d}.lumbre", monitor="train_loss")

    recipe.fit(data, epochs=3, callbacks=saver("first"), verbose=False)
    found = lb.replay(tmp_path / "first" / "02.lumbre", recipe, data, callbacks=saver("again"))
    assert found.same
    assert found.compared == (4, 4)


def test_what_the_receipt_cannot_hold_is_asked_for(
    recipe: lb.Recipe, data: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "net.lumbre"
    recipe.fit(data, epochs=1, valid_data=data, verbose=False).save(path)
    with pytest.raises(lb.OptionError, match="valid_data"):
        lb.replay(path, recipe, data)
    assert lb.replay(path, recipe, data, valid_data=data).same
    recipe.fit(data, epochs=1, callbacks=lb.callbacks.GradientClip(1.0), verbose=False).save(path)
    with pytest.raises(lb.OptionError, match="callbacks: GradientClip"):
        lb.replay(path, recipe, data)
    old = Path(__file__).parent / "storage" / "files" / "schema1.lumbre"
    with pytest.raises(lb.ArchiveError, match="receipts"):
        lb.replay(old, recipe, data)


def test_from_the_command_line(in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_tmp / "train.py").write_text(SCRIPT)
    subprocess.run([sys.executable, "train.py"], check=True, cwd=in_tmp)
    words = ["replay", "net.lumbre", "--recipe", "train.py:recipe", "--data", "train.py:data"]
    assert main(words) == 2
    assert "callbacks: EarlyStopping" in capsys.readouterr().err
    assert main([*words, "--callbacks", "train.py:callbacks"]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 tensors" in out
    assert all("threads" in line for line in out.splitlines() if " -> " in line)
    (in_tmp / "train.py").write_text(SCRIPT.replace("0.3", "0.4"))
    assert main([*words, "--callbacks", "train.py:callbacks"]) == 1
    assert "code of Net" in capsys.readouterr().out
    assert main([*words[:3], "train.py:recipes", *words[4:]]) == 2
    assert "a name in train.py" in capsys.readouterr().err
    assert main(["replay", "none.lumbre", *words[2:]]) == 2
