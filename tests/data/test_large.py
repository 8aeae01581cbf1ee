"""Large data: what it costs in time and memory, each case in a process of its own. Figures are printed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MEMORY = """
import json, time, torch, lumbre as lb
torch.set_num_threads(1)

def megabytes(name):
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith(name))
"""

WRITE = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
path, groups, begin = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(begin)
names = [f"x{i}" for i in range(30)] + ["y"]
schema = pa.schema([(name, pa.float32()) for name in names])
with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
    for _ in range(groups):
        columns = [rng.random(65_536, dtype=np.float32) for _ in names]
        writer.write_table(pa.table(columns, names=names), row_group_size=65_536)
"""

READ = (
    MEMORY
    + """
import sys
data = lb.data.from_parquet(sys.argv[1], target="y", standardize=False)
before = megabytes("VmRSS")
began, rows = time.perf_counter(), 0
for batch in data.order(1024, shuffle=True, drop_last=False, seed=0).batches(1):
    input, target = data.fetch(batch, 1)
    rows += len(target)
seconds = time.perf_counter() - began
print(json.dumps({"rows": rows, "seconds": seconds, "before": before, "peak": megabytes("VmHWM")}))
"""
)

FRAME = (
    MEMORY
    + """
import numpy as np, pandas as pd
n, rng = 1_000_000, np.random.default_rng(0)
words = np.array(["alpha", "beta", "gamma", "delta", "epsilon"], dtype=object)
columns = {f"f{i}": rng.normal(size=n) for i in range(10)}
columns |= {f"g{i}": rng.normal(size=n).astype(np.float32) for i in range(5)}
columns |= {f"i{i}": rng.integers(0, 1000, n) for i in range(5)}
columns |= {f"b{i}": rng.random(n) < 0.5 for i in range(4)}
columns |= {f"t{i}": words[rng.integers(0, 5, n)] for i in range(3)}
columns |= {f"c{i}": pd.Categorical.from_codes(rng.integers(0, 8, n), list("abcdefgh")) for i in range(2)}
frame = pd.DataFrame({**columns, "y": words[rng.integers(0, 3, n)]})
del columns
lb.data.from_frame(frame.head(9), target="y")  # what is imported on use
size = frame.memory_usage(deep=True).sum() / 2**20
open("/proc/self/clear_refs", "w").write("5")  # the peak from here on
before, began = megabytes("VmRSS"), time.perf_counter()
data = lb.data.from_frame(frame, target="y")
made = data.encoding.fitted(data.frame).encode(data.frame, need_target=True)
seconds = time.perf_counter() - began
print(json.dumps({"seconds": seconds, "frame": size, "added": megabytes("VmHWM") - before, "width": data.width}))
"""
)


def run(code: str, *arguments: object) -> dict[str, float]:
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return json.loads(found.stdout) if found.stdout else {}


linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from /proc")


@linux
def test_memory_is_flat_while_parquet_grows(tmp_path: Path) -> None:
    sizes = [1, 2, 4, 8]
    while sizes[-1] * 2**30 * 1.2 > shutil.disk_usage(tmp_path).free:
        sizes.pop()
    assert len(sizes) > 1, "too little space on the disk"
    peaks: list[float] = []
    for file in range(sizes[-1]):  # a gigabyte each: 132 groups of 65,536 rows of 31 float32
        run(WRITE, tmp_path / f"{file}.parquet", 132, file)
        if file + 1 in sizes:
            found = run(READ, tmp_path)
            print(f"{file + 1} GB: {found}")
            assert found["rows"] == (file + 1) * 132 * 65_536
            peaks.append(found["peak"] - found["before"])
    window = 8 * 65_536 * 31 * 4 / 2**20
    assert max(peaks) < 5 * window
    assert max(peaks) < 1.5 * peaks[0]  # eight times the data


@linux
def test_a_million_rows_of_a_frame_are_not_copied_again_and_again() -> None:
    found = run(FRAME)
    print(found)
    assert found["added"] + found["frame"] < 3 * found["frame"]
