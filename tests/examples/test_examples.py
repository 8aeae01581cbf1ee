"""The examples run, and print what the tutorials print."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

ROSENBROCK = """\
100 0.3502924 -0.667685 -0.5771312
200 0.07398106 -0.1603189 -0.2532476
300 0.02483024 -0.07679074 -0.1373911
400 0.009619333 -0.04347242 -0.08254051
500 0.003990697 -0.02652063 -0.05206227
600 0.001719962 -0.01683905 -0.03373682
700 0.0007584976 -0.01095017 -0.02221584
800 0.0003393509 -0.007221781 -0.01477957
900 0.0001532408 -0.004811743 -0.009894371
1000 6.962555e-05 -0.003222887 -0.006653666
"""


def test_rosenbrock_prints_the_tutorials_lines_to_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "rosenbrock.py"), run_name="__main__")
    said = capsys.readouterr().out
    lines = re.findall(r"Iteration: (\S+)\nValue is: (\S+)\nGradient is: (\S+ \S+)", said)
    assert "".join(" ".join(line) + "\n" for line in lines) == ROSENBROCK
    assert "We end at (0.9918, 0.9830)." in said


def mnist(root: Path, folder: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        ROOT / "examples" / "mnist_cnn.py",
        "--root",
        root,
        "--save",
        folder / "net.lumbre",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def accuracies(said: str) -> list[float]:
    return [float(number) for number in re.findall(r"Valid metrics: Loss: \S+ - Acc: (\S+)", said)]


@pytest.mark.slow
def test_mnist_learns_from_six_thousand_images_in_one_epoch(mnist_root: Path, tmp_path: Path) -> None:
    said = mnist(mnist_root, tmp_path, "--epochs", "1", "--rows", "6000")
    assert said.startswith("Epoch 1/1\nTrain metrics: Loss: ")
    assert accuracies(said)[0] >= 0.9
    assert "predictions: (10000, 10)" in said
    assert (tmp_path / "net.lumbre").stat().st_size > 4 * 1_199_882


def test_the_net_is_the_tutorials() -> None:
    net = runpy.run_path(str(ROOT / "examples" / "mnist_cnn.py"))["Net"]()
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_199_882


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mnist_two_epochs(mnist_root: Path, tmp_path: Path, seed: int) -> None:
    found = accuracies(mnist(mnist_root, tmp_path, "--epochs", "2", "--seed", str(seed)))
    print(f"seed {seed}: {found}")
    assert found[-1] >= 0.984
