"""What a notebook shows of an object: tables, code, what is folded, and small pictures, as HTML without a script.

Colours are those of the page (`currentColor`), so that it can be read in light and dark.
"""

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import torch
from torch import Tensor
from torch.nn import functional as F

_OPEN_LINES = 12  # of a longer text the first line is shown, and the rest when it is clicked
_MOST_PIXELS = 96
_LEAST_WIDTH = 64


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table, the first of them its head."""
    head, *body = rows
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in body)
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"


def html_facts(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """Names and what is known of each, under a title."""
    left = 'style="text-align:left"'
    lines = "".join(f"<tr><th {left}>{escape(name)}</th><td {left}>{escape(text)}</td></tr>" for name, text in facts)
    return f"<div><b>{escape(title)}</b></div><table><tbody>{lines}</tbody></table>"


def html_code(text: str) -> str:
    """A text in letters of one width; a long one is folded under its first line."""
    block = f'<pre style="font-family:ui-monospace,Menlo,Consolas,monospace;line-height:1.35">{escape(text)}</pre>'
    first, *others = text.split("\n")
    return block if len(others) < _OPEN_LINES else html_folded(f"{first} ... {len(others)} more lines", block)


def html_folded(title: str, inner: str) -> str:
    """A title that shows `inner` when it is clicked."""
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def folded_text(text: str, lines: int = _OPEN_LINES, more: str = "") -> str:
    """A text of at most so many lines: of a longer one the first and the last.

    Args:
        text: any.
        lines: how many are kept.
        more: where the whole can be read, such as "print(fitted.model)".
    """
    every = text.split("\n")
    if len(every) <= lines:
        return text
    last = lines // 4
    first = lines - last - 1
    left = len(every) - first - last
    indent = every[first][: len(every[first]) - len(every[first].lstrip())]
    return "\n".join([*every[:first], f"{indent}... {left} more lines{f': {more}' if more else ''}", *every[-last:]])


def listed(texts: Iterable[str], most: int = 8) -> str:
    """Texts with commas between them; of many the first."""
    texts = list(texts)
    left = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {left:,} more" if left > 0 else "")


def is_pictures(value: object) -> bool:
    """Whether a tensor holds pictures: shape (rows, 1 or 3, height, width), or bytes of shape (rows, height, width)."""
    if not isinstance(value, Tensor) or value.is_complex() or value.layout != torch.strided:
        return False
    if value.ndim == 3:
        return value.dtype == torch.uint8 and min(value.shape[1:]) > 3
    return value.ndim == 4 and value.shape[1] in (1, 3)


def html_pictures(pictures: Sequence[Tensor] | Tensor, captions: Sequence[str] = ()) -> str:
    """Pictures in a row that breaks, with a text under each; large ones are made smaller, small ones shown larger.

    Args:
        pictures: each bytes, or floats, of shape (channels, height, width) with 1 or 3 channels, or (height, width).
            Floats outside [0, 1] are stretched from the lowest to the highest value of all.
        captions: a text for each, or none.
    """
    cells: list[str] = []
    for number, pixels in enumerate(_bytes_of(pictures)):
        width = max(_LEAST_WIDTH, pixels.shape[1])
        source = base64.b64encode(png(pixels)).decode()
        caption = captions[number] if captions else ""
        alt = escape(caption.replace("\n", ", ") or f"row {number}", quote=True)
        text = escape(caption).replace("\n", "<br>")
        cells.append(
            f'<figure style="margin:0;width:{width + 24}px;text-align:center;font-size:smaller;overflow-wrap:anywhere">'
            f'<img alt="{alt}" width="{width}" style="image-rendering:pixelated" src="data:image/png;base64,{source}">'
            f"<figcaption>{text}</figcaption></figure>"
        )
    return f'<div style="display:flex;flex-wrap:wrap;gap:6px">{"".join(cells)}</div>'


def _bytes_of(pictures: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """Each picture as bytes, of shape (height, width) or (height, width, 3)."""
    values = [_small(one.detach().cpu()) for one in pictures]
    low, high = min(float(one.min()) for one in values), max(float(one.max()) for one in values)
    if low < 0 or high > 1:
        values = [(one - low) / (high - low or 1.0) for one in values]
    shown = [(one * 255).round().to(torch.uint8) for one in values]
    return [one[0] if len(one) == 1 else one.permute(1, 2, 0) for one in shown]


def _small(picture: Tensor) -> Tensor:
    pixels = picture[None] if picture.ndim == 2 else picture
    values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float().nan_to_num(0.0)
    longest = max(values.shape[1:])
    if longest <= _MOST_PIXELS:
        return values
    size = [max(1, side * _MOST_PIXELS // longest) for side in values.shape[1:]]
    return F.interpolate(values[None], size=size, mode="area")[0]


def png(pixels: Tensor) -> bytes:
    """A picture as a PNG file: uint8 of shape (height, width) or (height, width, 3).

    Written here so that a data set shows itself where no package for pictures is installed.
    Source: PNG specification, third edition, W3C 2025, sections 5 and 11.
    """
    height, width = pixels.shape[:2]
    colour_type = 2 if pixels.ndim == 3 else 0
    lines = pixels.reshape(height, -1).contiguous()
    unfiltered = torch.cat([torch.zeros(height, 1, dtype=torch.uint8), lines], dim=1)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = zlib.compress(unfiltered.numpy().tobytes())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
