"""How the numbers of an input become what a user thinks in: columns, pixels, patches, steps."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lumbre.base import Nested, OptionError, leaves
from lumbre.fitted._features import Feature, Name, features_of
from lumbre.run import Session

SHOWN = 100
"""Rows whose input is kept for pictures."""
_PATCHES = 8


class Layout:
    """How the numbers of an input become features: columns of a table, pixels or patches, steps.

    Args:
        session: the model.
        input: a batch.
        hidden: whether parts are hidden, those of images in patches; else each pixel is a part.
        patches: into how many parts height and width of images are cut; 8 where not given.

    Attributes:
        kind: "columns", "picture" or "steps".
        names: of columns.
    """

    def __init__(self, session: Session, input: Nested, hidden: bool, patches: int | None) -> None:
        features = features_of(session.encoding, input, patches)
        tensors: list[Tensor] = list(leaves(input))
        one = tensors[0] if len(tensors) == 1 else None
        whole = one is not None and one.ndim > 2
        self.kind = "columns" if one is None or not whole else "steps" if one.ndim == 3 and not patches else "picture"
        if patches is not None and (not hidden or self.kind != "picture"):
            raise OptionError(
                f"patches={patches} for gradients, or for no images", "patches of images to hide", 'method="occlusion"'
            )
        if self.kind == "picture" and hidden:
            height, width = (min(patches or _PATCHES, size) for size in tensors[0].shape[-2:])
            self.patches: tuple[int, int] | None = height, width
        else:
            self.patches = None
        self.features = features if self.kind == "columns" else []
        if len(tensors) > 1:
            self.features = _by_tensor(features, [number for number, one in enumerate(tensors) if one.ndim > 2])
        self.names: tuple[Name, ...] = tuple(one.name for one in self.features)

    def summed(self, values: Sequence[Tensor]) -> Tensor:
        """Values of each number of the input, those of a feature added up."""
        if self.kind == "steps":
            return values[0].clone()
        if self.kind == "picture":
            return values[0].sum(1) if values[0].ndim > 3 else values[0].clone()
        found = [
            sum(_flat(values[number][(slice(None), *index)]).sum(1) for number, index in (*one.places, *one.gap))
            for one in self.features
        ]
        return torch.stack(found, 1)  # pyright: ignore[reportArgumentType]

    def masks(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The number of the feature of each number of the input, shape (1, ...) for each tensor."""
        if self.patches is not None:
            height, width = tensors[0].shape[-2:]
            down, across = self.patches
            rows, columns = (torch.arange(size) * parts // size for size, parts in ((height, down), (width, across)))
            plane = rows[:, None] * across + columns
            return [plane.expand(1, *tensors[0].shape[1:]).to(tensors[0].device)]
        if self.kind == "steps":
            return [torch.arange(tensors[0][0].numel(), device=tensors[0].device).reshape(1, *tensors[0].shape[1:])]
        found = [torch.full((1, *one.shape[1:]), len(self.features), device=one.device) for one in tensors]
        for at, feature in enumerate(self.features):
            for number, index in (*feature.places, *feature.gap):
                found[number][(slice(None), *index)] = at
        return found

    def first(self, values: Sequence[Tensor]) -> Tensor:
        """The value of each feature, which stands in all of its numbers."""
        if self.patches is not None:
            height, width = values[0].shape[-2:]
            rows, columns = (-(-torch.arange(parts) * size // parts)
                             for size, parts in zip((height, width), self.patches, strict=True))  # fmt: skip
            plane = values[0].reshape(len(values[0]), -1, height, width)[:, 0]
            return plane[:, rows][:, :, columns]
        if self.kind != "columns":
            return values[0]
        return torch.stack([_flat(values[one.places[0][0]][(slice(None), *one.places[0][1])])[:, 0]
                            for one in self.features], 1)  # fmt: skip

    def kept(self, inputs: Sequence[Nested]) -> dict[str, Any]:
        """What plots need of the input: texts of a table, images."""
        if self.kind == "columns":
            return {"kind": self.kind, "texts": [row for input in inputs for row in self._texts(input)][:SHOWN]}
        images = torch.cat([next(iter(leaves(input))) for input in inputs])[:SHOWN]
        return {"kind": self.kind, "input": images}

    def _texts(self, input: Nested) -> list[list[str]]:
        columns: list[list[str]] = []
        for one in self.features:
            values = one.values(input)
            if one.kind == "category":
                tops = zip(values.amax(1).tolist(), values.argmax(1).tolist(), strict=True)
                columns.append([one.levels[at] if top > 0 else "unknown" for top, at in tops])
            elif one.kind in ("code", "boolean"):
                columns.append([one.levels[int(at)] if int(at) < len(one.levels) else "unknown"
                                for at in values.reshape(-1).tolist()])  # fmt: skip
            elif one.kind == "number":
                seen = one.measured(values.double().cpu().reshape(-1).numpy())
                columns.append([f"{at:.4g}" for at in seen.tolist()])
            else:
                columns.append([""] * len(values))
        return [list(row) for row in zip(*columns, strict=True)]


def _by_tensor(features: Sequence[Feature], large: Sequence[int]) -> list[Feature]:
    """The features; each picture or sequence among several tensors as one."""
    found = [one for one in features if one.places[0][0] not in large]
    for number in large:
        some = [one for one in features if one.places[0][0] == number]
        name = str(some[0].name).partition("[")[0]
        found.append(Feature(name, tuple(place for one in some for place in one.places), "part"))
    return found


def _flat(values: Tensor) -> Tensor:
    return values.flatten(1) if values.ndim > 1 else values[:, None]
