"""lumbre's engines beside loops written by hand, and whether they compute the same.

`python -m benchmarks.engines`. Each work runs in a process of its own, in float32 and bfloat16:

    raw, expert   the loops of benchmarks/peers/contenders
    eager, auto   a `fit()` with that engine, start-up included
    compiled      `fit(engine="compiled")`: one long run, of which each epoch after the first is a round, and the others
                  run between its epochs; what the first epoch took more than the median of the later ones is capture

Then 50 steps of SGD in float64, without dropout, compiled against eager: the largest difference of a parameter or
buffer, relative to the largest value of that tensor.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn, optim

import lumbre as lb
from benchmarks.peers.child import cpu_seconds, make_job
from benchmarks.peers.contenders import expert, raw
from benchmarks.peers.report import machine, spread
from benchmarks.peers.works import WORKS, Job, Transformer

ROOT = Path(__file__).parents[1]
NAMES = ("tabular_32", "tabular_128", "tabular_1024", "mnist", "residual", "transformer", "lstm")
ROWS = {"tabular_32": 20_000, "tabular_128": 50_000, "mnist": 1024, "residual": 1024, "transformer": 4096, "lstm": 4096}
STEPS, BATCH = 50, 32


def fit(job: Job, engine: str, epochs: int = 1, callbacks: Any = ()) -> lb.Fitted:
    recipe = lb.setup(job.model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=job.lr)
    return recipe.fit(
        (job.x, job.y),
        epochs=epochs,
        batch_size=job.batch,
        precision=job.precision,
        device="cpu",
        engine=engine,
        callbacks=callbacks,
        verbose=False,
    )


class Between(lb.Callback):
    """Times the epochs of the compiled run, and lets the others run between them."""

    def __init__(self, others: Callable[[], None]) -> None:
        self.others = others
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def on_train_begin(self, ctx: lb.Context) -> None:
        self.began = time.perf_counter(), cpu_seconds()

    def on_train_end(self, ctx: lb.Context) -> None:
        self.wall.append(time.perf_counter() - self.began[0])
        self.cpu.append(cpu_seconds() - self.began[1])

    def on_epoch_end(self, ctx: lb.Context) -> None:
        if ctx.epoch > 1:
            self.others()


@contextlib.contextmanager
def alone(name: str) -> Generator[None]:
    """Loops by hand and the eager engine multiply as torch does by itself, though the compiled run may ask oneDNN."""
    asked = torch.get_float32_matmul_precision()
    if name == "auto" or asked == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(asked)


def speeds(name: str, precision: str, rounds: int, root: str | None, quick: bool) -> dict[str, Any]:
    """Seconds of an epoch by contender and round."""
    work = WORKS[name]
    fresh = make_job(name, 6 * work.batch if quick else ROWS.get(name, work.rows), 1, root)
    trains: dict[str, Callable[[Job], object]] = {
        "raw": raw.train,
        "expert": expert.train,
        "eager": lambda job: fit(job, "eager"),
        "auto": lambda job: fit(job, "auto"),
    }
    found: dict[str, dict[str, list[float]]] = {one: {"wall": [], "cpu": []} for one in trains}
    dice = random.Random(0)

    def play(counted: bool = True) -> None:
        order = list(trains)
        dice.shuffle(order)
        with torch.enable_grad():
            for one in order:
                job = replace(fresh(len(found[one]["wall"])), precision=precision)
                with alone(one):
                    began = time.perf_counter(), cpu_seconds()
                    trains[one](job)
                    spent = time.perf_counter() - began[0], cpu_seconds() - began[1]
                if counted:
                    found[one]["wall"].append(spent[0])
                    found[one]["cpu"].append(spent[1])

    play(counted=False)
    between = Between(play)
    fitted = fit(replace(fresh(0), precision=precision), "compiled", rounds + 1, between)
    found["compiled"] = {"wall": between.wall[1:], "cpu": between.cpu[1:]}
    return {
        "seconds": found,
        "capture_wall": between.wall[0] - statistics.median(between.wall[1:]),
        "capture_cpu": between.cpu[0] - statistics.median(between.cpu[1:]),
        "steps": -(-len(fresh(0).x) // work.batch),
        "engine": fitted.engine,
        "load": os.getloadavg()[0],
    }


def equality(name: str, root: str | None) -> dict[str, Any]:
    """How far 50 compiled steps in float64 end from 50 eager ones."""
    ends: dict[str, dict[str, torch.Tensor]] = {}
    engine = ""
    x, y = WORKS[name].data(STEPS * BATCH, root)
    x = x.double() if x.is_floating_point() else x
    for kind in ("eager", "compiled"):
        torch.manual_seed(0)
        model = (Transformer(dropout=0) if name == "transformer" else WORKS[name].net()).double()
        for part in model.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        recipe = lb.setup(model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD).set_opt_hparams(lr=0.05)
        fitted = recipe.fit((x, y), epochs=1, batch_size=BATCH, device="cpu", engine=kind, verbose=False)
        ends[kind] = {key: value.detach().double() for key, value in fitted.model.state_dict().items()}
        engine = fitted.engine
    apart = max(
        ((ends["compiled"][key] - value).abs().max() / value.abs().max().clamp_min(1e-12)).item()
        for key, value in ends["eager"].items()
    )
    return {"difference": apart, "engine": engine}


def run_one(what: str, name: str, precision: str, given: argparse.Namespace) -> dict[str, Any]:
    """A part in a process of its own, with a cold compile cache."""
    command = [sys.executable, "-m", "benchmarks.engines", "--one", what, name, precision]
    command += ["--rounds", str(given.rounds), "--threads", str(given.threads)]
    command += ["--mnist", given.mnist] if given.mnist else []
    command += ["--quick"] if given.quick else []
    with tempfile.TemporaryDirectory() as cache:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(given.threads),
            "TORCHINDUCTOR_CACHE_DIR": cache,
        }
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=given.patience
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"no result within {given.patience} s"}
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": f"ended with {done.returncode}"}


def row(name: str, precision: str, found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"| {name} | {precision} | {found['failed']} |" + " |" * 8
    seconds = found["seconds"]
    micro = {one: 1e6 * statistics.median(times["cpu"]) / found["steps"] for one, times in seconds.items()}

    def beside(fast: str, slow: str) -> str:
        pairs = zip(seconds[fast]["cpu"], seconds[slow]["cpu"], strict=True)
        return spread([b / a for a, b in pairs])

    cells = [f"{micro[one]:,.0f}" for one in ("raw", "expert", "eager", "auto", "compiled")]
    cells += [beside("eager", "expert"), beside("compiled", "expert"), beside("compiled", "raw")]
    cells += [f"{found['capture_wall']:.1f} / {found['capture_cpu']:.1f}"]
    note = "" if found["engine"].startswith("compiled") else f" ({found['engine']})"
    return f"| {name} | {precision} | " + " | ".join(cells) + f"{note} |"


def page(result: dict[str, Any]) -> str:
    lines = [
        "# lumbre's engines",
        "",
        f"{result['machine']}; {result['threads']} thread(s), {result['rounds']} interleaved rounds; load average "
        f"{result['load']}. CPU microseconds a step (median); ratios by round (median, middle 80 %).",
        "",
        "| work | precision | raw | expert | eager | auto | compiled | eager / expert | compiled / expert "
        "| compiled / raw | capture s, wall / CPU |",
        "|---" * 11 + "|",
        *(row(*key.split(), found) for key, found in result["speeds"].items()),
        "",
        "50 steps of SGD in float64, compiled against eager:",
        "",
        "| work | largest relative difference | engine |",
        "|---|---|---|",
        *(
            f"| {name} | {found['difference']:.1e} | {found['engine']} |"
            if "difference" in found
            else f"| {name} | {found['failed']} | |"
            for name, found in result["equality"].items()
        ),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engines", description=__doc__)
    parser.add_argument("--works", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mnist", help="the folder that holds the folder mnist; synthetic images where not given")
    parser.add_argument("--patience", type=float, default=300, help="seconds for each part")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all runs; the times say nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "WORK", "PRECISION"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        what, name, precision = given.one
        with contextlib.redirect_stdout(sys.stderr):
            if what == "speeds":
                found = speeds(name, precision, given.rounds, given.mnist, given.quick)
            else:
                found = equality(name, given.mnist)
        print(json.dumps(found))
        return
    result: dict[str, Any] = {"machine": machine(), "threads": given.threads, "rounds": given.rounds}
    result |= {"load": f"{os.getloadavg()[0]:.1f} at first", "speeds": {}, "equality": {}}
    for name in given.works:
        for precision in ("float32", "bfloat16"):
            result["speeds"][f"{name} {precision}"] = run_one("speeds", name, precision, given)
        result["equality"][name] = run_one("equality", name, "float64", given)
        print(name, "done", flush=True)
    result["load"] += f", {os.getloadavg()[0]:.1f} at last"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "engines.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "engines.md").write_text(page(result))
    print(page(result))


if __name__ == "__main__":
    main()
