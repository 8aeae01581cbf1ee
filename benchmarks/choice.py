"""What `engine="auto"` costs beside the engine that would have been best: `python -m benchmarks.choice`.

Each net trains in a process of its own, with a cold cache. Between the epochs of one compiled run, runs with "auto",
too short to be compiled, take turns with it: microseconds a step of both, without start-up, and the seconds of the
capture. From these follow the steps that repay a capture, and for runs that take the best engine 10 to 600 seconds,
how much longer "auto" takes, which compiles or not by its rule.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim

import lumbre as lb
from benchmarks.engines import Between
from benchmarks.peers.report import machine
from benchmarks.peers.works import WORKS
from lumbre.run._engine import _fewest_steps
from lumbre.steps import forward_flops

ROOT = Path(__file__).parents[1]
SECONDS = 10, 30, 100, 300, 600
EPOCH_SECONDS = 1.0


def lenet(norm: bool = False) -> nn.Module:
    def block(channels: int, out: int) -> list[nn.Module]:
        norms = [nn.BatchNorm2d(out)] if norm else []
        return [nn.Conv2d(channels, out, 3, padding=1), *norms, nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*block(1, 8), *block(8, 16), nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))


def strided() -> nn.Module:
    parts: list[nn.Module] = []
    for channels, out in ((1, 8), (8, 16), (16, 32)):
        parts += [nn.Conv2d(channels, out, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(512, 10))


def six_convolutions(norm: bool = False) -> nn.Module:
    def block(channels: int, out: int) -> list[nn.Module]:
        norms = [nn.BatchNorm2d(out)] if norm else []
        return [nn.Conv2d(channels, out, 3, padding=1), *norms, nn.ReLU()]

    stages = [[*block(width, out), *block(out, out), nn.MaxPool2d(2)] for width, out in ((3, 32), (32, 64), (64, 64))]
    parts = [part for stage in stages for part in stage]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(1024, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))


class UNet(nn.Module):
    """One level, from pictures to the mean of two maps."""

    def __init__(self) -> None:
        super().__init__()
        self.outer, self.inner = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.up, self.joined = nn.ConvTranspose2d(32, 16, 2, 2), nn.Conv2d(32, 16, 3, padding=1)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        outer = self.outer(x).relu()
        inner = self.inner(nn.functional.max_pool2d(outer, 2)).relu()
        return self.last(self.joined(torch.cat([self.up(inner), outer], 1)).relu()).mean((2, 3))


def signals() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 16, 5), nn.ReLU(), nn.Conv1d(16, 16, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip


def mlp_256() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def normed_mlp() -> nn.Module:
    def block(width: int, out: int) -> list[nn.Module]:
        return [nn.Linear(width, out), nn.BatchNorm1d(out), nn.ReLU(), nn.Dropout(0.2)]

    return nn.Sequential(*block(20, 64), *block(64, 64), nn.Linear(64, 2))


def noise(*shape: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))


def of_work(name: str) -> tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]:
    work = WORKS[name]
    return work.net, lambda rows: work.data(rows, None)[0], work.batch


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], int]] = {
    "tabular_32": of_work("tabular_32"),
    "tabular_128": of_work("tabular_128"),
    "tabular_1024": of_work("tabular_1024"),
    "MLP, BatchNorm, dropout": (normed_mlp, noise(20), 128),
    "MLP of 256": (mlp_256, noise(64), 128),
    "wide MLP": of_work("wide"),
    "Conv1d": (signals, noise(4, 64), 32),
    "strided convolutions": (strided, noise(1, 28, 28), 32),
    "LeNet": (lenet, noise(1, 28, 28), 32),
    "LeNet, BatchNorm": (lambda: lenet(norm=True), noise(1, 28, 28), 32),
    "U-Net": (UNet, noise(1, 32, 32), 16),
    "six convolutions": (six_convolutions, noise(3, 32, 32), 32),
    "six, BatchNorm": (lambda: six_convolutions(norm=True), noise(3, 32, 32), 32),
    "mnist": of_work("mnist"),
    "residual": of_work("residual"),
    "transformer": of_work("transformer"),
}


def measure(name: str, rounds: int) -> dict[str, Any]:
    net, data, batch = NETS[name]
    probe = net()
    counts = forward_flops(probe, lambda: probe(data(batch)))
    flops = sum(counts.values())
    recipe = lb.setup(net, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam)

    def fit(steps: int, engine: str, epochs: int, others: Callable[[], None] = lambda: None) -> tuple[list[float], str]:
        """Seconds of the epochs, and the engine."""
        x, between = data(steps * batch), Between(others)
        with torch.enable_grad():
            fitted = recipe.fit(
                (x, torch.arange(len(x)) % 2), epochs=epochs, batch_size=batch, shuffle=False, device="cpu",
                engine=engine, callbacks=between, preflight=False, verbose=False,
            )  # fmt: skip
        return between.wall, fitted.engine

    steps = max(20, round(20 * EPOCH_SECONDS / fit(20, "auto", 3)[0][-1]))
    auto: list[float] = []
    seconds, engine = fit(steps, "compiled", rounds + 1, lambda: auto.append(fit(steps, "auto", 2)[0][1]))
    compiled = statistics.median(seconds[1:])
    return {
        "mflop": flops / 1e6,
        "fewest": _fewest_steps(counts, flops),
        "auto": statistics.median(auto) / steps,
        "compiled": compiled / steps,
        "capture": seconds[0] - compiled,
        "ratios": [slow / fast for slow, fast in zip(auto, seconds[1:], strict=True)],
        "engine": engine,
    }


def longer(found: dict[str, Any], seconds: float) -> tuple[float, bool]:
    """How much longer "auto" takes than the best engine, which takes `seconds`, in percent; and whether it compiles."""
    eager, compiled, capture = found["auto"], found["compiled"], found["capture"]
    steps = max(seconds / eager, (seconds - capture) / compiled)
    chosen = found["fewest"] is not None and steps >= found["fewest"]
    taken = capture + steps * compiled if chosen else steps * eager
    return 100 * (taken / seconds - 1), chosen


def cell(found: dict[str, Any], seconds: float) -> str:
    percent, chosen = longer(found, seconds)
    return f"{round(percent)}{' c' if chosen else ''}"


def worst(found: dict[str, Any]) -> str:
    """The most that it is, in runs of 1 to 600 seconds, and where."""
    lengths = [1.02**power for power in range(324)]
    most = max(lengths, key=lambda seconds: longer(found, seconds)[0])
    percent = round(longer(found, most)[0])
    return f"{percent}, {most:.0f} s" if percent else "0"


def line(name: str, found: dict[str, Any]) -> str:
    if "failed" in found:
        return f"| {name} | {found['failed']} |" + " |" * (7 + len(SECONDS))
    if not found["engine"].startswith("compiled"):
        return f"| {name} | {found['mflop']:.3g} | {1e6 * found['auto']:,.0f} | {found['engine']} |" + " |" * (
            5 + len(SECONDS)
        )
    gain = found["auto"] - found["compiled"]
    low, high = min(found["ratios"]), max(found["ratios"])
    cells = [
        f"{found['mflop']:.3g}",
        f"{1e6 * found['auto']:,.0f}",
        f"{1e6 * found['compiled']:,.0f}",
        f"{statistics.median(found['ratios']):.2f} ({low:.2f}-{high:.2f})",
        f"{found['capture']:.1f}",
        f"{found['capture'] / gain:,.0f}" if gain > 0 else "never",
        "never" if found["fewest"] is None else f"{found['fewest']:,}",
        *(cell(found, seconds) for seconds in SECONDS),
        worst(found),
    ]
    return f"| {name} | " + " | ".join(cells) + " |"


def page(result: dict[str, Any]) -> str:
    times = " | ".join(f"{seconds} s" for seconds in SECONDS)
    return "\n".join([
        '# What `engine="auto"` chooses',
        "",
        f"{result['machine']}; {result['threads']} thread(s), {result['rounds']} interleaved rounds, medians; load "
        f"average {result['load']}. The last columns: percent that \"auto\" takes longer than the better of both "
        "engines, the capture counted, in runs of so many seconds, c where it compiles; and the most of it in any run "
        "of 1 to 600.",
        "",
        "| net | MFLOP forward | us a step, not compiled | compiled | gain (least-most) | capture s "
        f"| steps that repay it | compiled from | {times} | at most |",
        "|---" * (9 + len(SECONDS)) + "|",
        *(line(name, found) for name, found in result["nets"].items()),
        "",
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choice", description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=list(NETS), default=list(NETS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        with contextlib.redirect_stdout(sys.stderr):
            found = measure(given.one, given.rounds)
        print(json.dumps(found))
        return
    result: dict[str, Any] = {"machine": machine(), "threads": given.threads, "rounds": given.rounds}
    result |= {"load": f"{os.getloadavg()[0]:.1f} at first", "nets": {}}
    for name in given.nets:
        command = [sys.executable, "-m", "benchmarks.choice", "--one", name]
        command += ["--rounds", str(given.rounds), "--threads", str(given.threads)]
        with tempfile.TemporaryDirectory() as cache:
            variables = {**os.environ, "OMP_NUM_THREADS": str(given.threads), "TORCHINDUCTOR_CACHE_DIR": cache}
            done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout) if done.returncode == 0 else {"failed": f"ended with {done.returncode}"}
        result["nets"][name] = found
        print(line(name, found), flush=True)
    result["load"] += f", {os.getloadavg()[0]:.1f} at last"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "choice.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "choice.md").write_text(page(result))


if __name__ == "__main__":
    main()
