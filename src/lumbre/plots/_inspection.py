"""Pictures of the inside of a model: histograms by layer, the plane as layers see it, feature maps, and a training."""

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, at_least, did_you_mean, import_extra
from lumbre.inspection import Inspection
from lumbre.plots._given import see_that_it_is
from lumbre.plots._text import literal, literals
from lumbre.plots._theme import LINETYPES, Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

    from lumbre.inspection import Sample, Statistics

_INSPECTED = "what lumbre.inspect gives of a model"
_MOST_PANELS = 24
_MOST_RIDGES = 12
_MOST_POINTS = 2_000
_TITLE = 26
_MOST_LINES = 16


def layer_histograms(inspection: Inspection) -> "ggplot":
    """Histograms of a layer's values, a panel for each, with its share of zeros where there are many.

    Exact zeros, as ReLU gives them, are told and not drawn where they are more than a twentieth: they would hide the
    rest. So is the half percent at each end of a histogram.

    Args:
        inspection: what `lb.inspect.activations()`, `gradients()` or `weights()` gave. Of more than 24 layers the first
            are drawn, and the subtitle says so.

    Returns:
        A plotnine `ggplot`. Its data has the columns layer, value (the middle of a bin), width and share.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: there are no finite values.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()

    see_that_it_is(Inspection, inspection, _INSPECTED, "lumbre.inspect.activations(fitted, data).plot()")
    drawn = [found for found in inspection.layers.values() if found.histogram is not None]
    if not drawn:
        raise DataError(f"{inspection.what} without finite values", "a layer with numbers", "a model that has trained")
    shown, note = drawn[:_MOST_PANELS], ""
    if len(drawn) > len(shown):
        note = f"the first {len(shown)} of {len(drawn)} layers"
    titles = _titles({found.layer: _facts(found) for found in shown})
    parts = [_bars(found, titles[found.layer]) for found in shown]
    table = _joined(parts, titles)
    return (
        p9.ggplot(table, p9.aes("value", "share"))
        + p9.geom_col(p9.aes(width="width"), fill=look.train)
        + p9.geom_vline(xintercept=0, linetype="dotted", colour=look.rule)
        + p9.facet_wrap("layer", scales="free", ncol=_across(len(shown)), labeller=literal)
        + p9.labs(x="value", y="share of values in a bin", title=inspection.what, subtitle=note)
        + p9.scale_y_continuous(labels=lambda shares: [f"{share:.3g}" for share in shares])
        + _small(p9, look, len(shown))
    )


def layer_planes(inspection: Inspection, layers: str | Sequence[str] | None = None) -> "ggplot":
    """The plane as each layer of two units sees it: a point for each row, in colour and shape of its class.

    Args:
        inspection: activations with `keep=True`. Where the data had classes as targets, points show them; other
            one-dimensional targets are shown by shade.
        layers: names or patterns; all that give two numbers a row where not given.

    Returns:
        A plotnine `ggplot`. Its data has the columns layer, x, y and, with targets, target. Of more than 2,000 rows a
        part is drawn, evenly taken.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: no layer with two numbers a row was kept.
        OptionError: a pattern fits no layer.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    chosen = {
        name: tensor
        for name, tensor in _chosen(inspection, layers).items()
        if tensor.ndim == 2 and tensor.shape[1] == 2 and len(tensor)
    }
    if not chosen:
        kept = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in inspection.tensors.items())
        raise DataError(
            f"kept layers: {kept or 'none'}",
            "a layer that gives two numbers for each row",
            "activations(..., keep=True) of layers with two units; plot() for histograms",
        )
    titles = _titles(dict.fromkeys(chosen, ""))
    parts: list[Any] = []
    for name, tensor in chosen.items():
        step = -(-len(tensor) // _MOST_POINTS)
        part = pd.DataFrame(tensor[::step].double().numpy(), columns=["x", "y"])
        part["layer"] = titles[name]
        if inspection.target is not None and len(inspection.target) == len(tensor):
            part["target"] = _targets(inspection)[::step]
        parts.append(part)
    table = _joined(parts, titles)
    chart = (
        p9.ggplot(table, p9.aes("x", "y"))
        + p9.facet_wrap("layer", scales="free", ncol=_across(len(chosen)), labeller=literal)
        + p9.labs(x="first unit", y="second unit", colour="class", shape="class")
        + _small(p9, look, len(chosen), height=2.2)
    )
    return chart + _points(p9, look, table)


def feature_maps(
    inspection: Inspection, row: int = 0, layers: str | Sequence[str] | None = None, *, maps: int = 16
) -> "ggplot":
    """What layers make of one row, a panel for each layer: feature maps side by side, units of a vector as squares.

    Each panel has its own scale, symmetric around zero (white): the deepest colour stands for the largest absolute
    value of the layer.

    Args:
        inspection: activations or gradients with `keep=True`.
        row: which of the rows kept.
        layers: names or patterns; all that give maps or vectors where not given.
        maps: how many maps of a layer are shown at most: the first ones. Of vectors all units are shown, up to 1,024.

    Returns:
        A plotnine `ggplot`. Its data has the columns layer, x, y and value (from -1 to 1).

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: no layer with maps or vectors was kept.
        OptionError: there is no such row, a pattern fits no layer, or maps is less than 1.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    at_least(1, maps=maps)
    chosen = {name: tensor for name, tensor in _chosen(inspection, layers).items() if tensor.ndim in (2, 4)}
    if not chosen:
        raise DataError(
            "no kept layer with maps, shape (rows, channels, height, width), or vectors, shape (rows, units)",
            "activations of a net for images, kept",
            "activations(..., keep=True)",
        )
    kept = min(map(len, chosen.values()))
    if not 0 <= row < kept:
        raise OptionError(f"row={row} of {kept} rows that were kept", f"a number from 0 to {kept - 1}", "row=0")
    pictures = {name: _mosaic(tensor[row], maps) for name, tensor in chosen.items()}
    titles = _titles({name: _map_facts(chosen[name][row], maps) for name in pictures})
    parts: list[Any] = []
    for name, picture in pictures.items():
        down, across = np.indices(picture.shape)
        # All panels are one unit wide, so that each fills its place whatever its resolution.
        size = max(picture.shape)
        part = pd.DataFrame(
            {
                "layer": titles[name],
                "x": (across.ravel() + 0.5 + (size - picture.shape[1]) / 2) / size,
                "y": (down.ravel() + 0.5 + (size - picture.shape[0]) / 2) / size,
                "width": (0.92 if chosen[name].ndim == 2 else 1.0) / size,
                "value": picture.ravel(),
            }
        )
        parts.append(part.dropna())
    table, across = _joined(parts, titles), _across(len(chosen))
    return (
        p9.ggplot(table, p9.aes("x", "y"))
        + p9.geom_tile(p9.aes(fill="value", width="width", height="width"))
        + p9.scale_fill_gradient2(low=look.valid, mid=look.blank, high=look.train, midpoint=0, limits=(-1, 1))
        + p9.scale_x_continuous(limits=(0, 1), expand=(0.02, 0))
        + p9.scale_y_reverse(limits=(1, 0), expand=(0.02, 0))
        + p9.facet_wrap("layer", ncol=across, labeller=literal)
        + p9.labs(fill="share of the\nlayer's largest", x="", y="")
        + look.theme(
            figure_size=(1.2 + 2.4 * across, 0.5 + 2.65 * -(-len(chosen) // across)),
            aspect_ratio=1,
            axis_text=p9.element_blank(),
            panel_grid=p9.element_blank(),
            panel_background=p9.element_rect(fill=look.tray, colour=look.tray),
        )
    )


def training_ridges(records: "Sequence[Sample]", what: str = "activations") -> "ggplot":
    """Histograms by layer over the course of a training, as ridges: the first sample at the bottom, the last on top.

    Exact zeros are left out where they are more than a twentieth, and each ridge has the same height.

    Args:
        records: what `lb.inspect.Inspect` recorded.
        what: "activations", "gradients", "weights", "weight_gradients" or "updates".

    Returns:
        A plotnine `ggplot`. Its data has the columns layer, epoch, step, value, base and height. Of more than 12
        samples some are drawn, evenly taken.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: nothing of the kind was recorded.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()

    found = _of(records, what)
    found = [record for record in found if record.statistics.histogram is not None]
    if not found:
        raise DataError(f"{what} without finite values", "a sample with numbers", "a smaller learning rate")
    steps = sorted({record.step for record in found})
    places = np.linspace(0, len(steps) - 1, min(len(steps), _MOST_RIDGES)).round().astype(int)
    drawn = {steps[place]: number for number, place in enumerate(places)}
    layers = list(dict.fromkeys(record.statistics.layer for record in found))
    titles = _titles(dict.fromkeys(layers[:_MOST_PANELS], ""))
    parts = [
        _ridge(record, titles[record.statistics.layer], drawn[record.step])
        for record in found
        if record.step in drawn and record.statistics.layer in titles
    ]
    table = _joined(parts, titles)
    table["order"] = -table["base"].astype(int)  # those in front are drawn last
    table["alpha"] = 0.25 + 0.5 * table["base"] / max(len(drawn) - 1, 1)
    epochs = {record.step: record.epoch for record in found}
    every = max(1, len(drawn) // 6)
    ticks = [(number, step) for step, number in drawn.items() if number % every == 0]
    return (
        p9.ggplot(table, p9.aes("value", ymin="base", ymax="base + height", group="order", alpha="alpha"))
        + p9.geom_ribbon(fill=look.train, colour=look.ink, size=0.25)
        + p9.scale_alpha_identity()
        + p9.geom_vline(xintercept=0, linetype="dotted", colour=look.rule)
        + p9.facet_wrap("layer", scales="free_x", ncol=_across(len(titles)), labeller=literal)
        + p9.scale_y_continuous(
            breaks=[number for number, _ in ticks],
            labels=[f"{epochs[step]} ({step:,})" for _, step in ticks],
        )
        + p9.labs(x="value", y="epoch (batches before)", title=what.replace("_", " "))
        + _small(p9, look, len(titles), height=2.2)
    )


def update_ratios(records: "Sequence[Sample]") -> "ggplot":
    """The size of updates over that of the weights by step, a line for each parameter, on a logarithmic scale.

    A dashed line marks 0.001, about what a healthy training has: much more tears the weights apart, much less stands
    still. Of more than 16 parameters only those with two dimensions or more are drawn, up to 16; the subtitle says so.

    Args:
        records: what `lb.inspect.Inspect` recorded.

    Returns:
        A plotnine `ggplot`. Its data has the columns parameter, epoch, step and ratio. Ratios that are zero or not
        finite, as those of weights that are all zero, are left out.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: no updates were recorded.
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    rows = [
        (record.statistics.layer, record.epoch, record.step, record.statistics.ratio)
        for record in _of(records, "updates")
        if record.statistics.ratio is not None and 0 < record.statistics.ratio < math.inf
    ]
    if not rows:
        raise DataError("updates that are all zero", "a training that changes weights", "a larger learning rate")
    table = pd.DataFrame(rows, columns=["parameter", "epoch", "step", "ratio"])
    names, note = list(dict.fromkeys(table["parameter"])), ""
    if len(names) > _MOST_LINES:
        wide = {record.statistics.layer for record in records if len(record.statistics.shape) > 1}
        few = [name for name in names if name in wide][:_MOST_LINES] or names[:_MOST_LINES]
        names, note = few, f"{len(few)} of {len(names)} parameters: the first with two dimensions or more"
        table = table[table["parameter"].isin(names)]
    table["parameter"] = pd.Categorical(table["parameter"], categories=names)
    kinds = [LINETYPES[number // len(look.palette) % 4] for number in range(len(names))]
    return (
        p9.ggplot(table, p9.aes("step", "ratio", colour="parameter", linetype="parameter"))
        + p9.geom_hline(yintercept=1e-3, linetype="dashed", colour=look.rule)
        + (p9.geom_line(size=0.8) if len(table) > len(names) else p9.geom_point())
        + p9.scale_y_log10(labels=lambda ratios: [f"{ratio:g}" for ratio in ratios])
        + p9.scale_colour_manual(values=look.colours(len(names)), labels=literals)
        + p9.scale_linetype_manual(values=kinds, labels=literals)
        + p9.labs(x="batches before", y="norm of update / norm of weights", colour="", linetype="", subtitle=note)
        + look.theme(figure_size=(7.2, 4))
    )


def _joined(parts: list[Any], titles: Mapping[str, str]) -> Any:
    """One frame, whose layers stand in the order of their titles."""
    import pandas as pd

    table = pd.concat(parts, ignore_index=True)
    table["layer"] = pd.Categorical(table["layer"], categories=list(titles.values()))
    return table


def _bars(found: "Statistics", title: str) -> Any:
    import pandas as pd

    low, width, counts = _rebinned(*_without_zeros(found), found.count)
    return pd.DataFrame(
        {
            "layer": title,
            "value": low + width * (np.arange(len(counts)) + 0.5),
            "width": width,
            "share": counts / max(found.count, 1),
        }
    )


def _without_zeros(found: "Statistics") -> tuple[float, float, Any]:
    """Where the first bin begins, how wide bins are, and their counts without many exact zeros."""
    histogram = found.histogram
    assert histogram is not None
    counts = np.array(histogram.counts, dtype=float)
    width = (histogram.high - histogram.low) / len(counts)
    if found.zeros > 0.05 and histogram.low <= 0 <= histogram.high:
        # Of a large tensor the histogram is that of a part: its zeros are as frequent as in the whole.
        sampled = min(found.count, max(1.0, counts.sum() / 0.99))
        place = min(int(-histogram.low / width), len(counts) - 1)
        counts[place] = max(0.0, counts[place] - found.zeros * sampled)
    return histogram.low, width, counts


def _rebinned(low: float, width: float, counts: Any, values: int) -> tuple[float, float, Any]:
    """As many bins as the number of values bears, by Rice's rule."""
    wanted = 2 * values ** (1 / 3)
    join = next(size for size in (1, 2, 3, 4, 5, 6, 10) if len(counts) / size <= wanted or size == 10)
    return low, width * join, counts.reshape(-1, join).sum(1)


def _ridge(record: "Sample", title: str, number: int) -> Any:
    import pandas as pd

    low, width, counts = _rebinned(*_without_zeros(record.statistics), record.statistics.count)
    height = 1.6 * counts / max(counts.max(), 1.0)
    values = low + width * np.arange(len(counts) + 2) - width / 2
    return pd.DataFrame(
        {
            "layer": title,
            "epoch": record.epoch,
            "step": record.step,
            "value": values,
            "base": float(number),
            "height": [0.0, *height, 0.0],
        }
    )


def _of(records: "Sequence[Sample]", what: str) -> "list[Sample]":
    see_that_it_is(
        Sequence, records, "the records of a training", "watch.plot(), of the callback lumbre.inspect.Inspect()"
    )
    found = [record for record in records if record.what == what]
    if not found:
        kinds = list(dict.fromkeys(record.what for record in records))
        raise DataError(
            f"records of {', '.join(kinds) or 'nothing'}",
            f"records of {what}",
            f'{did_you_mean(what, kinds)}Inspect(what=("{what}",)), in a run long enough for a sample',
        )
    return found


def _chosen(inspection: Inspection, layers: str | Sequence[str] | None) -> Mapping[str, Tensor]:
    see_that_it_is(Inspection, inspection, _INSPECTED, "lumbre.inspect.activations(fitted, data, keep=True)")
    tensors = inspection.tensors
    if not tensors:
        raise DataError(f"{inspection.what} whose tensors were not kept", "tensors", "keep=True")
    if layers is None:
        return tensors
    found: dict[str, Tensor] = {}
    for pattern in [layers] if isinstance(layers, str) else layers:
        fits = {name: tensor for name, tensor in tensors.items() if name == pattern or fnmatchcase(name, pattern)}
        if not fits:
            raise OptionError(
                f"layers={pattern!r}", f"among {', '.join(tensors)}", f"{did_you_mean(pattern, tensors)}Or keep it too"
            )
        found |= fits
    return found


def _targets(inspection: Inspection) -> Any:
    """The target of each row: names of classes as text, other numbers as they are."""
    target = inspection.target
    assert target is not None
    flat = target.reshape(len(target), -1)
    if flat.shape[1] != 1:
        return [""] * len(target)
    values = flat[:, 0].numpy()
    if target.is_floating_point() and not bool((flat == flat.round()).all() and flat.unique().numel() <= 8):
        return values
    names = inspection.classes
    numbers = values.astype(int)
    return [str(number) if names is None or not 0 <= number < len(names) else str(names[number]) for number in numbers]


def _points(p9: Any, look: Look, table: Any) -> list[Any]:
    if "target" not in table or (table["target"] == "").all():
        return [p9.geom_point(colour=look.train, size=1.2, alpha=0.5)]
    if table["target"].dtype.kind == "f":
        return [
            p9.geom_point(p9.aes(colour="target"), size=1.2, alpha=0.7),
            p9.scale_colour_cmap("cividis"),
            p9.labs(colour="target"),
        ]
    names = sorted(table["target"].unique(), key=lambda name: (len(name), name) if name.isdigit() else (0, name))
    return [
        p9.geom_point(p9.aes(colour="target", shape="target"), size=1.3, alpha=0.6, stroke=0.2),
        p9.scale_colour_manual(values=look.colours(len(names)), limits=names, labels=literals),
        p9.scale_shape_manual(values=look.shapes(len(names)), limits=names, labels=literals),
        p9.guides(colour=p9.guide_legend(override_aes={"size": 3, "alpha": 1})),
    ]


def _mosaic(values: Tensor, maps: int) -> Any:
    """Maps of shape (channels, height, width), or a vector, as one picture with gaps that are NaN; from -1 to 1."""
    values = values.detach().float()
    largest = float(values.abs().nan_to_num(0, 0, 0).max()) or 1.0
    if values.ndim == 1:
        tiles, gap = values[:1024, None, None] / largest, 0
    else:
        tiles, gap = values[:maps] / largest, max(1, values.shape[-1] // 12)
        if len(tiles) == 1:
            gap = 0
    count, height, width = tiles.shape
    across = min(count, math.ceil(math.sqrt(count * height / width)))
    down = -(-count // across)
    picture = torch.full((down * (height + gap) - gap, across * (width + gap) - gap), math.nan)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + gap), number % across * (width + gap)
        picture[top : top + height, left : left + width] = tile
    return picture.numpy()


def _map_facts(values: Tensor, maps: int) -> str:
    if values.ndim == 1:
        return f"{len(values)} units"
    size = f"{values.shape[1]} x {values.shape[2]}"
    if len(values) == 1:
        return size
    return f"{maps} of {len(values)} maps, {size}" if len(values) > maps else f"{len(values)} maps, {size}"


def _facts(found: "Statistics") -> str:
    facts = [
        f"{found.zeros:.0%} zeros" if found.zeros > 0.05 else "",
        f"{found.dead} of {found.units} dead" if found.dead else "",
        f"{found.saturated:.0%} saturated" if found.saturated is not None else "",
        f"{found.nonfinite:.1%} not finite" if found.nonfinite else "",
    ]
    return ", ".join(filter(None, facts))


def _titles(facts: Mapping[str, str]) -> dict[str, str]:
    """A title for each layer: its name, which stays unlike the others', and facts under it."""
    two = any(facts.values())
    names = {name: name if len(name) <= _TITLE else f"…{name[1 - _TITLE :]}" for name in facts}
    if len(set(names.values())) < len(names):
        names = {name: name for name in names}
    return {name: f"{names[name]}\n{fact}" if two else names[name] for name, fact in facts.items()}


def _small(p9: Any, look: Look, panels: int, height: float = 1.8) -> Any:
    across = _across(panels)
    return look.theme(
        figure_size=(max(4.5, 1.0 + 2.1 * across), 0.9 + height * -(-panels // across)),
        axis_text=p9.element_text(size=7.5),
        strip_text=p9.element_text(size=9),
    )


def _across(panels: int) -> int:
    """How many panels stand in a row: three or four, whichever leaves fewer places empty."""
    return min(panels, min((4, 3), key=lambda across: -panels % across))
