"""One look for all charts, light and dark, that leaves the user's own settings alone."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import lumbre as lb
from lumbre.plots._theme import DARK, LIGHT, Look, current_look, light_to_dark

mpl = pytest.importorskip("matplotlib")
p9 = pytest.importorskip("plotnine")
RATES = [0.1, 0.05, 0.02]


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    with mpl.rc_context(dict(mpl.rcParamsDefault)), lb.plots.theme("auto"):
        yield
    p9.options.current_theme = None


def pixels(chart: Any, **options: Any) -> np.ndarray:
    from PIL import Image

    file = io.BytesIO()
    chart.save(file, format="png", verbose=False, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def hexed(pixel: Any) -> str:
    return "#" + "".join(f"{part:02x}" for part in pixel)


@pytest.mark.parametrize(("name", "look"), [("light", LIGHT), ("dark", DARK)])
def test_a_theme_gives_ground_and_line_their_colours(name: str, look: Look) -> None:
    with lb.plots.theme(name):
        drawn = pixels(lb.plots.plot_rates(RATES))
    assert hexed(drawn[3, 3]) == look.paper
    assert (drawn == [int(look.train[at : at + 2], 16) for at in (1, 3, 5)]).all(-1).sum() > 100


def test_a_with_puts_the_theme_before_back_and_a_call_alone_sets_it() -> None:
    lb.plots.theme("dark")
    with lb.plots.theme("light"):
        assert current_look() is LIGHT
    assert current_look() is DARK
    with pytest.raises(ZeroDivisionError), lb.plots.theme("light"):
        _ = 1 / 0
    assert current_look() is DARK
    lb.plots.theme("auto")
    assert current_look() is LIGHT


def test_pixels_are_twice_those_of_a_screen_once() -> None:
    chart = lb.plots.plot_rates(RATES)
    assert pixels(chart).shape[:2] == (700, 1200)  # 6 by 3.5 inches
    assert pixels(chart, dpi=50).shape[:2] == (175, 300)
    shown, options = chart._repr_mimebundle_()
    assert shown["image/png"]
    assert options["image/png"] == {"width": 600, "height": 350}


def test_settings_of_matplotlib_are_as_before() -> None:
    mpl.rcParams["lines.linewidth"] = 7
    before = dict(mpl.rcParams)
    with lb.plots.theme("dark"):
        pixels(lb.plots.plot_rates(RATES), dpi=30)
    assert dict(mpl.rcParams) == before


def test_a_style_of_matplotlib_is_kept_where_no_theme_was_asked_for() -> None:
    mpl.style.use("dark_background")
    assert hexed(pixels(lb.plots.plot_rates(RATES), dpi=30)[3, 3]) == "#000000"
    assert current_look() is DARK
    with lb.plots.theme("light"):
        assert hexed(pixels(lb.plots.plot_rates(RATES), dpi=30)[3, 3]) == LIGHT.paper


def test_a_theme_of_plotnine_is_kept_and_not_changed() -> None:
    own = p9.theme_gray() + p9.theme(plot_background=p9.element_rect(fill="#123456"))
    p9.theme_set(own)
    size = own.getp("figure_size")
    chart = lb.plots.plot_rates(RATES)
    assert hexed(pixels(chart, dpi=30)[3, 3]) == "#123456"
    assert own.getp("figure_size") == size != chart.theme.getp("figure_size")


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_the_ground(look: Look) -> None:
    """By the contrast ratios of the W3C's guidelines, WCAG 2.2: 4.5 for text, 3 for marks."""
    assert min(contrast(look.paper, colour) for colour in (look.ink, look.soft)) >= 4.5
    assert min(contrast(look.paper, colour) for colour in (look.train, look.valid, look.rule, look.deep)) >= 3
    assert contrast(look.paper, look.deep) >= 4.5  # the paper's colour is that of text on it


@pytest.mark.parametrize("look", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("lacks", ["nothing", "red", "green", "blue"])
def test_neighbouring_colours_differ_for_any_colour_vision(look: Look, lacks: str) -> None:
    """As Machado, Oliveira and Fernandes (2009) simulate the lack of one kind of cone, in CIELAB: 2.3 is just seen."""
    seen = np.array([lab(colour, lacks) for colour in look.palette[:8]])
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)[np.triu_indices(8, 1)]
    assert apart.min() > 8


def lab(colour: str, lacks: str) -> np.ndarray:
    cones = {
        "nothing": np.eye(3),
        "red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
        "blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    }
    parts = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(np.array(cones[lacks]) @ linear, 0, 1) / (to_xyz @ np.ones(3))
    scaled = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * scaled[1] - 16, 500 * (scaled[0] - scaled[1]), 200 * (scaled[1] - scaled[2])])


def test_each_colour_of_the_light_theme_has_its_dark_one() -> None:
    pairs = light_to_dark()
    assert pairs[LIGHT.paper] == DARK.paper
    assert [pairs[colour] for colour in LIGHT.palette] == list(DARK.palette)
    assert len(pairs) == len(LIGHT.palette) + 9  # no two things share a light colour and differ in the dark
