"""The suites `data_integrity` and `train_test_validation` of its tables, over programs whose input is a table: of the
training rows, of training against validation, and of either against the rows to test on. Failed conditions are what it
says."""

import io
from contextlib import redirect_stdout
from typing import Any

import pandas as pd
from deepchecks.tabular import Dataset
from deepchecks.tabular.suites import data_integrity, train_test_validation
from torch import Tensor

from benchmarks.mistakes.plain import Program, Unsupported, as_arrays, plain


def train(program: Program) -> None:
    given = plain(program)
    train, valid, test = (None if one is None else _table(one) for one in (given.train, given.valid, given.test))
    _say(data_integrity(), train)
    for one, other in ((train, valid), (train, test), (valid, test)):
        if one is not None and other is not None:
            _say(train_test_validation(), one, other)


def _table(rows: Any) -> Dataset:
    x, y = as_arrays(rows)
    if x.ndim != 2 or y.numel() != len(y) or not x.is_floating_point():
        raise Unsupported("no table")
    frame = pd.DataFrame(x.numpy(), columns=[f"column {at}" for at in range(x.shape[1])])
    label: Tensor = y.flatten()
    frame["label"] = label.numpy()
    few = label.unique().numel() <= 20
    kind = "regression" if not few else "binary" if label.unique().numel() <= 2 else "multiclass"
    return Dataset(frame, label="label", cat_features=[], label_type=kind)


def _say(suite: Any, *tables: Dataset) -> None:
    with redirect_stdout(io.StringIO()):  # its bar
        result = suite.run(*tables)
    for one in result.get_not_passed_checks():
        for condition in one.conditions_results:
            if not condition.is_pass():
                print(f"{one.get_header()}: {condition.name}: {condition.details}")
