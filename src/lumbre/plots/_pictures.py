"""Images with truth and prediction under them, and the rows that a model gets most wrong."""

import io
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lumbre.base import DataError, OptionError, at_least, describe, import_extra
from lumbre.plots._comparison import Examples, FittedModel
from lumbre.plots._theme import current_look

if TYPE_CHECKING:
    import pandas as pd

_DPI = 200  # twice what a screen of plain resolution shows
_MOST_PICTURES = 400


class PictureGrid:
    """Images in rows and columns with a text under each. A notebook shows it; `figure` is open to changes.

    Attributes:
        figure: a matplotlib `Figure`.
        frame: truth and prediction of the images, in their order, with the columns of `Fitted.compare()`.
    """

    def __init__(self, figure: Any, frame: "pd.DataFrame") -> None:
        self.figure = figure
        self.frame = frame

    def save(self, path: str | Path, *, dpi: int = _DPI) -> None:
        """Write it to a file; the ending of the name (.png, .pdf, .svg) says what kind.

        Args:
            path: where to.
            dpi: pixels an inch.
        """
        self.figure.savefig(path, dpi=dpi)

    @property
    def tensor(self) -> Tensor:
        """The picture as pixels: uint8 of shape (3, height, width)."""
        return torch.from_numpy(_pixels(self.figure)[..., :3].copy()).permute(2, 0, 1)

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.figure.savefig(file, format="png", dpi=_DPI)
        return file.getvalue()


def predictions_grid(fitted: FittedModel, data: Any, n: int = 16, *, choose: str = "random") -> PictureGrid:
    """Some images with what they are and what the model takes them for; a frame and a cross mark those it gets wrong.

    Images of bytes are shown as they are, and so are floats between 0 and 1; other floats (standardised ones) are
    stretched from the lowest to the highest value of all images shown.

    Args:
        fitted: a `Fitted` whose module takes images: input of shape (rows, channels, height, width), with 1 or 3
            channels, or (rows, height, width).
        data: with targets; whatever `Fitted.evaluate()` takes.
        n: how many images, up to 400.
        choose: "random", "first" or "worst", as for `Fitted.examples()`.

    Returns:
        A `PictureGrid`, with `.save(path)`, `.tensor` and `.figure`.

    Raises:
        MissingExtraError: plotnine, which brings matplotlib, is not installed.
        DataError: the input is no images.
        OptionError: n or choose are impossible.

    Example:
        >>> import lumbre as lb, torch
        >>> x, y = torch.rand(8, 1, 6, 6), torch.arange(8) % 2
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))
        >>> recipe = lb.setup(net, loss=torch.nn.CrossEntropyLoss(), optimizer=torch.optim.SGD)
        >>> grid = lb.plots.predictions_grid(
        ...     recipe.fit((x, y), epochs=1, verbose=False), (x, y), 4, choose="first"
        ... )
        >>> grid.tensor.dtype, grid.frame["truth"].tolist()
        (torch.uint8, [0, 1, 0, 1])
        >>> grid.save("grid.png")
    """
    _check_count(n)
    examples = fitted.examples(data, n, choose=choose)
    if not is_images(examples.input):
        raise DataError(
            f"an input that is a {describe(examples.input)}",
            "images: shape (rows, channels, height, width) with 1 or 3 channels",
            "most_wrong(fitted, data) for tables; images.reshape(-1, 1, 28, 28) for flat ones",
        )
    return _grid(examples)


def most_wrong(fitted: FittedModel, data: Any, n: int = 16) -> "PictureGrid | pd.DataFrame":
    """The rows with the largest loss, largest first: where the labels are wrong, or the model is.

    Args:
        fitted: a `Fitted`.
        data: with targets; whatever `Fitted.evaluate()` takes.
        n: how many rows; of images up to 400.

    Returns:
        Where rows are images a `PictureGrid`, as from `predictions_grid`. Else a DataFrame: the columns of
        `Fitted.compare()`, and beside them those of the data, where it is a frame, or x0, x1, ..., where it is a
        table of numbers.

    Raises:
        MissingExtraError: for images, plotnine, which brings matplotlib, is not installed.
        DataError: the data cannot be used as it is, or has no targets.
        OptionError: n is impossible.

    Example:
        >>> import lumbre as lb, torch
        >>> x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [1.0], [9.0]])
        >>> line = lb.setup(torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD)
        >>> fitted = line.set_hparams(in_features=1, out_features=1).fit(
        ...     (x, y), epochs=1, verbose=False
        ... )
        >>> lb.plots.most_wrong(fitted, (x, y), 1)[["row", "truth", "x0"]].to_numpy().tolist()
        [[2.0, 9.0, 2.0]]
    """
    examples = fitted.examples(data, n, choose="worst")
    if is_images(examples.input):
        _check_count(n)
        return _grid(examples)
    return beside(examples, data)


def is_images(input: Any) -> bool:
    """Whether `input` is a batch of images that can be shown."""
    if not isinstance(input, Tensor) or input.is_complex():
        return False
    if input.ndim == 3:
        return min(input.shape[1:]) > 3
    return input.ndim == 4 and input.shape[1] in (1, 3)


def _check_count(n: int) -> None:
    at_least(1, n=n)
    if n > _MOST_PICTURES:
        raise OptionError(f"n={n}", f"at most {_MOST_PICTURES} images in one picture", "n=100")


def beside(examples: Examples, data: Any) -> "pd.DataFrame":
    """Truth and prediction of the examples, and beside them what the data say of these rows."""
    import narwhals as nw
    import pandas as pd

    frame, source = examples.frame.reset_index(drop=True), getattr(data, "frame", data)
    if nw.dependencies.is_into_dataframe(source):
        native = nw.from_native(source, eager_only=True)
        raw = native[frame["row"].tolist()].to_pandas().reset_index(drop=True)
        return pd.concat([frame, raw.drop(columns=[name for name in raw if name in frame])], axis=1)
    if isinstance(examples.input, Tensor) and examples.input.ndim == 2:
        names = [f"x{number}" for number in range(examples.input.shape[1])]
        each = len(frame) // len(examples.input)  # a model with several outputs has a line for each
        values = pd.DataFrame(np.repeat(examples.input.numpy(), each, axis=0), columns=names)
        return pd.concat([frame, values], axis=1)
    return frame


def _grid(examples: Examples) -> PictureGrid:
    matplotlib = import_extra("matplotlib.figure", "plots", "draw images with texts")
    look, (images, texts) = current_look(), (as_shown(examples.input), under_pictures(examples.frame))
    count = len(images)
    across = min(max(math.isqrt(count - 1) + 1, min(count, 4)), 20)
    down = -(-count // across)
    text_size = 9.0 if across <= 6 else 7.0 if across <= 12 else 5.5
    lines = [line for text, _ in texts for line in text.split("\n")]
    # In inches. A character is about 0.6 of its size wide, and a point is a 72nd of an inch.
    width = max(6.0 / across, max(map(len, lines)) * 0.6 * text_size / 72)
    image_height = width * images[0].shape[0] / images[0].shape[1]
    text_height = (max(text.count("\n") + 1 for text, _ in texts) * 1.3 + 0.5) * text_size / 72
    height, gap = image_height + text_height, 0.1
    size = (across * (width + gap) + gap, down * (height + gap) + gap)
    figure = matplotlib.Figure(figsize=size, dpi=_DPI, facecolor=look.paper)
    for number, (image, (text, right)) in enumerate(zip(images, texts, strict=True)):
        left = gap + number % across * (width + gap)
        bottom = size[1] - (number // across + 1) * (height + gap) + text_height
        axes = figure.add_axes((left / size[0], bottom / size[1], width / size[0], image_height / size[1]))
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(visible=not right, color=look.valid, linewidth=3)
        axes.text(
            0.5,
            -0.25 * text_size / 72 / image_height,
            text,
            size=text_size,
            ha="center",
            va="top",
            transform=axes.transAxes,
            color=look.ink,
            parse_math=False,
        )
    return PictureGrid(figure, examples.frame)


def as_shown(images: Tensor) -> list[Any]:
    """Each image as an array of floats from 0 to 1, (height, width) or (height, width, 3)."""
    pixels = images[:, None] if images.ndim == 3 else images
    if pixels.dtype == torch.uint8:
        pixels = pixels.float() / 255
    pixels = pixels.float()
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        pixels = (pixels - low) / (high - low if high > low else 1.0)
    return [image[0].numpy() if len(image) == 1 else image.permute(1, 2, 0).numpy() for image in pixels]


def under_pictures(frame: "pd.DataFrame") -> list[tuple[str, bool]]:
    """What stands under each image, and whether the model is right."""
    if "correct" in frame:
        import pandas as pd

        return [
            (
                f"true {_short(truth)}\n{'' if correct is pd.NA else '✓ ' if correct else '✗ '}"
                f"{_short(predicted)} ({share:.0%})",
                correct is pd.NA or bool(correct),
            )
            for truth, predicted, correct, share in zip(
                frame["truth"], frame["predicted"], frame["correct"], frame["probability"], strict=True
            )
        ]
    rows = frame.groupby("row", sort=False)[["truth", "predicted"]].agg(list)
    return [
        (f"true {_numbers(truth)}\npredicted {_numbers(predicted)}", True)
        for truth, predicted in zip(rows["truth"], rows["predicted"], strict=True)
    ]


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= 22 else f"{text[:21]}…"


def _numbers(values: list[float]) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values[:3])
    return f"{shown}, ..." if len(values) > 3 else shown


def _pixels(figure: Any) -> Any:
    backend = import_extra("matplotlib.backends.backend_agg", "plots", "draw images with texts")
    canvas = backend.FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
