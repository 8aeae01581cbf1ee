"""Charts and images as data URIs, so that the page needs no other file."""

import base64
import io
import re
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lumbre.base import import_extra
from lumbre.plots import as_shown

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
    """

    source: str
    alt: str
    width: int
    lines: tuple[str, ...] = ()
    wrong: bool = False


def embedded_chart(chart: Any, alt: str, *lines: str) -> Picture:
    """A plotnine chart, drawn as SVG; as PNG where that would be large."""
    drawn = _drawn(chart, "svg")
    found = re.search(rb'<svg[^>]* width="([\d.]+)pt"', drawn)
    width = round(float(found.group(1)) * _CSS_PIXELS_PER_POINT) if found else 600
    if len(drawn) <= _MOST_SVG_BYTES:
        return Picture(_uri("image/svg+xml", drawn), alt, width, lines)
    return Picture(_uri("image/png", _drawn(chart, "png", dpi=_DPI)), alt, width, lines)


def embedded_images(images: Tensor) -> list[tuple[str, int]]:
    """Images as PNG, with their widths in pixels; large ones are made smaller.

    Args:
        images: of shape (rows, channels, height, width) or (rows, height, width), as a module gets them.
    """
    matplotlib = import_extra("matplotlib.image", "plots", "write images")
    found: list[tuple[str, int]] = []
    for pixels in as_shown(_smaller(images)):
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
    return file.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
