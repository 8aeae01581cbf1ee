#!/usr/bin/env bash
# fastparquet writes dates of 2024 as dates of 1970 when it is asked for int96 and the column counts microseconds.
#
# Since pandas 3, pandas.to_datetime and most readers give datetime64[us]. With times="int96", which Spark and Hive read,
# fastparquet puts the microseconds where int96 has nanoseconds, so that all dates shrink a thousandfold towards 1970, and
# says nothing. The same column as datetime64[ns] is right, and so is datetime64[us] with times="int64". pyarrow reads what
# fastparquet wrote as fastparquet does: the file itself is wrong.
#
# Seen with fastparquet 2026.9.0, pandas 3.1.1, pyarrow 26.0.0, Python 3.11, Linux x86_64, 2026-11-30: 2024-01-02 becomes
#   int96 of microseconds 1970-01-20, int96 of nanoseconds 2024-01-02, int64 of microseconds 2024-01-02
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  fastparquet==2026.9.0 pandas==3.1.1 pyarrow==26.0.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import fastparquet
import pandas as pd
import pyarrow
import pyarrow.parquet

folder = Path(sys.argv[1])


def becomes(times, unit):
    """The date that two readers give for 2024-01-02."""
    file = str(folder / f"{times}_{unit}.parquet")
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-02"]).astype(f"datetime64[{unit}]")})
    fastparquet.write(file, frame, times=times)
    own = fastparquet.ParquetFile(file).to_pandas()["day"].iloc[0]
    other = pyarrow.parquet.read_table(file)["day"].to_pylist()[0]
    return str(pd.Timestamp(own).date()), str(pd.Timestamp(other).date())


seen = {kind: becomes(*kind) for kind in (("int96", "us"), ("int96", "ns"), ("int64", "us"))}
versions = fastparquet.__version__, pd.__version__, pyarrow.__version__
print("fastparquet, pandas, pyarrow", *versions, "Python", sys.version.split()[0], seen)
right, shrunk = ("2024-01-02",) * 2, ("1970-01-20",) * 2
sys.exit(seen != {("int96", "us"): shrunk, ("int96", "ns"): right, ("int64", "us"): right})
PYTHON
