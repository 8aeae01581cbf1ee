"""Collects what a report says of a run: recipe, options, data, findings, environment."""

import os
import platform
from typing import Any

import numpy as np
import torch
from torch import nn

from lumbre.base import DataRecord, __version__
from lumbre.callbacks import Progress, Remarks, TimeLimit
from lumbre.preflight import Findings
from lumbre.report import RunRecord
from lumbre.run._options import Options
from lumbre.run._receipt import run_receipt
from lumbre.run._spec import Spec, short_name

_LONGEST = 300


def run_record(
    recipe: Spec,
    model: nn.Module,
    options: Options,
    *,
    data: dict[str, DataRecord],
    findings: Findings | None,
    device: torch.device,
    seed: int,
    batch_size: int,
) -> RunRecord:
    """The record of a run that is about to begin.

    Args:
        recipe: what is trained.
        model: the module that was built from it.
        options: of the run.
        data: the sets by name.
        findings: of the checks; None where they were switched off.
        device: where it trains.
        seed: the one that is used, also where none was given.
        batch_size: the one that is used.
    """
    fewest, most = options.epoch_range
    callbacks = [type(one).__name__ for one in options.callbacks if not isinstance(one, (Progress, Remarks, TimeLimit))]
    settings = {
        "epochs": f"{fewest} to {most}" if fewest else str(most),
        "batch size": str(batch_size),
        "seed": str(seed),
        "precision": options.precision,
        "engine": options.engine,
        "callbacks": ", ".join(callbacks),
        "updates": "" if options.max_steps is None else f"at most {options.max_steps:,}",
        "validation": "" if options.valid_every == 1 else f"every {options.valid_every} epochs",
        "augmentation": "" if options.augment is None else _short(options.augment),
        "shuffle": _given(options.shuffle),
        "drop_last": _given(options.drop_last),
        "denormal numbers": "as 0" if options.flush_denormal else "",
    }
    return RunRecord(
        recipe={
            "module": short_name(recipe.module),
            "loss": "the module's own" if recipe.loss is None else short_name(recipe.loss),
            "optimizer": "the module's own" if recipe.optimizer is None else short_name(recipe.optimizer),
            "metrics": str(recipe.metrics),
        },
        hparams={name: _short(value) for name, value in recipe.hparams.items()},
        opt_hparams={name: _short(value) for name, value in recipe.opt_hparams.items()},
        options={name: value for name, value in settings.items() if value},
        data=data,
        findings=None if findings is None else tuple(findings),
        constant={} if findings is None else findings.constant,
        environment=environment(device),
        receipt=run_receipt(recipe, model, options, device=device, seed=seed, batch_size=batch_size),
    )


def environment(device: torch.device) -> dict[str, str]:
    """Versions and the kind of machine; nothing that names the machine or its user."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return {
        "lumbre": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": f"{device}{name}",
        "system": f"{platform.system()} {platform.machine()}",
        "CPU": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use",
    }


def _given(value: bool | None) -> str:
    return "" if value is None else str(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
