"""What is kept of a run so that it can be reported, by a model that was loaded from its file too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lumbre.base import DataRecord
from lumbre.core import History
from lumbre.preflight import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """With what a model was trained: text, but for the receipt; empty where it is not known.

    Attributes:
        recipe: module, loss, optimizer and metrics, as a recipe prints them.
        hparams: what the module was built with.
        opt_hparams: what the optimizer was made with.
        options: options of `fit()`.
        data: the sets, "train" and "valid".
        findings: what the checks before training found; None where they were switched off.
        constant: the loss of the best prediction that looks at no input, of "train" and "valid".
        environment: versions and the machine.
        receipt: options, settings of torch and code, as JSON holds them, from which the run can be done again.
    """

    recipe: Mapping[str, str] = field(default_factory=dict[str, str])
    hparams: Mapping[str, str] = field(default_factory=dict[str, str])
    opt_hparams: Mapping[str, str] = field(default_factory=dict[str, str])
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    data: Mapping[str, DataRecord] = field(default_factory=dict[str, DataRecord])
    findings: tuple[Finding, ...] | None = None
    constant: Mapping[str, float] = field(default_factory=dict[str, float])
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    receipt: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What a report tells beside what the model itself answers.

    Attributes:
        record: of the run.
        history: losses, metrics and seconds.
        columns: of frame data, name, kind and description of each column.
        test: of the data to judge on, or None.
        verdict: whether the model is better than simple ones, where that was asked; else "".
        after: what else was computed after training, as (name, text).
        charts: what was computed and can be drawn, as (name, thing with a method `plot`).
        review: what the checks after training found; None where they were not asked for.
        unreviewed: what they did not look at, and why.
    """

    record: RunRecord
    history: History
    columns: tuple[tuple[str, str, str], ...] = ()
    test: DataRecord | None = None
    verdict: str = ""
    after: tuple[tuple[str, str], ...] = ()
    charts: tuple[tuple[str, Any], ...] = ()
    review: tuple[Finding, ...] | None = None
    unreviewed: tuple[str, ...] = ()


def record_from(document: Mapping[str, Any]) -> RunRecord:
    """The record that `dataclasses.asdict` turned into a document."""
    findings = document["findings"]
    parts: dict[str, Any] = {
        "data": {name: DataRecord(**values) for name, values in document["data"].items()},
        "findings": None if findings is None else tuple(Finding(**values) for values in findings),
    }
    return RunRecord(**{**document, **parts})
