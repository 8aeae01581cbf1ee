"""The examples that work on text, with two nets at once, on pairs and triples of images, and with large batches.

Each runs as a process of its own, as a reader would start it, and must have learned something.
"""

import itertools
import math
import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from PIL import Image
from programs import run_program

import lumbre as lb
from conftest import ROOT

EXAMPLES = (
    "chargpt",
    "mnist_dcgan",
    "mnist_mixup",
    "mnist_triplet",
    "mnist_virtual_batch_size",
    "pets_unet",
    "text_classification",
    "text_generation",
)


def quick(name: str, folder: Path) -> str:
    """What the example prints with --quick, in an empty folder and without any data set."""
    none = str(folder / "no-data")
    done = run_program(ROOT / "examples" / f"{name}.py", "--quick", folder=folder, LUMBRE_DATA=none)
    assert done.returncode == 0, done.stderr
    assert not (folder / "no-data").exists()
    return done.stdout


def figure(said: str, label: str) -> float:
    """The number after the last `label`."""
    return float(re.findall(rf"{label}: (\S+)", said)[-1])


def train_losses(said: str) -> list[float]:
    return [float(loss) for loss in re.findall(r"Train metrics: Loss: (\S+)", said)]


def pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        return lb.vision.to_tensor(picture)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_fits_on_a_page(name: str) -> None:
    assert len((ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_reviews_never_seen_are_judged_rightly(tmp_path: Path) -> None:
    said = quick("text_classification", tmp_path)
    assert "[[1, " in said
    assert figure(said, "acc") >= 0.95


@pytest.mark.slow
def test_gpt_learns_more_than_how_frequent_letters_are(tmp_path: Path) -> None:
    said = quick("chargpt", tmp_path)
    text = (ROOT / "examples" / "sonnets.txt").read_text(encoding="utf-8")
    entropy = -sum(n / len(text) * math.log(n / len(text)) for n in Counter(text).values())
    assert train_losses(said)[-1] < entropy - 0.5
    samples = re.findall(r"Epoch \d/4\n(.*?)\nTrain metrics", said, flags=re.S)
    assert [len(sample) for sample in samples] == [101] * 4
    assert set("".join(samples)) <= set(text)


@pytest.mark.slow
def test_the_generator_draws_what_the_real_images_show(tmp_path: Path) -> None:
    said = quick("mnist_dcgan", tmp_path)
    # All grey, as the first weights draw, would differ by about 0.36.
    assert figure(said, "mean difference of a pixel") < 0.12
    pictures = [pixels(tmp_path / f"dcgan-{epoch:02d}.png") for epoch in range(1, 6)]
    assert all(picture.shape == (1, 242, 242) for picture in pictures)
    assert not any(torch.equal(before, after) for before, after in itertools.pairwise(pictures))
    brightness = pictures[-1]
    assert ((brightness < 0.2) | (brightness > 0.8)).float().mean() > 0.8  # black and white, not grey


@pytest.mark.slow
def test_mixup_learns_and_gathers_accuracy_in_validation_only(tmp_path: Path) -> None:
    said = quick("mnist_mixup", tmp_path)
    assert figure(said, "test accuracy") >= 0.9
    assert re.search(r"Train metrics: Loss: \S+\n", said)
    assert "train_acc" not in said
    # Blends are never certain: the training loss stays above that of whole digits.
    assert train_losses(said)[-1] > 2 * float(re.findall(r"Valid metrics: Loss: (\S+)", said)[-1])


@pytest.mark.slow
def test_triplets_bring_digits_to_their_like(tmp_path: Path) -> None:
    said = quick("mnist_triplet", tmp_path)
    losses = train_losses(said)
    assert losses[-1] < 0.1 < losses[0]
    assert figure(said, "new digits nearest to their like") >= 0.95


@pytest.mark.slow
def test_unet_finds_the_discs_and_draws_its_history(tmp_path: Path) -> None:
    said = quick("pets_unet", tmp_path)
    assert "LearningRates of " in said
    assert figure(said, "pixels right") >= 0.94  # ground everywhere would be right for four pixels of five
    assert pixels(tmp_path / "pets-unet.png").std() > 0.05


def test_accumulated_small_batches_end_where_large_ones_do(tmp_path: Path) -> None:
    said = quick("mnist_virtual_batch_size", tmp_path)
    assert figure(said, "largest difference between weights") < 1e-5
    assert figure(said, "accuracy") >= 0.9


@pytest.mark.slow
def test_a_stream_is_learned_over_one_cycle_of_the_learning_rate(tmp_path: Path) -> None:
    said = quick("text_generation", tmp_path)
    losses = train_losses(said)
    assert losses[-1] < 2.8 < losses[0]
    rates = [float(rate) for rate in re.findall(r"LR: (\S+)", said)]
    assert rates == sorted(rates, reverse=True)  # up only within the first epoch and a fifth
    assert rates[-1] < 1e-6
    assert len(re.findall(r"Epoch \d/4\ndef ", said)) == 4
