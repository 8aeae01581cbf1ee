"""A stop belongs to the run that made it: whether one that is found in a checkpoint ends the run that goes on, too."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lumbre.base import ResumeError
from lumbre.callbacks import EarlyStopping
from lumbre.core import Callback
from lumbre.resume._state import callbacks_by_place
from lumbre.storage import unpack


def stop_stands(
    document: dict[str, Any],
    callbacks: Sequence[Callback],
    epochs: tuple[int, int],
    monitored: Mapping[str, bool | None],
) -> bool:
    """Whether the run of a checkpoint had stopped early, and would do so again as it is asked for now.

    Only `EarlyStopping` would: what it has waited is kept, and its patience may be greater now; where it watches
    something else, what it would have waited is counted anew. More epochs than before
    are asked for in order to be trained. A stop by a callback of the user, such as one for a limit of time, is that
    callback's to repeat.

    Args:
        document: of the checkpoint.
        callbacks: of the run that goes on.
        epochs: its (fewest, most) epochs.
        monitored: the names of its values, and whether more of them is better.
    """
    try:
        state = document["state"]
        if state["progress"]["stop_reason"] is None or _more(epochs, document["facts"]["epochs"]):
            return False
        kept = state["callbacks"]
        records = unpack(state["progress"]["records"], {}, torch.device("cpu"))
        return any(
            one.exhausted(one.waited(kept.get(name, {}), records, monitored))
            and state["progress"]["epoch"] >= epochs[0]
            for name, one in callbacks_by_place(callbacks).items()
            if isinstance(one, EarlyStopping)
        )
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        ResumeError,
    ):  # it is damaged: what brings it back will say so
        return False


def _more(epochs: tuple[int, int], before: str) -> bool:
    """Whether there are more epochs than `before`, as facts name them: "0 to 10"."""
    fewest, _, most = before.partition(" to ")
    return epochs[0] > int(fewest) or epochs[1] > int(most)
