"""What checkpoints cost: the MNIST CNN with one every 100 steps, beside the same run without, in turn.

    python -m benchmarks.checkpoints [--device cuda] [--rounds 5] [--steps 200]

The rows are drawn by chance, of MNIST's size; time does not depend on what they show. The folder lies in the current
directory, so that it is on a disk. Each figure is the median over the rounds; a round runs both, one after the other.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn, optim

import lumbre as lb
from benchmarks.peers.works import cnn


def seconds_of_training(data: tuple[Tensor, Tensor], device: str, resume: lb.Checkpoints | None) -> tuple[float, float]:
    """Seconds of the training pass, and of them what was booked under checkpoints."""
    recipe = lb.setup(cnn, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam).set_opt_hparams(lr=1e-3)
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    fitted = recipe.fit(
        data, epochs=1, batch_size=128, device=device, engine="eager", preflight=False, verbose=False, resume=resume
    )
    return time.perf_counter() - began, fitted.timings.get("checkpoints_seconds", 0.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    rows = given.steps * 128
    data = torch.rand(rows, 1, 28, 28, generator=generator), torch.randint(10, (rows,), generator=generator)
    folder = Path(tempfile.mkdtemp(prefix=".checkpoints-", dir="."))
    plain, kept, waited = [], [], []
    try:
        seconds_of_training((data[0][:1280], data[1][:1280]), given.device, None)
        for index in range(given.rounds):
            run = lb.Checkpoints(folder / str(index), steps=100)
            for which in (0, 1) if index % 2 else (1, 0):
                if which:
                    total, waiting = seconds_of_training(data, given.device, run)
                    kept.append(total)
                    waited.append(waiting)
                else:
                    plain.append(seconds_of_training(data, given.device, None)[0])
            shutil.rmtree(folder / str(index))
    finally:
        shutil.rmtree(folder)
    without, with_them = statistics.median(plain), statistics.median(kept)
    ratios = [b / a - 1 for a, b in zip(plain, kept, strict=True)]
    count = given.steps // 100 + 1  # and one at the end, which is waited for
    print(f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads, {given.steps} steps")
    print(f"without: {without:.3f} s ({without / given.steps * 1e3:.2f} ms a step)")
    print(f"with {count} checkpoints: {with_them:.3f} s, {statistics.median(waited) * 1e3:.0f} ms of it waiting")
    print(f"cost: {statistics.median(ratios):+.2%} in the median of {given.rounds} rounds")
    print(f"      ({', '.join(f'{ratio:+.2%}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
