"""For tests of several fits: a recipe, a callback that kills, and scripts that are started until they are done."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn, optim

import lumbre as lb
from conftest import ROOT, Net, blobs

__all__ = ["KillsOnce", "blobs", "forked", "recipe", "stopping", "until_done"]

forked = pytest.mark.skipif(
    sys.platform != "linux" or torch.accelerator.is_available(), reason="tests with processes that are forked"
)


def recipe() -> lb.Recipe:
    made = lb.setup(Net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return made.set_hparams(d_in=4, dropout=0.2).set_opt_hparams(lr=0.02)


def stopping() -> dict[str, Any]:
    stop = lb.callbacks.EarlyStopping(patience=1, restore_best=True)
    return {"epochs": 6, "valid_data": 0.25, "callbacks": [stop]}


class KillsOnce(lb.Callback):
    """Ends its process, or the one that started it, without a word: once, after so many epochs of all processes."""

    def __init__(self, folder: Path, after: int, *, parent: bool = False) -> None:
        self.folder = folder
        self.after = after
        self.parent = parent

    def on_train_end(self, ctx: lb.Context) -> None:
        with (self.folder / "epochs").open("ab") as file:
            file.write(b".")
        if (self.folder / "epochs").stat().st_size > self.after:
            try:
                (self.folder / "killed").touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getppid() if self.parent else os.getpid(), signal.SIGKILL)


def until_done(script: str, arguments: list[str], result: Path) -> list[int]:
    """Start a script until its result is there; the exit codes."""
    codes: list[int] = []
    paths = os.pathsep.join([str(ROOT / "tests"), *sys.path])
    while not result.exists():
        assert len(codes) < 3
        command = [sys.executable, "-c", script, *arguments]
        codes.append(subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, cwd=ROOT).returncode)
    return codes
