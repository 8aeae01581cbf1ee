"""What the parts of a row add to its prediction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lumbre.base import import_extra
from lumbre.plots._pictures import PictureGrid, as_shown, is_images
from lumbre.plots._text import literal, literals
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_MOST_BARS = 15


def plot_attribution(
    names: Sequence[str], values: Sequence[float], response: str, ends: tuple[float, float], *, adds_up: bool
) -> "ggplot":
    """What each feature of a row adds to its prediction, the largest on top; of more than 15 the others in one bar.

    Args:
        names: of the features, with their values in this row.
        values: what each adds.
        response: what is predicted, for the axis.
        ends: what is predicted for the baseline, and for the row.
        adds_up: whether the bars add up to the difference, so that the others can stand in one bar.

    Returns:
        A plotnine `ggplot`.

    Raises:
        MissingExtraError: plotnine is not installed.

    Example:
        >>> import lumbre as lb
        >>> names = ["mass = 4200", "sex = female"]
        >>> chart = lb.plots.plot_attribution(
        ...     names, [0.3, -0.1], "probability of Adelie", (0.4, 0.6), adds_up=True
        ... )
        >>> chart.labels.y
        'change of the probability of Adelie'
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    lines = sorted(zip(names, values, strict=True), key=lambda one: -abs(one[1]))
    rest = lines[_MOST_BARS:] if len(lines) > _MOST_BARS + 1 else []
    lines = lines[: len(lines) - len(rest)]
    if rest and adds_up:
        lines.append((f"{len(rest)} others", sum(value for _, value in rest)))
    # Names that are the same would share a bar.
    shown = [name if [one for one, _ in lines].count(name) == 1 else f"{name} ({at})" for at, (name, _) in
             enumerate(lines, 1)]  # fmt: skip
    table = pd.DataFrame({"feature": pd.Categorical(shown, categories=shown[::-1]), "value": [one for _, one in lines]})
    table["up"] = table["value"] >= 0
    words = " = " if adds_up else "; "
    change = f" {ends[1] - ends[0]:+.3g}" if adds_up else ""
    said = f"baseline {ends[0]:.3g}{change}{words}this row {ends[1]:.3g}"
    return (
        p9.ggplot(table, p9.aes("feature", "value", fill="up"))
        + p9.geom_col(width=0.7)
        + p9.geom_hline(yintercept=0, colour=look.rule, size=0.5)
        + p9.coord_flip()
        + p9.scale_fill_manual({True: look.train, False: look.valid}, guide=None)
        + p9.scale_x_discrete(labels=literals)
        + p9.labs(y=f"change of the {literal(response)}", x="", subtitle=said)
        + look.theme(
            figure_size=(6.4, 1.3 + 0.27 * len(table)),
            panel_grid_major_y=p9.element_blank(),
            panel_grid_minor=p9.element_blank(),
        )
    )


def plot_attribution_maps(images: Tensor | None, values: Tensor, texts: Sequence[str]) -> PictureGrid:
    """Images, and beside each a map of what its pixels, patches or steps add: blue more, orange less.

    Args:
        images: of shape (rows, channels, height, width) or (rows, height, width); None where there are none to show.
        values: of shape (rows, height, width), or fewer of each for patches.
        texts: what stands over each map.

    Returns:
        A `PictureGrid`, with `.save(path)`, `.tensor` and `.figure`; its frame has the columns row and text.

    Raises:
        MissingExtraError: plotnine, which brings matplotlib, is not installed.
    """
    matplotlib: Any = import_extra("matplotlib.figure", "plots", "draw images with texts")
    look = current_look()
    colours: Any = import_extra("matplotlib.colors", "plots", "draw images with texts")
    import pandas as pd

    values = values if values.ndim == 3 else values.flatten(1)[:, None]
    shown = as_shown(images) if images is not None and is_images(images) else None
    panels = 1 if shown is None else 2
    across = 2 if len(values) > 2 else 1
    down = -(-len(values) // across)
    figure = matplotlib.Figure(
        figsize=(across * (1.9 * panels + 0.9), down * 2.35), facecolor=look.paper, layout="constrained"
    )
    grid = figure.subplots(down, across * panels, squeeze=False)
    colour = colours.LinearSegmentedColormap.from_list("more and less", [look.valid, look.blank, look.train])
    for axes in grid.flat:
        axes.set_axis_off()
    for number, (value, text) in enumerate(zip(values, texts, strict=True)):
        first = panels * (number % across)
        place = grid[number // across][first : first + panels]
        if shown is not None:
            height, width = shown[number].shape[:2]
            place[0].imshow(shown[number], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            _framed(place[0], look)
        else:
            height, width = value.shape
        most = float(value.abs().max()) or 1.0
        drawn = place[-1].imshow(
            value.numpy(), cmap=colour, vmin=-most, vmax=most, interpolation="nearest", extent=(0, width, height, 0),
            aspect="equal" if shown is not None else "auto",
        )  # fmt: skip
        _framed(place[-1], look)
        place[0].set_title(text, fontsize=8, loc="left", parse_math=False, color=look.ink)
        bar = figure.colorbar(drawn, ax=place[-1], shrink=0.8, pad=0.03)
        bar.ax.tick_params(labelsize=6, length=2, colors=look.soft)
        bar.ax.locator_params(nbins=5)
        bar.outline.set_visible(False)
    return PictureGrid(figure, pd.DataFrame({"row": range(len(texts)), "text": list(texts)}))


def _framed(axes: Any, look: Look) -> None:
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=look.context, linewidth=0.6)
