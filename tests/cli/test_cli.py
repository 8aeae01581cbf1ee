"""The command line."""

import subprocess
import sys
from pathlib import Path

import pytest

import lumbre
from lumbre.cli import main


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert "Epoch 15/15" in said
    assert "Valid metrics: Loss: " in said
    assert (tmp_path / "new" / "penguins.png").stat().st_size > 10_000
    assert (tmp_path / "new" / "penguins.lumbre").exists()
    assert said.count("(truth: ") == 3
    for line in said.splitlines()[-3:]:
        guess, _, truth = line.strip().partition(" ")
        assert guess in truth, line


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"lumbre {lumbre.__version__}\n"


def test_the_commands_are_these() -> None:
    found = subprocess.run([sys.executable, "-m", "lumbre.cli", "--help"], capture_output=True, text=True, check=True)
    assert "{demo,replay,explain,new,datasets}" in found.stdout
    assert subprocess.run([sys.executable, "-m", "lumbre.cli"], capture_output=True, check=False).returncode == 2
