"""What a model of two numbers says everywhere on their plane."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, describe, import_extra, within
from lumbre.plots._comparison import FittedModel, class_names
from lumbre.plots._text import literal, literals
from lumbre.plots._theme import Look, current_look

if TYPE_CHECKING:
    from plotnine import ggplot

_PREDICT_ROWS = 8_192
_MOST_BY_COLOUR = 6  # classes: more are hard to find by colour, their regions have names


def decision_regions(fitted: FittedModel, data: Any, *, resolution: int = 200, rows: int = 1_000) -> "ggplot":
    """The plane as a classifier of two numbers divides it, with data on it; or the surface of a regression.

    Regions have the colour of the class that is most probable there, stronger where it is more so, and its name where
    there are more than six classes. Points have the colour and the shape of their true class. For numbers, surface and
    points share one scale of colours.

    Args:
        fitted: a `Fitted` whose module takes two numbers: input of shape (rows, 2), or a frame with two features that
            are numbers.
        data: with targets; whatever `Fitted.evaluate()` takes. Axes have the names and units of a frame's columns.
        resolution: points of the grid along each axis, from 2 to 1,000.
        rows: how many rows of the data are drawn, chosen by chance.

    Returns:
        A plotnine `ggplot`. Its data is the grid: the two axes (x and y, or the frame's columns), predicted and, with
        classes, probability.

    Raises:
        MissingExtraError: plotnine is not installed.
        DataError: the input is not two numbers, or the model has several outputs that are no classes.
        OptionError: resolution or rows are impossible.

    Example:
        >>> import lumbre as lb, torch
        >>> x = torch.randn(60, 2)
        >>> recipe = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.CrossEntropyLoss(), optimizer=torch.optim.Adam
        ... )
        >>> fitted = recipe.set_hparams(in_features=2, out_features=2).fit(
        ...     (x, (x[:, 0] > 0).long()), verbose=False
        ... )
        >>> chart = lb.plots.decision_regions(fitted, (x, (x[:, 0] > 0).long()), resolution=50)
        >>> list(chart.data.columns), len(chart.data)
        (['x', 'y', 'predicted', 'probability'], 2500)
    """
    p9, look = import_extra("plotnine", "plots", "draw charts"), current_look()
    import pandas as pd

    within(2, 1_000, "resolution=200", resolution=resolution)
    examples = fitted.examples(data, rows)
    if "output" in examples.frame:
        raise DataError(
            f"a model with {examples.frame['output'].nunique()} numbers for each row",
            "classes, or one number a row",
            "a figure for each output, from fitted.predict() on a grid",
        )
    points, as_frame = _points(data, examples.input, examples.frame["row"].to_numpy())
    x, y = points.columns
    axes = [_axis(points[name], resolution) for name in (x, y)]
    down, across = np.meshgrid(axes[1], axes[0], indexing="ij")
    grid = pd.DataFrame({x: across.ravel(), y: down.ravel()})
    plane = grid if as_frame else torch.tensor(grid.to_numpy(), dtype=examples.input.dtype)
    points = points.assign(truth=examples.frame["truth"].to_numpy())
    if not hasattr(examples.frame["truth"], "cat"):
        return _surface(p9, look, fitted, grid, plane, points)
    names = class_names(examples.frame["truth"])
    shares = fitted.predict_probabilities(plane, batch_size=_PREDICT_ROWS).numpy()
    texts = [str(name) for name in names]
    grid["predicted"] = pd.Categorical.from_codes(shares.argmax(1), categories=texts)
    grid["probability"] = shares.max(1)
    points["truth"] = pd.Categorical(points["truth"].astype(str), categories=texts)
    return _regions(p9, look, grid, points.dropna())


def _points(data: Any, input: Any, rows: Any) -> tuple[Any, bool]:
    """The two numbers of each row as a frame, and whether the model is asked with frames."""
    import narwhals as nw
    import pandas as pd

    source = getattr(data, "frame", data)
    if nw.dependencies.is_into_dataframe(source):
        native = nw.from_native(source, eager_only=True)
        encoding = getattr(data, "encoding", None)
        names = native.columns if encoding is None else [column.name for column in encoding.features]
        numeric = [name for name in names if native[name].dtype.is_numeric()]
        if len(numeric) != 2 or (encoding is not None and len(names) != 2):
            raise DataError(
                f"a frame with the features {', '.join(names)}",
                "two features, both of them numbers",
                'from_frame(df, target=..., features=["bill_length_mm", "bill_depth_mm"])',
            )
        return native[rows.tolist()].select(numeric).to_pandas().astype(float), True
    if not isinstance(input, Tensor) or input.ndim != 2 or input.shape[1] != 2:
        raise DataError(f"an input that is a {describe(input)}", "two numbers a row: shape (rows, 2)", "input[:, :2]")
    return pd.DataFrame(input.double().numpy(), columns=["x", "y"]), False


def _axis(values: Any, resolution: int) -> Any:
    margin = 0.06 * float(values.max() - values.min()) or 0.5
    return np.linspace(values.min() - margin, values.max() + margin, resolution)


def _regions(p9: Any, look: Look, grid: Any, points: Any) -> Any:
    x, y = grid.columns[:2]
    count = grid["predicted"].cat.categories.size
    colours = look.colours(count)
    chart = (
        p9.ggplot(grid, p9.aes(x, y))
        + p9.geom_raster(p9.aes(fill="predicted", alpha="probability"), interpolation="bilinear")
        + p9.geom_point(
            p9.aes(fill="truth", shape="truth"), data=points, size=2.2, colour=look.ink, stroke=0.35, alpha=0.95
        )
        + p9.scale_fill_manual(values=colours, limits=list(grid["predicted"].cat.categories), guide=None)
        + p9.scale_shape_manual(
            values=look.shapes(count), limits=list(grid["predicted"].cat.categories), labels=literals
        )
        + p9.scale_alpha_continuous(limits=(0, 1), range=(0, 0.6), guide=None)
        + p9.guides(shape=p9.guide_legend(override_aes={"fill": colours}))
        + p9.scale_x_continuous(expand=(0, 0))
        + p9.scale_y_continuous(expand=(0, 0))
        + p9.labs(x=literal(x), y=literal(y), shape="true class")
        + look.theme(figure_size=(6, 4.5), panel_grid=p9.element_blank())
    )
    if count <= _MOST_BY_COLOUR:
        return chart
    names = p9.aes(x, y, label="predicted")
    return chart + p9.geom_label(names, data=_middles(grid), fill=look.paper, colour=look.ink, alpha=0.85, size=8)


def _middles(grid: Any) -> Any:
    """Of each region the point of the grid that is nearest to its middle, with its name."""
    places = grid[list(grid.columns[:2])]
    far = (places - places.groupby(grid["predicted"], observed=True).transform("median")) / places.std()
    nearest = (far**2).sum(axis=1).groupby(grid["predicted"], observed=True).idxmin()
    found = grid.loc[nearest]
    return found.assign(predicted=literals(found["predicted"]))


def _surface(p9: Any, look: Look, fitted: FittedModel, grid: Any, plane: Any, points: Any) -> Any:
    x, y = grid.columns[:2]
    grid["predicted"] = np.asarray(fitted.predict_response(plane, batch_size=_PREDICT_ROWS), dtype=float).reshape(-1)
    return (
        p9.ggplot(grid, p9.aes(x, y))
        + p9.geom_raster(p9.aes(fill="predicted"), interpolation="bilinear")
        + p9.geom_point(p9.aes(fill="truth"), data=points, size=2.6, colour=look.paper, stroke=0.4)
        + p9.scale_fill_cmap("cividis")
        + p9.scale_x_continuous(expand=(0, 0))
        + p9.scale_y_continuous(expand=(0, 0))
        + p9.labs(x=literal(x), y=literal(y), fill="predicted;\npoints: true")
        + look.theme(figure_size=(6, 4.5), panel_grid=p9.element_blank())
    )
