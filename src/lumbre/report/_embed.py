"""Charts and images as data URIs, so that the page needs no other file."""

import base64
import io
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import torch
from torch import Tensor
from torch.nn import functional as F

from lumbre import plots
from lumbre.base import import_extra

# A drawing of more bytes than this (thousands of points) is smaller as pixels.
_MOST_SVG_BYTES = 250_000
_DPI = 150
_MOST_PIXELS = 192
_CSS_PIXELS_PER_POINT = 96 / 72


class Picture(NamedTuple):
    """An image of the page.

    Attributes:
        source: its data URI.
        alt: what it shows, in words.
        width: its natural width in CSS pixels.
        lines: what stands under it.
        wrong: whether it shows something that the model got wrong.
        dark: what is shown in its place where the page is dark; "" where it adapts itself, or stays as it is.
    """

    source: str
    alt: str
    width: int
    lines: tuple[str, ...] = ()
    wrong: bool = False
    dark: str = ""


def embedded_chart(make: Callable[[], Any], alt: str, *lines: str) -> Picture:
    """A plotnine chart, light or dark as the page is: an SVG that adapts; two PNG where that would be large."""
    with plots.theme("light"):
        chart = make()
    drawn = _drawn(chart, "svg")
    found = re.search(rb'<svg[^>]* width="([\d.]+)pt"', drawn)
    width = round(float(found.group(1)) * _CSS_PIXELS_PER_POINT) if found else 600
    if len(drawn) <= _MOST_SVG_BYTES:
        return Picture(_svg_uri(_adapting(drawn)), alt, width, lines)
    with plots.theme("dark"):
        dark = make()
    light, dark = (_uri("image/png", _drawn(one, "png", dpi=_DPI)) for one in (chart, dark))
    return Picture(light, alt, width, lines, dark=dark)


def embedded_images(images: Tensor) -> list[tuple[str, int]]:
    """Images as PNG, with their widths in pixels; large ones are made smaller.

    Args:
        images: of shape (rows, channels, height, width) or (rows, height, width), as a module gets them.
    """
    matplotlib = import_extra("matplotlib.image", "plots", "write images")
    found: list[tuple[str, int]] = []
    for pixels in plots.as_shown(_smaller(images)):
        file = io.BytesIO()
        matplotlib.imsave(file, pixels, format="png", cmap="gray", vmin=0, vmax=1)
        found.append((_uri("image/png", file.getvalue()), pixels.shape[1]))
    return found


def _smaller(images: Tensor) -> Tensor:
    pixels = images[:, None] if images.ndim == 3 else images
    longest = max(pixels.shape[2:])
    if longest <= _MOST_PIXELS:
        return pixels
    size = [max(1, side * _MOST_PIXELS // longest) for side in pixels.shape[2:]]
    smaller = F.interpolate(pixels.float(), size=size, mode="area")
    return smaller.round().to(torch.uint8) if pixels.dtype == torch.uint8 else smaller


def _drawn(chart: Any, kind: str, **options: Any) -> bytes:
    matplotlib = import_extra("matplotlib", "plots", "draw charts")
    file = io.BytesIO()
    # Outlines instead of letters: the page looks alike whatever fonts the reader has. Without date and with a salt of
    # its own the same chart gives the same bytes.
    settings = {"svg.fonttype": "path", "svg.hashsalt": "lumbre"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as that a font lacks a letter of a class's name
        metadata = {"metadata": {"Date": None}} if kind == "svg" else {}
        chart.save(file, format=kind, verbose=False, **metadata, **options)
    return _shorter(file.getvalue()) if kind == "svg" else file.getvalue()


def _shorter(svg: bytes) -> bytes:
    """The drawing with its paths to a tenth of a point: matplotlib writes six digits, which nobody sees."""

    def short(path: re.Match[bytes]) -> bytes:
        tenths = re.sub(rb"-?\d+\.\d+", lambda number: b"%g" % round(float(number[0]), 1), path[0])
        return re.sub(rb"\s+(?=[A-Zz\"])|(?<=[A-Z])\s+", b"", tenths)

    return re.sub(rb' d="[^"]*"', short, svg)


def _adapting(svg: bytes) -> bytes:
    """The colours of the light theme as variables, which are those of the dark theme where the reader prefers it."""
    pairs = list(plots.light_to_dark().items())
    names = {light.encode(): f"var(--c{number})".encode() for number, (light, _) in enumerate(pairs)}
    light, dark = (";".join(f"--c{number}:{pair[at]}" for number, pair in enumerate(pairs)) for at in (0, 1))
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    head, start, rest = re.sub(rb"#[0-9a-f]{6}\b", lambda found: names.get(found[0], found[0]), svg).partition(
        b"<defs>"
    )
    return head + style.encode() + start + rest


def _svg_uri(svg: bytes) -> str:
    """As text, which is a quarter shorter than base64; without remarks and matplotlib's metadata."""
    plain = re.sub(rb"<!--.*?-->|<metadata>.*?</metadata>", b"", svg, flags=re.DOTALL)
    return "data:image/svg+xml," + quote(re.sub(rb"\s+", b" ", plain), safe=" /=:;,.()-+*!?@{}")


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
