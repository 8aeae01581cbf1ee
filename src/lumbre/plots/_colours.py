"""Okabe and Ito's palette, told apart by people with any colour vision.

Source: M. Okabe and K. Ito, "Color Universal Design", 2002.
"""

TRAIN = "#0072B2"
VALID = "#D55E00"

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
"""In the order in which classes get them; yellow, the faintest on white, comes last."""

SHAPES = ("o", "^", "s", "D", "v", "P", "X", "*")
LINETYPES = ("solid", "dashed", "dotted", "dashdot")


def class_colours(count: int) -> list[str]:
    """A colour for each of `count` classes; after eight they begin again."""
    return [PALETTE[number % len(PALETTE)] for number in range(count)]


def class_shapes(count: int) -> list[str]:
    """A shape of point for each of `count` classes. Where colours begin again, shapes stand one further."""
    return [SHAPES[(number + number // len(PALETTE)) % len(SHAPES)] for number in range(count)]


def class_linetypes(count: int) -> list[str]:
    """A kind of line for each of `count` classes. Where colours begin again, kinds stand one further."""
    return [LINETYPES[(number + number // len(PALETTE)) % len(LINETYPES)] for number in range(count)]
