"""An archive and a checkpoint of an earlier lumbre: read, predicted with, and gone on with to the same end."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from golden_runs import digest, kind
from make_files import FILES, end_of, fit, net

import lumbre as lb

SCHEMAS = [2]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_an_archive_gives_what_it_gave_when_it_was_written(schema: int) -> None:
    end = json.loads((FILES / f"schema{schema}.json").read_text())
    again = lb.load(FILES / f"schema{schema}.lumbre", net)
    # Weights and history are stored; only predictions are computed anew.
    assert digest(sorted(again.model.state_dict().items())) == end["weights"]
    assert again.history["value"].tolist() == end["history"]
    assert again.classes == ("Adelie", "Chinstrap", "Gentoo")
    found = torch.tensor(end_of(again)["predictions"], dtype=torch.float64)
    expected = torch.tensor(end["predictions"], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    if kind() == end["kind"]:
        assert torch.equal(found, expected)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_run_goes_on_from_its_checkpoint_to_the_same_end(schema: int, tmp_path: Path) -> None:
    end = json.loads((FILES / f"schema{schema}.json").read_text())
    folder = tmp_path / "run"
    shutil.copytree(FILES / f"checkpoint-schema{schema}", folder)
    (started,) = folder.glob("step-*")
    # Another torch may show its layers in other words; nothing else may differ.
    other = () if torch.__version__ == end["torch"] else ("torch", "module")
    fitted = fit(lb.Checkpoints(folder, steps=1, wait=True, keep=100, allow_changes=other))
    taken = sorted(int(path.name.split("-")[1]) for path in folder.glob("step-*"))
    assert taken[0] == int(started.name.split("-")[1])
    assert taken[-1] == 15, "eight updates after the seven of the file"
    assert len(fitted.history) == len(end["history"])
    found = end_of(fitted)
    if kind() == end["kind"]:
        for part in ("weights", "predictions", "history"):
            assert found[part] == end[part], part
    elif torch.backends.mkl.is_available():  # else dropout's masks are others
        torch.testing.assert_close(
            torch.tensor(found["predictions"]), torch.tensor(end["predictions"]), rtol=1e-3, atol=1e-3
        )
