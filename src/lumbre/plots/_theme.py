"""The look of all charts, light and dark: type, colours, spacing, and how many pixels.

Sources: M. Okabe and K. Ito, "Color Universal Design", 2002, for eight colours that differ for people with any
colour vision; P. Tol, "Colour schemes", 2021, for the ninth and tenth.
"""

from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Literal, get_args

from lumbre.base import import_extra, one_of

Name = Literal["auto", "light", "dark"]

SHAPES = ("o", "^", "s", "D", "v", "P", "X", "*")
LINETYPES = ("solid", "dashed", "dotted", "dashdot")
_PIXELS_PER_INCH = 200  # twice what a screen of plain resolution shows
_OWN_STYLE = ("axes.facecolor", "text.color", "font.family")


@dataclass(frozen=True, slots=True)
class Look:
    """Colours by what they stand for.

    Attributes:
        paper: the ground.
        ink: text, and marks that stand on the ground.
        soft: text of less weight.
        grid: lines of the grid.
        rule: reference lines, such as where two things are equal.
        context: what stands behind, such as single rows.
        blank: the middle of a scale with two sides.
        tray: the ground of pictures whose middle is blank.
        deep: what shades of a share or a count are made of.
        palette: of sets and classes, in the order in which they get them; the faintest come late.
    """

    paper: str
    ink: str
    soft: str
    grid: str
    rule: str
    context: str
    blank: str
    tray: str
    deep: str
    palette: tuple[str, ...]

    @property
    def train(self) -> str:
        """Of training, and of a chart with one colour."""
        return self.palette[0]

    @property
    def valid(self) -> str:
        """Of validation, and of what is wrong."""
        return self.palette[1]

    def colours(self, count: int) -> list[str]:
        """A colour for each of `count` classes; after ten they begin again."""
        return [self.palette[number % len(self.palette)] for number in range(count)]

    def shapes(self, count: int) -> list[str]:
        """A shape of point for each of `count` classes. Where colours begin again, shapes stand further."""
        return [SHAPES[(number + number // len(self.palette)) % len(SHAPES)] for number in range(count)]

    def linetypes(self, count: int) -> list[str]:
        """A kind of line for each of `count` classes. Where colours begin again, kinds stand further."""
        return [LINETYPES[(number + number // len(self.palette)) % len(LINETYPES)] for number in range(count)]

    def theme(self, **changes: Any) -> Any:
        """What a chart adds to have this look, with changes of its own such as `figure_size`."""
        p9 = import_extra("plotnine", "plots", "draw charts")
        whole = _users_own(p9) if _chosen == "auto" else None
        return (self._whole(p9) if whole is None else whole) + p9.theme(**changes)

    def _whole(self, p9: Any) -> Any:
        text, line, rect = p9.element_text, p9.element_line, p9.element_rect
        theme: Any = _sharp(p9)(base_size=10.5)
        theme += p9.theme(
            text=text(colour=self.ink),
            plot_background=rect(fill=self.paper, colour=self.paper),
            panel_grid_major=line(colour=self.grid, size=0.6),
            panel_grid_minor=p9.element_blank(),
            panel_spacing_x=0.04,
            panel_spacing_y=0.05,
            axis_text=text(colour=self.soft, size=8.5),
            axis_title=text(colour=self.ink, size=9.5),
            strip_text=text(colour=self.ink, size=9.5),
            strip_text_x=text(ha="left", ma="left"),
            plot_title=text(colour=self.ink, size=11.5, ha="left"),
            plot_subtitle=text(colour=self.soft, size=9.5),
            plot_caption=text(colour=self.soft, size=8.5),
            legend_title=text(colour=self.soft, size=9),
            legend_text=text(colour=self.ink, size=8.5),
            legend_box_spacing=0.015,
            plot_margin=0.02,
        )
        return theme


LIGHT = Look(
    paper="#ffffff",
    ink="#1f2328",
    soft="#59636e",
    grid="#e7e9ec",
    rule="#6b7580",
    context="#9aa2ab",
    blank="#f7f7f8",
    tray="#dcdfe3",
    deep="#08427f",
    palette=(
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442", "#882255", "#999933",
    ),
)  # fmt: skip

DARK = Look(
    paper="#16181b",
    ink="#e6e4e0",
    soft="#a3a9b1",
    grid="#2c3036",
    rule="#8b929b",
    context="#666d76",
    blank="#24272c",
    tray="#3a3f46",
    deep="#8cc8f5",
    palette=(
        "#4ba6e3", "#f5813f", "#2fc79b", "#e39cc3", "#f4b73c", "#a6dbff", "#f2f0ec", "#efe76b", "#c65a8c", "#b3b34d",
    ),
)  # fmt: skip

_chosen: Name = "auto"


class Theme:
    """A theme that was set. At the end of a `with` the one before is back."""

    def __init__(self, before: Name) -> None:
        self._before: Name = before

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _set(self._before)


def theme(name: Name = "auto") -> Theme:
    """Draw charts light or dark from now on; with `with`, those that are made inside.

    A chart has the look of the moment in which it is made, and stays open to `+ plotnine.theme(...)`. Matplotlib's own
    settings (`rcParams`) are left as they are. Charts and pictures have 200 pixels an inch, twice what a plain screen
    shows; `save(path, dpi=...)` decides otherwise.

    Args:
        name: "light" or "dark". "auto", which holds from the start, is light; but where you have a style of your own,
            `plotnine.theme_set(...)` or a style of matplotlib or seaborn with another ground, ink or font, charts have
            that one, and lines of the dark theme where its ground is dark.

    Returns:
        Something for `with`, which puts the theme from before back.

    Raises:
        OptionError: there is no such theme.

    Example:
        >>> import lumbre as lb
        >>> with lb.plots.theme("dark"):
        ...     chart = lb.plots.plot_rates([0.1, 0.05, 0.01])
        >>> chart.save("rates.png", verbose=False)
    """
    one_of("name", name, get_args(Name), fix='theme("dark")')
    before = _chosen
    _set(name)
    return Theme(before)


def current_look() -> Look:
    """The colours for a chart that is made now."""
    if _chosen == "auto":
        return DARK if _users_ground_is_dark() else LIGHT
    return DARK if _chosen == "dark" else LIGHT


def light_to_dark() -> dict[str, str]:
    """The colours of the dark theme, by those of the light one that stand for the same."""
    pairs = {getattr(LIGHT, one.name): getattr(DARK, one.name) for one in fields(Look) if one.name != "palette"}
    return pairs | dict(zip(LIGHT.palette, DARK.palette, strict=True))


def _set(name: Name) -> None:
    global _chosen
    _chosen = name


def _has_own_style(matplotlib: Any) -> bool:
    now, always = matplotlib.rcParams, matplotlib.rcParamsDefault
    return any(now[name] != always[name] for name in _OWN_STYLE)


def _users_own(p9: Any) -> Any:
    """The theme that the user set in plotnine, or the style set in matplotlib; None where there is neither."""
    if p9.options.current_theme is not None:
        return p9.theme_get()
    return p9.theme_matplotlib() if _has_own_style(import_extra("matplotlib", "plots", "draw charts")) else None


def _users_ground_is_dark() -> bool:
    matplotlib = import_extra("matplotlib", "plots", "draw charts")
    colours = import_extra("matplotlib.colors", "plots", "draw charts")
    if not _has_own_style(matplotlib):
        return False
    red, green, blue, alpha = colours.to_rgba(matplotlib.rcParams["axes.facecolor"])
    return alpha > 0 and 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.4


def _sharp(p9: Any) -> Any:
    """plotnine's minimal theme with twice its pixels, which a notebook must not double once more."""

    class theme_lumbre(p9.theme_minimal):
        def __init__(self, base_size: float) -> None:
            super().__init__(base_size=base_size)
            self += p9.theme(dpi=_PIXELS_PER_INCH)

        def to_retina(self) -> Any:
            return self

    return theme_lumbre
