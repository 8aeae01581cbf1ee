"""What a refused graph costs: nothing where the eager step tells, one compilation else, and none in the same run again.

No compiler runs here: the step itself stands for its graph, and its calls are counted.
"""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim

import lumbre as lb
from conftest import ROOT, Net, blobs
from lumbre.graphs import _refused
from lumbre.graphs._compile import CaptureError


class Differs(Net):
    """Whose loss is another in a graph."""

    def __init__(self) -> None:
        super().__init__(4, dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.5 if torch.compiler.is_compiling() else 1.0)


class Strays(Differs):
    """Whose gradients differ in a graph, and its loss does not."""

    def forward(self, x: Tensor) -> Tensor:
        h = Net.forward(self, x)
        return h + 0.5 * (h - h.detach()) if torch.compiler.is_compiling() else h


class IsNaN(Differs):
    def forward(self, x: Tensor) -> Tensor:
        return Net.forward(self, x) + (float("nan") if torch.compiler.is_compiling() else 0.0)


class Fails(Differs):
    """Which cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            raise ValueError("a break in the graph")
        return Net.forward(self, x)


class Counts(Differs):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return Net.forward(self, x)


class DrawsNumPy(Differs):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(np.random.uniform(0.5, 1.5))


class DrawsPython(Differs):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * random.uniform(0.5, 1.5)


class CountsOutside(Differs):
    """In a place that nobody looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = [0]

    def forward(self, x: Tensor) -> Tensor:
        self.calls[0] += 1
        return Net.forward(self, x) * (1 + self.calls[0] % 7)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """One entry for each compilation; refusals are kept in a folder of the test's own."""
    found: list[int] = []

    def compiled(step: Callable[..., Any], arguments: tuple[Any, ...], device: torch.device) -> Any:
        found.append(1)

        def run(arguments: tuple[Any, ...]) -> Any:
            with monkeypatch.context() as patch:
                patch.setattr(torch.compiler, "is_compiling", lambda: True)
                try:
                    return step(*arguments)
                except ValueError as error:
                    raise CaptureError(str(error)) from error

        return run, run(arguments)

    monkeypatch.setattr("lumbre.graphs._capture.compiled", compiled)
    monkeypatch.setattr("lumbre.run._engine.obstacle", lambda device: None)
    monkeypatch.setattr(_refused, "_folder", lambda: tmp_path / "refused")
    return found


def run(net: Callable[[], nn.Module], engine: str = "compiled", seed: int = 0, **options: Any) -> lb.Fitted:
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam, metrics=lb.metrics.Accuracy())
    return recipe.fit(blobs(300), epochs=2, batch_size=10, engine=engine, seed=seed, verbose=False, **options)


def weights(fitted: lb.Fitted) -> Tensor:
    return torch.cat([value.detach().flatten() for value in fitted.model.parameters()])


@pytest.mark.parametrize(
    ("net", "count", "why"),
    [
        (Differs, 1, "the loss differs"),
        (Strays, 1, "gradients differ"),
        (IsNaN, 1, "the loss differs from the eager one by nan"),
        (Fails, 2, "a break in the graph"),  # with the metric's sums and without
        (Counts, 0, "changes attributes"),
        (DrawsNumPy, 1, "the loss differs"),
        (DrawsPython, 1, "the loss differs"),
        (CountsOutside, 0, "another loss when it is done again"),
    ],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_refusal_is_paid_once(
    net: type[nn.Module], count: int, why: str, accumulate: int, compilations: list[int]
) -> None:
    options: dict[str, Any] = {"callbacks": lb.callbacks.Accumulate(accumulate)} if accumulate > 1 else {}
    options["ignore"] = "LB078"  # which says of CountsOutside what it does
    first = run(net, **options)
    assert why in first.engine
    assert len(compilations) == count
    again = run(net, **options)
    assert len(compilations) == count, "the same run does not compile again"
    assert again.engine == first.engine
    assert torch.equal(weights(again), weights(first))
    assert torch.equal(weights(first), weights(run(net, "eager", **options))), "and is the eager run"


@pytest.mark.parametrize("other", [{"seed": 1}, {"precision": "bfloat16"}, {"callbacks": lb.callbacks.GradientClip(1)}])
def test_another_run_asks_the_compiler_itself(other: dict[str, Any], compilations: list[int]) -> None:
    run(Differs)
    run(Differs, **other)
    assert len(compilations) == 2


def test_other_code_asks_the_compiler_itself(compilations: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    run(Differs)
    monkeypatch.setattr("linecache.getlines", lambda file: ["mended = True\n"])
    run(Differs)
    assert len(compilations) == 2


def test_a_graph_that_is_right_is_not_refused(compilations: list[int], tmp_path: Path) -> None:
    fitted = run(lambda: Net(4))
    assert fitted.engine.startswith("compiled")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize("error", [OSError("disk full"), MemoryError(), RuntimeError("out of memory")])
def test_what_may_be_gone_next_time_is_tried_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tries: list[int] = []

    def compiled(*_: Any) -> Any:
        tries.append(1)
        raise CaptureError("it cannot be made") from error

    monkeypatch.setattr("lumbre.graphs._capture.compiled", compiled)
    monkeypatch.setattr("lumbre.run._engine.obstacle", lambda device: None)
    monkeypatch.setattr(_refused, "_folder", lambda: tmp_path / "refused")
    assert "it cannot be made" in run(Differs).engine
    before = len(tries)
    run(Differs)
    assert len(tries) == 2 * before


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null"])
def test_a_damaged_memory_is_no_memory(content: str, compilations: list[int], tmp_path: Path) -> None:
    run(Differs)
    (kept,) = (tmp_path / "refused").iterdir()
    kept.write_text(content)
    assert "the loss differs" in run(Differs).engine
    assert len(compilations) == 2


def test_a_folder_that_cannot_be_written_ends_no_run(
    compilations: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(_refused, "_folder", lambda: tmp_path / "file" / "refused")
    assert "the loss differs" in run(Differs).engine


SCRIPT = """
import torch
from torch import nn, optim
import lumbre as lb
from lumbre.graphs import _capture
import lumbre.run._engine as engine
from helper import factor

found = []

class Differs(nn.Linear):
    def forward(self, x):
        return super().forward(x) * (factor if torch.compiler.is_compiling() else 1.0)

def compiled(step, arguments, device):
    found.append(1)
    real, torch.compiler.is_compiling = torch.compiler.is_compiling, lambda: True
    try:
        return step, step(*arguments)
    finally:
        torch.compiler.is_compiling = real

_capture.compiled = compiled
engine.obstacle = lambda device: None
x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
fitted = lb.setup(lambda: Differs(4, 3), loss=lambda pred, y: pred.square().mean(), optimizer=optim.SGD).fit(
    (x, None), epochs=1, batch_size=10, engine="compiled", verbose=False
)
print(len(found), "the loss differs" in fitted.engine, fitted.model.weight.sum().item())
"""


@pytest.mark.slow
def test_another_process_does_not_compile_again(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("factor = 1.5\n")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{tmp_path}",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"),
    }

    def said() -> list[str]:
        return subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    first, second = said(), said()
    assert (first[0], second[0]) == ("1", "0")
    assert first[1:] == second[1:]
