"""The gallery shows every plot that is public, light and dark."""

import re
import runpy

import pytest

import lumbre as lb
from conftest import ROOT

PICTURES = ROOT / "docs" / "pictures" / "gallery"
PAGE = (ROOT / "docs" / "gallery.md").read_text()
NO_PLOTS = {"PictureGrid", "theme"}


def test_every_public_plot_is_drawn_and_shown() -> None:
    pytest.importorskip("PIL")
    drawn = set(runpy.run_path(str(ROOT / "docs" / "draw_gallery.py"))["DRAWN"])
    shown = re.findall(r"pictures/gallery/(\w+)_(light|dark)\.png", PAGE)
    assert drawn == set(lb.plots.__all__) - NO_PLOTS
    assert sorted(shown) == sorted((name, look) for name in drawn for look in ("light", "dark"))


def test_its_pictures_are_there_and_small() -> None:
    sizes = {path.name: path.stat().st_size for path in PICTURES.glob("*.png")}
    assert sorted(sizes) == sorted(re.findall(r"pictures/gallery/(\w+\.png)", PAGE))
    assert {name: size for name, size in sizes.items() if size > 40_000} == {}
