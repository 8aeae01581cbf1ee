"""What an inspection gives back: statistics of each layer, and the tensors themselves where they were kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lumbre.base import OptionError, did_you_mean, import_extra
from lumbre.inspection._statistics import Statistics

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Inspection:
    """Activations, gradients or weights of a model, layer by layer.

    Attributes:
        what: "activations", "gradients" or "weights".
        layers: statistics by the layer's name, in the order in which layers were called, or weights defined.
        tensors: the values themselves by the same names, on the CPU: shape (rows, ...) where a layer works row by row.
            Empty where they were not kept.
        target: what belongs to the rows of `tensors`, such as their classes; None where the data had none.
        classes: names of the classes by number, where the model knows them.
        rows: how many rows were looked at; 0 for weights.
    """

    what: str
    layers: Mapping[str, Statistics]
    tensors: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    target: Tensor | None = None
    classes: tuple[str, ...] | None = None
    rows: int = 0

    def __getitem__(self, layer: str) -> Tensor:
        """The values of one layer, where they were kept."""
        if layer in self.tensors:
            return self.tensors[layer]
        if layer in self.layers:
            raise OptionError(
                f"the values of {layer!r}, which were not kept", "an inspection that keeps them", "keep=True"
            )
        raise OptionError(
            f"the values of {layer!r}",
            f"one of {', '.join(self.layers)}",
            f"{did_you_mean(layer, self.layers)}layers={layer!r}, where it was left out",
        )

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with a row for each layer and the columns of `Statistics`; quantiles as q1, q5, q25, ..."""
        import pandas as pd

        return pd.DataFrame([found.row() for found in self.layers.values()])

    def plot(self) -> Any:
        """Histograms of the values, a panel for each layer; a plotnine object.

        Raises:
            MissingExtraError: plotnine is not installed.
        """
        return drawing().layer_histograms(self)

    def plot_planes(self, layers: str | Sequence[str] | None = None) -> Any:
        """The plane as each layer of two units sees it: a point for each row, in the colour of its class.

        Args:
            layers: which of those kept; all that give two numbers a row where not given.

        Raises:
            MissingExtraError: plotnine is not installed.
            DataError: no layer with two numbers a row was kept.
        """
        return drawing().layer_planes(self, layers)

    def plot_maps(self, row: int = 0, layers: str | Sequence[str] | None = None, *, maps: int = 16) -> Any:
        """What layers make of one row: feature maps as pictures side by side, a panel for each layer.

        Args:
            row: which of the rows kept.
            layers: which of those kept; all that can be shown where not given.
            maps: how many maps of a layer are shown at most: the first ones.

        Raises:
            MissingExtraError: plotnine is not installed.
            DataError: no layer that can be shown was kept.
            OptionError: there is no such row or layer.
        """
        return drawing().feature_maps(self, row, layers, maps=maps)

    def __repr__(self) -> str:
        head = f"{self.what.capitalize()} of {self.rows:,} rows" if self.rows else self.what.capitalize()
        width = max(map(len, self.layers), default=0)
        lines = [f"  {name:<{width}}  {_line(found)}" for name, found in self.layers.items()]
        return "\n".join([head, *lines])


def drawing() -> Any:
    """The room `plots`, which stands above this one: it is looked for only when something is to be drawn."""
    return import_extra("lumbre.plots", "plots", "draw charts")


def _line(found: Statistics) -> str:
    shape = " x ".join(map(str, found.shape)) or "one number"
    parts = [f"{shape:<14}", f"mean {found.mean:>9.3g}", f"std {found.std:>8.3g}", f"zeros {found.zeros:>4.0%}"]
    notes = [
        f"{found.dead} of {found.units} units dead" if found.dead else "",
        f"{found.saturated:.0%} saturated" if found.saturated is not None else "",
        f"{found.nonfinite:.2%} not finite" if found.nonfinite else "",
    ]
    return "  ".join([*parts, ", ".join(filter(None, notes))]).rstrip()
