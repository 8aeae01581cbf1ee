"""What a generator makes of the same chance, epoch by epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lumbre.base import OptionError, at_least, import_extra, map_leaves, preserved_randomness, seed_host, stream
from lumbre.callbacks._paths import folder_of_start
from lumbre.core import Callback, Context


class SampleGenerations(Callback):
    """Let a generator of text or pictures show every few epochs what it has learned.

    `function` is called with the module in evaluation mode, without gradients, and with a random stream of its own, the
    same each time: samples of different epochs can be compared, and training's numbers do not change.

    Args:
        function: called with the module and the context; returns text, or pictures as a tensor of shape
            (rows, columns), (channels, rows, columns) or (pictures, channels, rows, columns) with 1 or 3 channels,
            float in [0, 1] (what lies outside is cut) or uint8; or anything else, which is only kept.
        every: epochs between two samples.
        path: a file for each sample, with the epoch in braces: "samples/{epoch:03d}.png", ".txt" for text. Several
            pictures become one, side by side. Text without a path is printed. Pictures need the package pillow.
        seed: of the random stream.

    Attributes:
        samples: (epoch, what was returned, on the CPU), in order.

    Raises:
        OptionError: at once for impossible values; during the run, for a path and something that is neither text nor
            picture.
        MissingExtraError: pillow is needed and not installed.

    Example:
        >>> import torch, lumbre as lb
        >>> def draw(model, ctx):
        ...     return model(torch.randn(16, 100, device=ctx.device))
        >>> show = lb.callbacks.SampleGenerations(draw, every=5, path="samples/{epoch:03d}.png")
    """

    everywhere = False

    def __init__(
        self,
        function: Callable[[nn.Module, Context], Any],
        *,
        every: int = 1,
        path: str | Path | None = None,
        seed: int = 0,
    ) -> None:
        at_least(1, every=every)
        try:
            if path is not None:
                str(path).format(epoch=1)
        except (ValueError, LookupError) as error:
            raise OptionError(
                f"path={str(path)!r}, which cannot be filled in: {error}",
                "a path with only the epoch in braces",
                'path="samples/{epoch:03d}.png"',
            ) from error
        self.path = None if path is None else str(path)
        self.function = function
        self.every = every
        self.seed = seed
        self.samples: list[tuple[int, Any]] = []
        self._folder = Path()

    def on_fit_begin(self, ctx: Context) -> None:
        """Start afresh."""
        self.samples = []
        self._folder = Path() if self.path is None else folder_of_start(self.path)

    def on_epoch_end(self, ctx: Context) -> None:
        """Take a sample, if it is time."""
        if ctx.epoch % self.every:
            return
        modes = [(part, part.training) for part in ctx.model.modules()]
        ctx.model.eval()
        try:
            with preserved_randomness(ctx.device):
                seed_host(stream(self.seed, "sample"))
                torch.manual_seed(stream(self.seed, "sample"))
                sample = self.function(ctx.model, ctx)
        finally:
            for part, training in modes:
                part.training = training
        sample = map_leaves(lambda leaf: leaf.detach().cpu() if isinstance(leaf, Tensor) else leaf, sample)
        self.samples.append((ctx.epoch, sample))
        if self.path is not None:
            _write(self._folder / self.path.format(epoch=ctx.epoch), sample)
        elif isinstance(sample, str):
            from rich.console import Console

            Console(soft_wrap=True).print(sample, markup=False, highlight=False)


def _write(file: Path, sample: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(sample, str):
        file.write_text(sample, encoding="utf-8")
        return
    pixels = _pixels(sample) if isinstance(sample, Tensor) else None
    if pixels is None:
        shown = tuple(sample.shape) if isinstance(sample, Tensor) else type(sample).__name__
        raise OptionError(
            f"a sample for {file} that is {shown}",
            "text, or pictures of shape (rows, columns), (channels, rows, columns) or (pictures, channels, rows, "
            "columns) with 1 or 3 channels",
            "return one of these from the function, or leave `path` out",
        )
    image = import_extra("PIL.Image", "data", "write pictures")
    image.fromarray(pixels.numpy()).save(file)


def _pixels(pictures: Tensor) -> Tensor | None:
    """uint8 (rows, columns), or (rows, columns, 3); several pictures in a grid nearly square, a line apart."""
    if pictures.ndim not in (2, 3, 4) or 0 in pictures.shape:
        return None
    pictures = pictures.reshape((1,) * (4 - pictures.ndim) + pictures.shape)
    if pictures.shape[1] not in (1, 3):
        return None
    if pictures.dtype != torch.uint8:
        pictures = (pictures.float().nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8)
    if len(pictures) == 1:
        grid = pictures[0]
    else:
        across = int((len(pictures) - 1) ** 0.5) + 1
        down = -(-len(pictures) // across)
        _, channels, rows, columns = pictures.shape
        sheet = torch.zeros(down * across, channels, rows + 1, columns + 1, dtype=torch.uint8)
        sheet[: len(pictures), :, :rows, :columns] = pictures
        sheet = sheet.reshape(down, across, channels, rows + 1, columns + 1).permute(2, 0, 3, 1, 4)
        grid = sheet.reshape(channels, down * (rows + 1), across * (columns + 1))[:, :-1, :-1]
    return grid[0].contiguous() if len(grid) == 1 else grid.permute(1, 2, 0).contiguous()
