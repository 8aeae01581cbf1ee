"""Rows are paired by their place: frames and series whose indices say otherwise are refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import lumbre as lb

FRAME = pd.DataFrame({"a": np.linspace(-1, 1, 12), "b": np.linspace(1, -1, 12)})
SERIES = pd.Series(np.arange(12.0), name="y")
TURNED = SERIES.sample(frac=1, random_state=0)


def recipe() -> lb.Recipe:
    return lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=torch.optim.SGD).set_hparams(in_features=2, out_features=1)


def fit(data: Any, **options: Any) -> lb.Fitted:
    return recipe().fit(data, epochs=1, verbose=False, preflight=False, **options)


WAYS: dict[str, Callable[[pd.Series], Any]] = {
    "a frame and its target": lambda y: fit((FRAME, y.to_frame())),
    "by names": lambda y: fit({"input": FRAME, "target": y.to_frame()}),
    "two inputs": lambda y: lb.split(((FRAME, y), SERIES), 0.5, 0.5),
    "weights": lambda y: fit((FRAME, SERIES.to_frame()), weights=y),
    "weights of frame data": lambda y: fit(lb.data.from_frame(FRAME.assign(c=SERIES), target=["c"]), weights=y),
    "weighted": lambda y: lb.data.weighted((FRAME, SERIES), y),
    "validation": lambda y: fit((FRAME, SERIES.to_frame()), valid_data=(FRAME, y.to_frame())),
    "evaluation": lambda y: fit((FRAME, SERIES.to_frame())).evaluate((FRAME, y.to_frame())),
    "classes to stratify by": lambda y: lb.split(FRAME, 0.5, 0.5, stratify=y > 5),
    "groups of frame data": lambda y: lb.split(
        lb.data.from_frame(FRAME.assign(c=SERIES), target="c"), 0.5, 0.5, group=y // 2
    ),
    "times": lambda y: lb.split((FRAME, SERIES), 0.5, 0.5, ordered=y),
    "folds": lambda y: list(lb.data.folds((FRAME, SERIES), 2, group=y)),
    "cross-validation": lambda y: recipe().cross_validate(
        (FRAME, SERIES.to_frame()), folds=2, group=y, epochs=1, verbose=False
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_rows_in_another_order_are_refused(way: str) -> None:
    with pytest.raises(lb.DataError, match=r"same rows in another order: row 0 is 0 in the one and \d+ in the other"):
        WAYS[way](TURNED)
    WAYS[way](TURNED.sort_index())


@pytest.mark.parametrize(
    "other",
    [
        TURNED.reset_index(drop=True),
        TURNED.set_axis(list("abcdefghijkl")),
        TURNED.set_axis([0] * 12),
        SERIES.set_axis(range(100, 112)),
        TURNED.to_numpy(),
    ],
    ids=["numbered anew", "names", "one name", "other numbers", "an array"],
)
def test_indices_of_other_labels_say_nothing(other: Any) -> None:
    train, _ = lb.split((FRAME, other), 0.5, 0.5)
    assert len(train) == 6
