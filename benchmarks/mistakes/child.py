"""Runs one contender over the whole corpus, each program in a process of its own, and keeps all that is said.

python -m benchmarks.mistakes.child CONTENDER [PATTERN] > said.json
"""

import importlib
import io
import json
import logging
import multiprocessing
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import torch

from benchmarks.mistakes.plain import CASES, HEALTHY, Program, Unsupported

_SECONDS = 120
_NUMBERS = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


class Kept(logging.Handler):
    """Keeps what is logged as a warning or worse."""

    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"warning: {record.getMessage()}")


def caught(train: Callable[[Program], None], make: Callable[[], Program]) -> dict[str, Any]:
    """What is said while a program is trained: errors, warnings, lines logged as such, and lines printed."""
    said: list[str] = []
    printed = io.StringIO()
    torch.set_warn_always(True)  # torch says some things only once
    handler = Kept(said)
    for name in (None, *(known for known in logging.root.manager.loggerDict)):
        logger = logging.getLogger(name)
        if name is None or not logger.propagate:
            logger.addHandler(handler)
    error = unsupported = ""
    with warnings.catch_warnings(record=True) as warned, redirect_stdout(printed), redirect_stderr(io.StringIO()):
        warnings.simplefilter("always")
        try:
            train(make())
        except Unsupported as reason:
            unsupported = str(reason)
        except Exception as raised:  # whatever a contender raises is what it says
            error = f"error: {type(raised).__name__}: {raised}"
            last = traceback.extract_tb(raised.__traceback__)[-1]
            error += f" [{os.path.basename(last.filename)}]"
    said += [f"warning: {one.category.__name__}: {one.message}" for one in warned if not _of_python(one)]
    said += ["warning: " + part.strip() for part in re.split(r"\n(?=\S)", printed.getvalue()) if part.strip()]
    once = {without_numbers(text): text for text in reversed([*said, *([error] if error else [])])}
    return {"said": list(reversed(once.values())), "unsupported": unsupported}


def _of_python(one: warnings.WarningMessage) -> bool:
    return issubclass(one.category, (DeprecationWarning, FutureWarning, ImportWarning, ResourceWarning))


def alone(train: Callable[[Program], None], make: Callable[[], Program]) -> dict[str, Any]:
    """The same in a process of its own, so that nothing that is said once is missed the next time."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(False)

    def work() -> None:
        there.send(caught(train, make))

    process = context.Process(target=work)
    process.start()
    there.close()
    result: dict[str, Any] = {"said": ["error: it ended without an answer"], "unsupported": ""}
    try:
        if here.poll(_SECONDS):
            result = here.recv()
    except EOFError:
        pass
    process.kill()
    process.join()
    return result


def programs() -> dict[str, Callable[[], Program]]:
    """All there are by name: "broken/...", "mended/..." and "sound/..."."""
    made: dict[str, Callable[[], Program]] = {}
    for case in CASES:
        for kind in ("broken", "mended"):
            made[f"{kind}/{case.name}"] = lambda case=case, kind=kind: _seeded(
                lambda generator: case.make(kind == "broken", generator)
            )
    for name, make in HEALTHY.items():
        made[f"sound/{name}"] = lambda make=make: _seeded(make)
    return made


def _seeded(make: Callable[[torch.Generator], Program]) -> Program:
    torch.manual_seed(0)
    program = make(torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    return program


def without_numbers(text: str) -> str:
    """To compare what is said of two programs."""
    return _NUMBERS.sub("#", text)


def main() -> None:
    name, pattern = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""
    torch.set_num_threads(1)
    importlib.import_module("torch._dynamo")  # else every process does, at its first optimizer
    module = importlib.import_module(f"benchmarks.mistakes.contenders.{name}")
    answers = os.fdopen(os.dup(1), "w")
    said: dict[str, Any] = {}
    for key, make in programs().items():
        if re.search(pattern, key):
            began = time.perf_counter()
            said[key] = alone(module.train, make)
            print(f"{time.perf_counter() - began:6.1f} s  {key}", file=sys.stderr, flush=True)
    json.dump(said, answers, indent=1)


if __name__ == "__main__":
    main()
