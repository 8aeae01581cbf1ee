"""`lumbre new`: a small project to begin with: script, notebook, data and a test, which runs without a network."""

import csv
import json
import random
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumbre.base import png

_README = """# {name}

Made by `lumbre new {name} --template {template}`.

| file | what |
|---|---|
| `train.py` | from the data to a trained model; the lines `# %%` make cells of it in many editors |
| `train.ipynb` | the same as a notebook |
| `data/` | {data}; put your own in its place |
| `test_train.py` | the script runs and learns: `pytest` |

```sh
pip install "lumbre[data]" pytest
python train.py
pytest
```
"""
_CELL = "# %%"


def new(where: Path, template: str) -> int:
    """Write a project into the folder `where`.

    Returns:
        0, or 2 where there is something already.
    """
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        print(f"{where} is there already and not empty: another name, or an empty folder", file=sys.stderr)
        return 2
    texts = files("lumbre.cli").joinpath("templates")
    script = texts.joinpath(template, "train.py").read_text(encoding="utf-8")
    (where / "data").mkdir(parents=True, exist_ok=True)
    data = _DATA[template](where / "data")
    test = texts.joinpath("test_train.py").read_text(encoding="utf-8")
    readme = _README.format(name=where.name, template=template, data=data)
    notebook = json.dumps(notebook_of(script), indent=1) + "\n"
    for name, text in (
        ("train.py", script),
        ("train.ipynb", notebook),
        ("test_train.py", test),
        ("README.md", readme),
        (".gitignore", "model.lumbre\n__pycache__/\n"),
    ):
        (where / name).write_text(text, encoding="utf-8")
    print(f"A project in {where}. Next: cd {where} && python train.py, or open train.ipynb")
    return 0


def notebook_of(script: str) -> dict[str, Any]:
    """A script as a notebook: what follows a line "# %%" is a cell of code, what follows "# %% [markdown]" a text."""
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(script.split(_CELL)[1:]):
        head, _, body = part.partition("\n")
        lines = body.strip("\n").split("\n")
        text = head.strip() == "[markdown]"
        if text:
            lines = [line.removeprefix("#").removeprefix(" ") for line in lines if line.startswith("#")]
        source = [f"{line}\n" for line in lines[:-1]] + lines[-1:]
        kind = {"cell_type": "markdown"} if text else {"cell_type": "code", "execution_count": None, "outputs": []}
        cells.append({"id": f"cell-{number}", "metadata": {}, "source": source, **kind})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _table(folder: Path) -> str:
    text = files("lumbre.datasets").joinpath("files", "penguins.csv").read_bytes()
    (folder / "table.csv").write_bytes(text)
    return "344 penguins, measured"


def _pictures(folder: Path) -> str:
    for kind, (name, inside) in enumerate(_SHAPES.items()):
        (folder / name).mkdir()
        for number, pixels in enumerate(_drawn(inside, kind)):
            (folder / name / f"{number:03d}.png").write_bytes(png(pixels))
    return f"{_EACH} pictures each of {', '.join(_SHAPES)}"


_EACH, _SIDE = 80, 24
_SHAPES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "circle": lambda x, y, size: x * x + y * y < size * size,
    "cross": lambda x, y, size: ((x.abs() < size / 4) | (y.abs() < size / 4)) & (x.abs() < size) & (y.abs() < size),
    "frame": lambda x, y, size: (torch.maximum(x.abs(), y.abs()) - size).abs() < 1.2,
}


def _drawn(inside: Callable[[Tensor, Tensor, float], Tensor], kind: int) -> Iterator[Tensor]:
    """Bright shapes of any place, size and colour on noise, uint8 of shape (height, width, 3)."""
    chance = torch.Generator().manual_seed(kind)
    y, x = torch.meshgrid(torch.arange(_SIDE), torch.arange(_SIDE), indexing="ij")
    for _ in range(_EACH):
        left, top, size = (torch.rand(3, generator=chance) * 6 + torch.tensor([9.0, 9.0, 4.0])).tolist()
        colour = 120 + 130 * torch.rand(3, generator=chance)
        noise = 60 * torch.rand(_SIDE, _SIDE, 3, generator=chance)
        yield torch.where(inside(x - left, y - top, size)[..., None], colour, noise).to(torch.uint8)


def _texts(folder: Path) -> str:
    chance = random.Random(0)
    neutral = "the film story actor music scene camera and of with very is".split()  # noqa: SIM905 - as it is read
    good, bad = ["good", "great", "fine"], ["bad", "dull", "awful"]
    with (folder / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["text", "label"])
        for _ in range(1500):
            praise, denied = chance.random() < 0.5, chance.random() < 0.5
            word = chance.choice(good if praise else bad)
            text: list[str] = list(chance.choices(neutral, k=10))
            text.insert(chance.randrange(10), f"not {word}" if denied else word)
            lines.writerow([" ".join(text), int(praise != denied)])
    return "1,500 made-up reviews"


_DATA: dict[str, Callable[[Path], str]] = {"tabular": _table, "vision": _pictures, "text": _texts}
