"""A process that holds one contender: it imports, warms up, and then times a training for each line it is sent.

    python -m benchmarks.peers.child CONTENDER THREADS

Each line on stdin, in JSON, names a work, or the seed of a round of it; the answer to a seed, a line of JSON, is what
the training took and what it learned.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.works import WORKS, Job

_JUDGED = 10_000


def cpu_seconds() -> float:
    """CPU time of this process and of those it started and waited for, compilers for example."""
    times = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in times)


def timed(train: Callable[[Job], Callable[[Tensor], Tensor]], job: Job) -> dict[str, float]:
    """Train, and judge the result on training rows. Only the training is timed."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    scores_of = train(job)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return {"wall": wall, "cpu": cpu, **judged(scores_of, job)}


@torch.no_grad()
def judged(scores_of: Callable[[Tensor], Tensor], job: Job) -> dict[str, float]:
    job.model.eval()
    parts = job.x[:_JUDGED].split(500)
    scores = torch.cat([torch.as_tensor(scores_of(part)).float().cpu() for part in parts])
    y = job.y[:_JUDGED]
    return {
        "loss": nn.functional.cross_entropy(scores, y).item(),
        "accuracy": (scores.argmax(1) == y).float().mean().item(),
    }


def make_job(work: str, rows: int, epochs: int, root: str | None) -> Callable[[int], Job]:
    """A function from seed to a fresh job; the data are made once."""
    chosen = WORKS[work]
    x, y = chosen.data(rows, root)

    def job(seed: int) -> Job:
        torch.manual_seed(seed)
        model = chosen.net().train()
        return Job(
            model=model,
            x=x,
            y=y,
            batch=chosen.batch,
            epochs=epochs,
            lr=chosen.lr,
            precision=chosen.precision,
            seed=seed,
        )

    return job


def main() -> None:
    name, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    torch.set_num_threads(int(threads))
    began = time.perf_counter()
    try:
        module = importlib.import_module(f"benchmarks.peers.contenders.{name}")
    except ImportError as error:
        answer(missing=str(error))
        return
    took = time.perf_counter() - began
    answer(import_seconds=took, version=version_of(name), file=getattr(sys.modules.get(name), "__file__", None))
    make: Callable[[int], Job] | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        if "work" in asked:
            make = make_job(**asked)
            answer(**warm_up(module.train, make(0)))
        elif make is not None:
            answer(**timed(module.train, make(asked["seed"])), note=getattr(module.train, "note", ""))


def warm_up(train: Callable[[Job], Callable[[Tensor], Tensor]], job: Job) -> dict[str, str]:
    """Train on four batches, so that what is loaded on first use is there."""
    from benchmarks.peers.contenders import Unsupported

    rows = 4 * job.batch
    try:
        timed(train, replace(job, epochs=1, x=job.x[:rows], y=job.y[:rows]))
    except Unsupported as error:
        return {"unsupported": str(error)}
    return {}


def version_of(name: str) -> str:
    if name in ("raw", "raw_float32", "expert"):
        return f"torch {torch.__version__}"
    try:
        return f"{name} {version({'ignite': 'pytorch-ignite'}.get(name, name))}"
    except PackageNotFoundError:  # lumbre on the path alone
        return f"{name} {importlib.import_module(name).__version__}"


if __name__ == "__main__":
    main()
