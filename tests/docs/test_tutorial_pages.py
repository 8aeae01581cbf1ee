"""The snippets of the tutorials' pages run one after the other and print what stands below them; pictures are small.

Stand-ins of the same shapes replace data sets that would be downloaded, and long trainings are shortened.
"""

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lumbre as lb
from conftest import ROOT

PAGES = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
PICTURES = ROOT / "docs" / "pictures"

SHORTER: dict[str, list[tuple[str, str]]] = {
    "mnist_cnn": [("epochs=10, batch_size=128", "epochs=1, batch_size=32")],
    "little_book": [("steps=5000, rate=0.01", "steps=1000, rate=0.05")],
    "activations": [("epochs=40", "epochs=10"), ("epochs=3, batch_size=32", "epochs=1"), ("every=200", "every=4")],
    "workshop": [
        ("epochs=20,\n        batch_size=128", "epochs=1,\n        batch_size=16"),
        ("steps=500, batch_size=128", "steps=4, batch_size=16"),
    ],
    "guess_the_correlation": [
        (
            "(range(10_000), range(10_000, 15_000), range(15_000, 20_000))",
            "(range(64), range(64, 80), range(80, 96))",
        ),
        ("epochs=10, batch_size=64", "epochs=1, batch_size=16"),
        ("check(train, batch_size=64)", "check(train, batch_size=8)"),
        ("(64, 1) and a target (64,)", "(8, 1) and a target (8,)"),
    ],
    "deep_learning_and_scientific_computing": [("epochs=200", "epochs=20")],
}
"""Replacements in the text of each page."""


def program(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "examples" / "tutorials" / f"{name}.py"))


def few_digits(*, train: bool = True, transform: Callable[..., Any] = lambda images: images.float() / 255) -> Any:
    drawn = program("mnist_cnn")["drawn"](128 if train else 48, int(train))
    return lb.data.InMemoryDataset(drawn.input, drawn.target, transform=transform, classes=drawn.classes)


def few_pictures(*, split: str, transform: Callable[..., Any]) -> Any:
    drawn = program("workshop")["stripes"](32, len(split))
    return lb.data.InMemoryDataset(drawn.input, drawn.target, transform=transform)


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lb.datasets, "mnist", few_digits)
    monkeypatch.setattr(lb.datasets, "tiny_imagenet", few_pictures)


def shortened(page: Path) -> str:
    text = page.read_text()
    for said, instead in SHORTER.get(page.stem, ()):
        assert text.count(said) == 1, f"the page no longer says {said!r}"
        text = text.replace(said, instead)
    return text


@pytest.mark.filterwarnings("error")
@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```python" in page.read_text()], ids=lambda page: page.stem
)
def test_the_snippets_run_and_print_what_they_say(page: Path, in_tmp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": page.stem}
    printed = ""
    for language, block in re.findall(r"^```(python|text)\n(.*?)^```", shortened(page), re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(block, str(page), "exec"), names)
            printed = capsys.readouterr().out
        else:
            assert printed == block


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_and_pictures_are_there(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_picture_is_shown_and_described() -> None:
    shown = dict[Path, str]()
    for page in PAGES:
        for words, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text()):
            shown[(page.parent / target).resolve()] = words
    there = {picture.resolve() for picture in (PICTURES / "tutorials").rglob("*.png")}
    assert there == set(shown)
    assert all(len(words.split()) > 3 for words in shown.values())


def test_pictures_are_small() -> None:
    from PIL import Image

    sizes = {picture: picture.stat().st_size for picture in PICTURES.rglob("*.png")}
    assert max(sizes.values()) <= 80_000
    gallery = sum(size for picture, size in sizes.items() if picture.parent.name == "gallery")
    assert gallery <= 1_800_000
    assert sum(sizes.values()) - gallery <= 1_500_000
    for picture in (PICTURES / "tutorials").rglob("*.png"):
        with Image.open(picture) as image:
            assert 380 <= image.width <= 810, picture


def test_every_program_of_a_picture_is_known_to_the_one_that_draws_them() -> None:
    runs = runpy.run_path(str(ROOT / "docs" / "draw_pictures.py"))["RUNS"]
    assert {folder.name for folder in (PICTURES / "tutorials").iterdir()} <= set(runs)
