"""Runs a program of `examples/` as `python program.py ...` does, without importing torch and plotnine each time.

Where the system can fork, a server process that has imported them once, and done nothing else, forks for each program:
that saves some three seconds for each of thirty. `test_examples.py` starts a plain process.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

_SECONDS = 600
_LOADED = ["torch", "lumbre", "plotnine", "matplotlib.pyplot", "pandas"]


def run_program(program: Path, *arguments: str, folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What `python program *arguments` prints in `folder`, its errors, and its status."""
    told = {"OMP_NUM_THREADS": "1", **environment}
    if not hasattr(os, "fork"):
        command = [sys.executable, str(program), *arguments]
        return subprocess.run(
            command, cwd=folder, env={**os.environ, **told}, capture_output=True, text=True, timeout=_SECONDS
        )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    said = [folder.parent / f"{folder.name}.{program.stem}.{name}" for name in ("stdout", "stderr")]
    process = context.Process(target=_run, args=(str(program), arguments, str(folder), told, list(map(str, said))))
    process.start()
    process.join(_SECONDS)
    assert process.exitcode is not None, f"{program} takes longer than {_SECONDS} seconds"
    return subprocess.CompletedProcess(
        [str(program), *arguments], process.exitcode, *(file.read_text(encoding="utf-8") for file in said)
    )


def _run(program: str, arguments: list[str], folder: str, environment: dict[str, str], said: list[str]) -> None:
    """In a process of its own: what the interpreter does with a program."""
    for number, file in enumerate(said, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    sys.stdout, sys.stderr = (open(number, "w", encoding="utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.update(environment)
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).parent))
    warnings.resetwarnings()
    status = 0
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)  # nothing of the server's is to be cleaned up here
