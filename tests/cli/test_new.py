"""The projects that `lumbre new` writes: each script is run for real."""

import contextlib
import csv
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lumbre.cli import main
from lumbre.cli._new import notebook_of

TEMPLATES = ("tabular", "vision", "text")


@pytest.fixture(params=TEMPLATES)
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    where = tmp_path / request.param
    assert main(["new", str(where), "--template", request.param]) == 0
    return where


def run(folder: Path, name: str) -> dict[str, Any]:
    with contextlib.chdir(folder):
        return runpy.run_path(name)


def test_the_script_runs_without_a_network_and_learns(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refused)
    ran = run(project, "train.py")
    assert ran["evaluation"].metrics["acc"] > 0.8
    assert (project / "model.lumbre").is_file()


def test_the_notebook_is_the_script(project: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    text = (project / "train.ipynb").read_text(encoding="utf-8")
    nbformat.validate(nbformat.reads(text, as_version=4))
    cells = json.loads(text)["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    script = (project / "train.py").read_text(encoding="utf-8")
    plain = [line for line in script.split("\n") if line.strip() and not line.startswith("#")]
    assert [line for line in code.split("\n") if line.strip()] == plain
    assert "".join(cells[0]["source"]).startswith("# ")


def test_lines_fit_on_a_page(project: Path) -> None:
    for line in (project / "train.py").read_text(encoding="utf-8").split("\n"):
        assert len(line) <= 120, line


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.py").write_text("mine")
    assert main(["new", str(tmp_path / "mine")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [one.name for one in (tmp_path / "mine").iterdir()] == ["train.py"]
    assert (tmp_path / "mine" / "train.py").read_text() == "mine"


def test_the_readme_names_the_files_that_are_there(tmp_path: Path) -> None:
    assert main(["new", str(tmp_path / "birds")]) == 0
    readme = (tmp_path / "birds" / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `([^`]+)` \|", readme, re.MULTILINE)
    assert len(named) == 4
    assert all((tmp_path / "birds" / name).exists() for name in named)
    with (tmp_path / "birds" / "data" / "table.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 344


def test_cells_of_a_notebook() -> None:
    cells = notebook_of("# %% [markdown]\n# # Title\n# text\n\n# %%\na = 1\n\nb = 2\n")["cells"]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in cells] == [
        ("markdown", "# Title\ntext"),
        ("code", "a = 1\n\nb = 2"),
    ]


@pytest.mark.slow
def test_the_test_and_the_notebook_run_as_their_user_runs_them(project: Path) -> None:
    import nbclient
    import nbformat

    source = Path(__file__).parents[2] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_train.py"]
    tried = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    notebook = nbformat.read(project / "train.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(project)}}).execute()
