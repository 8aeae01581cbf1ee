"""What is printed of objects, and what a notebook shows of them."""

import io
import re
import struct
import zlib
from base64 import b64decode
from math import nan
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import nn, optim

import lumbre as lb
from lumbre.base import folded_text, html_pictures, lines_svg, png


class Fine(nn.Module):
    """A net that prints in fifty lines."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Flatten()
        self.parts = nn.Sequential(*[nn.Identity() for _ in range(48)])
        self.last = nn.Linear(36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.parts(self.flat(x)))


def images(rows: int = 30) -> lb.data.InMemoryDataset:
    x = torch.arange(rows * 36, dtype=torch.float32).reshape(rows, 1, 6, 6) / (rows * 36)
    return lb.data.InMemoryDataset(x, torch.arange(rows) % 3, classes=["cat", "dog", "<hen>"])


def recipe(module: Any = None) -> lb.Recipe:
    net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) if module is None else module
    return lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD)


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(b64decode(one))) for one in found]


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).float()


def whole(html: str) -> str:
    """The HTML, after it was read as a tree: every tag is closed, and nothing breaks out of its place."""
    closed = re.sub("(<img[^>]*|<br)>", "\\1/>", html).replace("&nbsp;", " ")
    ElementTree.fromstring(f"<page>{closed}</page>")
    assert "<script" not in html
    return html


def test_rows_in_memory_say_shapes_and_classes() -> None:
    assert repr(images()).split("\n") == [
        "InMemoryDataset of 30 rows",
        "  input: float32 (1, 6, 6)",
        "  target: int64, 3 classes: cat 10, dog 10, <hen> 10",
    ]


def test_a_part_counts_its_own_rows() -> None:
    rare = lb.data.InMemoryDataset(torch.zeros(10, 2), torch.tensor([0] * 9 + [1]), classes=["often", "seldom"])
    first, last = lb.split(rare, 0.8, 0.2, ordered=True)
    assert repr(first).startswith("8 of 10 rows of InMemoryDataset\n")
    assert "often 8, seldom 0" in repr(first)
    assert "often 1, seldom 1" in repr(last)


def test_frames_say_their_columns_and_the_rows_of_each_class() -> None:
    penguins = lb.data.from_frame(lb.datasets.penguins(drop_missing=True), target="species", features=["year", "sex"])
    train, _ = lb.split(penguins, 0.8, 0.2)
    assert repr(train).split("\n")[:2] == ["FrameData of 266 rows", "  features: 2: year, sex"]
    assert sum(map(int, re.findall(r"[a-z] (\d+)", repr(train).split("\n")[2]))) == 266
    html = train._repr_html_()
    assert "<td>category</td>" in html
    assert "dataframe" in html


def test_a_data_set_of_images_shows_the_first_with_their_classes() -> None:
    html = whole(images()._repr_html_())
    shown = pictures_in(html)
    assert [one.size for one in shown] == [(6, 6)] * 8
    assert html.count("<figcaption>&lt;hen&gt;</figcaption>") == 2
    exact = images().input[7, 0] * 255
    assert torch.allclose(pixels(shown[7]), exact.flatten(), atol=0.51)


def test_files_of_images_show_themselves_small(tmp_path: Path) -> None:
    for name, colour in (("owl", (250, 0, 0)), ("wren", (0, 0, 250))):
        (tmp_path / name).mkdir()
        Image.new("RGB", (400, 200), colour).save(tmp_path / name / "1.png")
    birds = lb.datasets.image_folder(tmp_path)
    assert repr(birds).startswith("ImageFiles of 2 images\n  size: of their own size\n  target: int64, 2 classes")
    shown = pictures_in(whole(birds._repr_html_()))
    assert [one.size for one in shown] == [(96, 48)] * 2
    assert shown[1].getpixel((5, 5)) == (0, 0, 250)
    (tmp_path / "owl" / "1.png").write_bytes(b"no image")
    assert not pictures_in(lb.datasets.image_folder(tmp_path)._repr_html_())  # which is said when it is read


def test_weighted_rows_do_not_print_their_numbers() -> None:
    weighted = lb.data.weighted((torch.zeros(20, 2), torch.zeros(20)), torch.arange(20.0))
    assert repr(weighted) == "20 rows of (float32 (2,), float32) with weights"
    assert "from 0 to 19" in whole(weighted._repr_html_())
    assert repr(lb.data.weighted(images(), torch.ones(30))).startswith("InMemoryDataset of 30 rows with weights\n")


def test_a_model_shows_its_curve_and_folds_a_long_net() -> None:
    fitted = recipe(Fine()).fit(images(), epochs=3, valid_data=0.2, verbose=False, preflight=False)
    text = repr(fitted)
    assert "more lines: print(fitted.model)" in text
    assert len(text.split("\n")) < 32
    html = whole(fitted._repr_html_())
    assert html.count("<polyline") == 2
    assert all(len(points.split()) == 3 for points in re.findall(r'points="([^"]+)"', html))
    assert re.search(r"<details><summary>Fine\( \.\.\. \d+ more lines</summary><pre", html)
    assert "monospace" in html


def test_a_line_of_every_second_epoch_is_drawn_in_long_runs() -> None:
    drawn = lines_svg({"train": [1.0] * 900, "valid": [nan, 2.0] * 450}, title="loss")
    assert [len(points.split()) for points in re.findall(r'points="([^"]+)"', drawn)] == [300, 225]


def test_a_curve_needs_two_finite_points() -> None:
    fitted = recipe().fit(images(), epochs=1, verbose=False)
    assert "<polyline" not in whole(fitted._repr_html_())


def test_a_recipe_shows_its_parts_and_the_net_it_was_given() -> None:
    html = whole(recipe()._repr_html_())
    assert "CrossEntropyLoss()" in html
    assert "(1): Linear(in_features=36" in html


def test_examples_show_pictures_with_truth_and_prediction() -> None:
    fitted = recipe().fit(images(), epochs=1, verbose=False)
    found = fitted.examples(images(), 12, choose="first")
    html = whole(found._repr_html_())
    assert len(pictures_in(html)) == 12
    assert html.count("<figcaption>true cat<br>") == 4
    assert repr(found).startswith("Examples of 12 rows, input (12, 1, 6, 6)\n")
    assert repr(found).endswith("... 7 more rows: .frame")
    input, frame = found  # a named tuple as before
    assert len(input) == len(frame) == 12


def test_finders_show_their_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = recipe().lr_finder(images(), steps=10)
    drawn, options = rates._repr_mimebundle_()
    assert drawn["text/plain"] == repr(rates)
    assert options["image/png"]["width"] < Image.open(io.BytesIO(_bytes(drawn["image/png"]))).width  # for sharp screens
    sizes = recipe().batch_size_finder(images(), sizes=[8, 16], seconds=0.001)
    assert "image/png" in sizes._repr_mimebundle_()[0]

    def missing(*_: object) -> None:
        raise lb.MissingExtraError("", "", "")

    monkeypatch.setattr("lumbre.plots._finders.import_extra", missing)
    assert rates._repr_mimebundle_() == {"text/plain": repr(rates)}


def _bytes(data: Any) -> bytes:
    return data if isinstance(data, bytes) else b64decode(data)


def test_pictures_as_png_files() -> None:
    colours = torch.arange(2 * 3 * 3, dtype=torch.uint8).reshape(2, 3, 3)
    file = png(colours)
    assert Image.open(io.BytesIO(file)).tobytes() == colours.numpy().tobytes()
    assert struct.unpack(">I", file[29:33])[0] == zlib.crc32(file[12:29])


def test_floats_beyond_one_are_stretched_together() -> None:
    dark, bright = pictures_in(html_pictures(torch.tensor([[[[-1.0, 0.0]]], [[[1.0, 3.0]]]])))
    assert torch.cat([pixels(dark), pixels(bright)]).tolist() == [0, 64, 128, 255]


def test_long_texts_keep_both_ends() -> None:
    text = "\n".join(f"  {line}" for line in range(100))
    kept = folded_text(text, 8, "all of it").split("\n")
    assert kept == [*(f"  {line}" for line in range(5)), "  ... 93 more lines: all of it", "  98", "  99"]
    assert folded_text("a\nb", 2) == "a\nb"
