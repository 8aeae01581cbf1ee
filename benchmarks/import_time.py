"""What `import lumbre` costs on top of `import torch`. Fresh processes, interleaved; the acceptance is 15 %."""

import platform
import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    import torch

    seconds("import lumbre")  # byte code and disk cache
    rounds = [(seconds("import torch"), seconds("import lumbre")) for _ in range(ROUNDS)]
    ratios = sorted(lumbre / torch_only for torch_only, lumbre in rounds)
    low, high = ratios[ROUNDS // 10], ratios[-1 - ROUNDS // 10]
    print(f"Python {platform.python_version()}, torch {torch.__version__}, n = {ROUNDS}, interleaved")
    print(f"import torch: {statistics.median(t for t, _ in rounds):.3f} s (whole process, median)")
    print(f"lumbre / torch: {statistics.median(ratios):.3f} (10-90 %: {low:.3f} to {high:.3f}); goal <= 1.15")


if __name__ == "__main__":
    main()
