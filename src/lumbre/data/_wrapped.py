"""Frame data inside torch's wrappers of data sets: a `Subset`, a `ConcatDataset`, a `DataLoader`."""

from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Subset

from lumbre.base import DataError
from lumbre.data._frames import FrameData
from lumbre.data._tables import Table


def unwrapped(data: Any) -> Any:
    """`data`; the frame data that a `Subset` or a `ConcatDataset` chooses from, as frame data that `fit()` encodes.

    Raises:
        DataError: something else wraps frame data, whose rows would come as they were measured.
    """
    kind: type = type(data)
    if kind is Subset and (inner := _frame_data(data.dataset)) is not None:
        return inner.take(torch.as_tensor(list(data.indices), dtype=torch.int64))
    if kind is ConcatDataset and (joined := _joined(data)) is not None:
        return joined
    if isinstance(data, (Subset, ConcatDataset, DataLoader)) and _holds_frame_data(data):
        raise DataError(
            f"a {kind.__name__} of frame data, whose numbers come as they were measured",
            "the frame data itself: centre and scale are learned from the rows of a run and kept with the model",
            "fit(part, batch_size=..., shuffle=..., sampler=...) with the part; evaluate(part) and predict(part) alike",
        )
    return data


def _frame_data(data: Any) -> FrameData | None:
    found = unwrapped(data)
    return found if isinstance(found, FrameData) else None


def _joined(data: Any) -> FrameData | None:
    """Parts of frame data with the same columns as one."""
    parts = [_frame_data(one) for one in data.datasets]
    found = [one for one in parts if one is not None]
    if len(found) < len(parts) or any(one.encoding != found[0].encoding for one in found):
        return None
    return FrameData(Table.joined([one.frame for one in found]), found[0].encoding)


def _holds_frame_data(data: Any) -> bool:
    if isinstance(data, ConcatDataset):
        return any(map(_holds_frame_data, data.datasets))
    return _holds_frame_data(data.dataset) if isinstance(data, (Subset, DataLoader)) else isinstance(data, FrameData)
