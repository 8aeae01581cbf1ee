"""The first two tutorials run from the first line to the last picture, and print what is known beforehand."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from programs import run_program

import lumbre as lb
from conftest import ROOT

TUTORIALS = ROOT / "examples" / "tutorials"


def run(name: str, folder: Path, *arguments: str) -> str:
    """What a tutorial prints, run as a user runs it."""
    found = run_program(TUTORIALS / f"{name}.py", "--pictures", "pictures", *arguments, folder=folder)
    assert found.returncode == 0, found.stderr
    return found.stdout


def number(said: str, before: str) -> float:
    """The number that is printed after some words."""
    found = re.search(re.escape(before) + r"\s*(-?[\d.]+)", said)
    assert found is not None, said
    return float(found[1])


def pictures(folder: Path) -> list[str]:
    """The names of the pictures that are there, each of which is more than an empty page."""
    files = sorted((folder / "pictures").glob("*.png"))
    assert all(file.stat().st_size > 5_000 for file in files)
    return [file.stem for file in files]


@pytest.mark.parametrize(("name", "tutorial", "steps"), [("mnist_cnn", 0, 10), ("little_book", 1, 14)])
def test_every_step_of_the_tutorial_has_its_heading_in_order(name: str, tutorial: int, steps: int) -> None:
    lines = (TUTORIALS / f"{name}.py").read_text().splitlines()
    headings = [heading for line in lines if line.startswith("# S") for heading in re.findall(r"S\d-\d\d", line)]
    assert headings == [f"S{tutorial}-{step:02}" for step in range(1, steps + 1)]


def test_mnist_cnn_quick(tmp_path: Path) -> None:
    said = run("mnist_cnn", tmp_path, "--quick")
    assert "heights: 28 -> 26 -> 24 -> 12\n" in said
    assert "batches of 128: 8 3\n" in said  # of 900 and 300 images
    assert "parameters: 1,199,882\n" in said
    assert "output: (128, 10)\n" in said
    assert "predictions: (300, 10)\n" in said
    assert "the file predicts the same: True\n" in said
    assert number(said, "  acc:") >= 0.7
    assert pictures(tmp_path) == ["S0-05_digit", "S0-10_curves", "S0-10_weights"]
    assert (tmp_path / "pictures" / "mnist-cnn.lumbre").stat().st_size > 4 * 1_199_882


def test_mnist_cnn_batches_and_sizes_are_those_printed() -> None:
    tutorial = runpy.run_path(str(TUTORIALS / "mnist_cnn.py"))
    lengths = [len(loader) for loader in tutorial["loaders"](range(60_000), range(10_000))]
    assert lengths == [469, 79]
    net = tutorial["Net"]()
    assert net.fc1.in_features == 9216
    assert sum(parameter.numel() for parameter in net.parameters()) == 1_199_882
    assert net(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 0), (3, 1, 1), (5, 2, 0), (2, 2, 0), (7, 3, 2)])
def test_the_formula_agrees_with_torch(kernel: int, stride: int, padding: int) -> None:
    tutorial = runpy.run_path(str(TUTORIALS / "mnist_cnn.py"))
    for height in (28, 27, 13):
        made = torch.nn.Conv2d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, height, height)).shape[-1]
        assert tutorial["output_size"](height, kernel, stride, padding) == made


@pytest.mark.slow
def test_mnist_cnn_in_full_beside_the_originals_table(mnist_root: Path, tmp_path: Path) -> None:
    said = run("mnist_cnn", tmp_path, "--root", str(mnist_root), "--epochs", "1", "--rows", "6000")
    assert "valid_acc_tutorial" in said
    assert "predictions: (10000, 10)\n" in said
    assert number(said, "  acc:") >= 0.88


def test_little_book_quick(tmp_path: Path) -> None:
    said = run("little_book", tmp_path, "--quick")
    fits = re.findall(r"(\w+ ?\w*): (\d+) weights, (\d+) points, loss ([\d.]+), on new points ([\d.]+)", said)
    loss = {name: (float(seen), float(unseen)) for name, _, _, seen, unseen in fits}
    assert max(loss["good fit"]) < 0.02
    assert min(loss["underfitting"]) > 0.1
    assert loss["overfitting"][0] < 0.005
    assert loss["overfitting"][1] > 0.03
    assert number(said, "C-shapes, accuracy on new data:") >= 0.93
    assert "penguins: 333 rows, 266 to train, 67 to validate, 31 parameters\n" in said
    assert number(said, "penguins, valid accuracy:") >= 0.9
    assert "residual net: 1,292,234 parameters\n" in said
    assert number(said, "  acc:") >= 0.6
    assert "attention: output (4, 5, 6), shares (4, 5, 5), as torch's: True\n" in said
    assert number(said, "places sorted rightly on new sequences:") >= 0.9
    assert pictures(tmp_path) == [
        "S1-01_semicircle",
        "S1-03_fits",
        "S1-06_c_shapes",
        "S1-09_regions",
        "S1-10_layers",
        "S1-12_curves",
        "S1-14_attention",
    ]


@pytest.fixture(scope="module")
def little_book() -> dict[str, Any]:
    return runpy.run_path(str(TUTORIALS / "little_book.py"))


def test_the_net_of_seven_layers_goes_from_plane_to_plane(little_book: dict[str, Any]) -> None:
    net = little_book["ClassifierNet"]()
    points, _ = little_book["c_shapes"](20, 0)
    seen = lb.inspect.activations(net, points, layers="layer?", keep=True).tensors
    assert [tuple(tensor.shape) for tensor in seen.values()] == [(40, 2)] * 7
    # The rows may come in other batches, whose products other kernels of the processor make.
    torch.testing.assert_close(seen["layer7"], net(points), rtol=1e-5, atol=1e-6)
    assert sum(parameter.numel() for parameter in net.parameters()) == 42


def test_bumps_are_one_at_their_own_center(little_book: dict[str, Any]) -> None:
    basis = little_book["bumps"](torch.linspace(-1, 1, 10), 10, 0.1)
    assert basis.shape == (10, 10)
    assert torch.equal(basis.diagonal(), torch.ones(10))
    assert basis[0, 1].item() == pytest.approx(torch.tensor(-((2 / 9) ** 2) / 0.02).exp().item(), rel=1e-4)


def test_a_residual_block_of_zeros_passes_its_input_on(little_book: dict[str, Any]) -> None:
    block = little_book["SimpleResBlock"](4)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    maps = torch.randn(2, 4, 6, 6)
    assert torch.equal(block(maps), maps)
