"""What progress costs a short fit, in a terminal, in a pipe and in a notebook, beside the same fit without it.

Work: 60 epochs on 213 rows of the penguins with 53 to validate on, in batches of 32: epochs of some 15 ms, where
progress costs the most. A round is three fits in one process, in an order that turns: without progress, with it, and
without it once more; the third shows how far two equal fits differ. The terminal is a pseudo-terminal that another
thread reads, the notebook a kernel under nbclient (needs ipykernel and nbclient).

On a busy machine two equal fits differ by more than progress costs. So the events of such a run are also sent to
progress alone, without any training between them, 200 times: what it costs by itself, beside the quiet fit. A notebook
is drawn twice a second, so that there this counts the first and the last time only.

    python benchmarks/progress.py --rounds 15
"""

import argparse
import json
import os
import platform
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn, optim

import lumbre as lb
from lumbre.callbacks import Progress
from lumbre.core import History, Listeners

PLACES = ("terminal", "pipe", "notebook")
FITS = ("quiet", "shown", "again")
GOAL = 1.03


def fit(data: Any, verbose: bool) -> tuple[float, float]:
    """Wall and CPU seconds of one fit."""
    net = lambda: nn.Sequential(nn.Linear(data.width, 32), nn.ReLU(), nn.Linear(32, 3))  # noqa: E731
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.AdamW, metrics=lb.metrics.Accuracy())
    wall, cpu = time.perf_counter(), time.process_time()
    recipe.fit(data, epochs=60, valid_data=0.2, verbose=verbose)
    return time.perf_counter() - wall, time.process_time() - cpu


def alone() -> float:
    """CPU seconds of progress for the events of such a fit."""
    loss, history = torch.tensor(0.5), History()
    ctx: Any = SimpleNamespace(
        epochs=(60, 60), batches_per_epoch=7, history=history, loss=loss, stop_reason=None, step=0
    )
    fire = Listeners([Progress()]).fire
    began = time.process_time()
    fire("fit_begin", ctx)
    for ctx.epoch in range(1, 61):
        fire("epoch_begin", ctx)
        for ctx.batch_index in range(1, 8):
            fire("train_batch_end", ctx)
        history.add(ctx.epoch, "train", {"loss": 1 / ctx.epoch, "acc": 0.9})
        history.add(ctx.epoch, "valid", {"loss": 1 / ctx.epoch, "acc": 0.9})
        fire("epoch_end", ctx)
    fire("fit_end", ctx)
    return time.process_time() - began


def measure(rounds: int, path: str) -> None:
    """Fit again and again in this process, wherever it shows its progress, and write the seconds down."""
    torch.set_num_threads(1)
    rows = lb.data.from_frame(lb.datasets.penguins(drop_missing=True), target="species")
    train = lb.data.from_frame(rows.frame.iloc[:266], target="species")
    for name in FITS:
        fit(train, name == "shown")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in FITS}
    for number in range(rounds):
        for name in FITS[number % 3 :] + FITS[: number % 3]:
            found[name].append(fit(train, name == "shown"))
    Path(path).write_text(json.dumps({**found, "alone": [alone() for _ in range(200)]}))


def drain(descriptor: int) -> None:
    """Read what is shown, as a terminal does."""
    try:
        while os.read(descriptor, 65_536):
            pass
    except OSError:
        pass  # the other end is closed


def run(place: str, rounds: int, path: str) -> None:
    code = f"import progress; progress.measure({rounds}, {path!r})"
    here = str(Path(__file__).parent)
    if place == "notebook":
        import nbformat
        from nbclient import NotebookClient

        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        NotebookClient(book, timeout=3_600, resources={"metadata": {"path": here}}).execute()
        return
    read, write = pty.openpty() if place == "terminal" else os.pipe()
    reader = threading.Thread(target=drain, args=(read,))
    reader.start()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", code], stdout=write, cwd=here, env=environment)
    os.close(write)
    reader.join()
    os.close(read)
    done.check_returncode()


def told(place: str, found: dict[str, Any]) -> None:
    for number, kind in enumerate(("wall", "CPU")):
        seconds = {name: [one[number] for one in found[name]] for name in FITS}
        line = f"  {place:8} {kind:4} {statistics.median(seconds['quiet']):6.3f} s quiet"
        for name in ("shown", "again"):
            ratios = sorted(one / other for one, other in zip(seconds[name], seconds["quiet"], strict=True))
            low, middle, high = statistics.quantiles(ratios, n=4)
            line += f";  {name} / quiet {middle:.3f} ({low:.3f} to {high:.3f})"
        print(line, flush=True)
    own, fits = sorted(found["alone"]), statistics.median(one[1] for one in found["quiet"])
    low, middle, high = (1e3 * one for one in statistics.quantiles(own, n=4))
    print(
        f"  {place:8} alone {middle:.1f} ms CPU ({low:.1f} to {high:.1f}), {middle / fits / 10:.1f} % of the quiet fit",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    given = parser.parse_args()
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores,"
        f" 1 thread, {given.rounds} interleaved rounds; load {os.getloadavg()[0]:.1f};"
        f" medians (quartiles); goal <= {GOAL}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for place in given.places:
            path = f"{folder}/{place}.json"
            run(place, given.rounds, path)
            told(place, json.loads(Path(path).read_text()))


if __name__ == "__main__":
    main()
