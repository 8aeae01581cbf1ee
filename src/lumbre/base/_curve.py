"""A small picture of lines as SVG, for notebooks: no library, no script, readable on light and dark ground."""

from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito: safe for colour-blind eyes
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _EDGE = 360, 150, 46, 22, 10
_MOST = 400


def lines_svg(lines: Mapping[str, Sequence[float]], *, title: str) -> str:
    """Lines over 1, 2, 3 ..., each with its name; numbers that are not finite leave a gap.

    Args:
        lines: values by name.
        title: said to those who cannot see the picture.

    Returns:
        SVG, or an empty text where there is no finite number.
    """
    finite = [value for values in lines.values() for value in values if isfinite(value)]
    if not finite:
        return ""
    low, high, most = min(finite), max(finite), max(len(values) for values in lines.values())
    span = high - low or 1.0
    across, down = _WIDTH - _LEFT - _EDGE, _HEIGHT - _BOTTOM - _EDGE

    def place(index: int, value: float) -> str:
        return f"{_LEFT + across * index / max(most - 1, 1):.1f},{_EDGE + down * (high - value) / span:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'role="img" aria-label="{escape(title)}" font-family="sans-serif" font-size="11" fill="currentColor">',
        f'<path d="M{_LEFT},{_EDGE}V{_EDGE + down}H{_WIDTH - _EDGE}" fill="none" stroke="currentColor" opacity=".4"/>',
        f'<text x="{_LEFT - 5}" y="{_EDGE + 9}" text-anchor="end">{high:.3g}</text>',
        f'<text x="{_LEFT - 5}" y="{_EDGE + down}" text-anchor="end">{low:.3g}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">1</text>',
        f'<text x="{_WIDTH - _EDGE}" y="{_HEIGHT - 6}" text-anchor="end">epoch {most}</text>',
    ]
    for number, (name, values) in enumerate(lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        points = [(index, value) for index, value in enumerate(values) if isfinite(value)]
        points = points[:: max(1, -(-len(points) // _MOST))]
        drawn = " ".join(place(*point) for point in (points * 2 if len(points) == 1 else points))  # twice: a dot
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"/>'
            f'<text x="{_WIDTH - _EDGE}" y="{_EDGE + 12 + 14 * number}" text-anchor="end" fill="{colour}">'
            f"{escape(name)}</text>"
        )
    return "".join([*parts, "</svg>"])
