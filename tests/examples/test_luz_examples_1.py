"""Eight of luz's examples, as programs of their own: each runs, and something is learned in it."""

import json
import re
import runpy
from pathlib import Path

import pytest
import torch
from programs import run_program

import lumbre as lb
from conftest import ROOT

EXAMPLES = (
    "accelerator",
    "checkpoints",
    "custom_loop",
    "dogs_vs_cats",
    "get_started",
    "lr_finder",
    "mnist_autoencoder",
    "mnist_cnn",
)


def quick(name: str, folder: Path) -> str:
    """What the example prints."""
    found = run_program(ROOT / "examples" / f"{name}.py", "--quick", folder=folder)
    assert found.returncode == 0, found.stderr
    return found.stdout


def numbers(pattern: str, said: str) -> list[float]:
    return [float(number) for number in re.findall(pattern, said)]


def picture_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_is_a_page(name: str) -> None:
    lines = (ROOT / "examples" / f"{name}.py").read_text().splitlines()
    assert len(lines) <= 80
    assert "--quick" in "\n".join(lines[:15]), "its first lines say what the quick run does"


def test_get_started_learns_the_digits_and_hears_its_own_metric_and_callback(tmp_path: Path) -> None:
    said = quick("get_started", tmp_path)
    accuracy, sure = numbers(r"(?m)^  (?:acc|sure): (\S+)", said)
    assert accuracy >= 0.8
    assert 0.5 <= sure <= 1
    # The callback speaks after the epoch's own lines, with the difference of the two accuracies in them.
    gaps = numbers(r"Gap: (\S+)", said)
    train, valid = (numbers(rf"{part} metrics: .*Acc: (\S+)", said) for part in ("Train", "Valid"))
    assert gaps == pytest.approx([a - b for a, b in zip(train, valid, strict=True)], abs=2e-4)
    assert re.search(r"Valid metrics.*\nGap", said)


@pytest.mark.slow
def test_custom_loop_finds_middle_and_spread_both_ways_to_the_same_bits(tmp_path: Path) -> None:
    said = quick("custom_loop", tmp_path)
    assert "train_loss_middle" in said
    assert "train_loss_spread" in said
    for part in ("middle", "spread"):
        distances = numbers(rf"distance from the true {part}: (\S+)", said)
        assert len(distances) == 2
        assert max(distances) < 0.08  # the middle goes from -1 to 1, the spread from 0.1 to 0.5
    assert "the same bits: True" in said


def test_accelerator_agrees_with_the_loop_by_hand(tmp_path: Path) -> None:
    said = quick("accelerator", tmp_path)
    by_hand, by_fit = ([float(loss) for loss in line.split()] for line in re.findall(r"loss by epoch (.*)", said))
    assert by_fit == pytest.approx(by_hand, rel=1e-4)
    assert by_hand[-1] < 0.1 < by_hand[0]
    assert numbers(r"largest distance between two weights: (\S+)", said)[0] < 1e-5
    assert "they agree" in said


def test_checkpoints_hold_each_epoch_and_the_best_and_the_callback_goes_on(tmp_path: Path) -> None:
    said = quick("checkpoints", tmp_path)
    folder = tmp_path / "checkpoints"
    epochs = [f"epoch-{epoch:02d}.lumbre" for epoch in range(1, 5)]
    assert sorted(path.name for path in folder.iterdir()) == ["best.lumbre", *epochs, "record.json"]
    first, best = numbers(r"of epoch \d: loss on all rows (\S+)", said)
    assert numbers(r"going on: loss on all rows (\S+)", said)[0] < best < first
    history = lb.load(folder / "best.lumbre", torch.nn.Linear).history.query("set == 'valid'")
    record = json.loads((folder / "record.json").read_text())
    assert record == {"lowest": history["value"].min(), "epochs": 4}
    assert "8 epochs in two runs" in said
    assert numbers(r"the lowest loss was (\S+)", said)[0] < record["lowest"]


def test_lr_finder_finds_a_rate_that_learns_and_draws_it(tmp_path: Path) -> None:
    said = quick("lr_finder", tmp_path)
    suggestion = numbers(r"suggestion (\S+)", said)[0]
    assert 3e-4 <= suggestion <= 3e-2
    suggested, hundredth = numbers(r"accuracy (\S+)", said)
    assert suggested >= 0.6
    assert suggested > hundredth + 0.2
    assert picture_size(tmp_path / "lr-finder.png") == (600, 350)


def test_mnist_cnn_reads_drawn_digits(tmp_path: Path) -> None:
    said = quick("mnist_cnn", tmp_path)
    assert numbers(r"(?m)^  acc: (\S+)", said)[0] >= 0.5
    assert "predictions: (100, 10)" in said
    assert (tmp_path / "mnist-cnn.lumbre").stat().st_size > 4 * 1_199_882


@pytest.mark.slow
def test_autoencoder_draws_better_than_the_mean_image(tmp_path: Path) -> None:
    said = quick("mnist_autoencoder", tmp_path)
    error, mean_image = numbers(r"(?:error:|image:) (\d\.\d+)", said)
    assert error < mean_image / 3
    assert "codes: (10, 16)" in said, "the module's own predict gives the encoder's output"
    assert picture_size(tmp_path / "autoencoder.png") == (10 * 30 + 2, 2 * 30 + 2)


@pytest.mark.slow
def test_transfer_trains_the_head_alone_and_tells_cats_from_dogs(tmp_path: Path) -> None:
    said = quick("dogs_vs_cats", tmp_path)
    assert numbers(r"Valid metrics: .*Acc: (\S+)", said)[-1] >= 0.8
    assert "(2,177 trainable, 41,256 frozen)" in said
    assert re.search(r"features: Sequential .* frozen", said)


@pytest.mark.parametrize("kind", ["body.lumbre", "body.pth"])
def test_the_body_comes_from_either_file_and_is_frozen(tmp_path: Path, kind: str) -> None:
    parts = runpy.run_path(str(ROOT / "examples" / "dogs_vs_cats.py"))
    recipe = lb.setup(parts["AlexNet"], loss=torch.nn.CrossEntropyLoss(), optimizer=torch.optim.SGD)
    fitted = recipe.set_hparams(n_class=6, width=2).fit(parts["drawn"](12, 0, animals=False), epochs=1, verbose=False)
    body, path = fitted.model, tmp_path / kind
    if kind == "body.pth":
        torch.save(body.state_dict(), path)
    else:
        fitted.save(path)
    net = parts["with_new_head"](str(path))
    for name, weight in net.named_parameters():
        assert weight.requires_grad == name.startswith("classifier")
        if name.startswith("features"):
            assert torch.equal(weight, body.get_parameter(name))
    assert net(torch.rand(3, 3, 64, 64)).shape == (3,)
