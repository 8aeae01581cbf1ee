#!/usr/bin/env bash
# torch.as_strided without a storage offset, of a view within a compiled function, reads another element.
#
# torch documents that `storage_offset=None` keeps the offset of the input. Eagerly, and with the backend "aot_eager", the
# second element of a tensor stays the second. Compiled by Inductor, a view of a tensor that the function has computed
# loses its offset: the first element is read, without a word.
#
# Seen with torch 2.13.0+cpu, Python 3.11, Linux x86_64, 2026-11-28:
#   eager 20.0, aot_eager 20.0, inductor 2.0
# Exits with 0 while that is so, and with 1 once it has changed. Needs a C++ compiler.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 setuptools==80.9.0
export TORCHINDUCTOR_CACHE_DIR="$folder/cache"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch


def second(x):
    first, last = (x * 2).unbind()
    return torch.as_strided(last, (), ())


x = torch.tensor([1.0, 10.0])
seen = {"eager": second(x).item()}
for backend in ("aot_eager", "inductor"):
    torch.compiler.reset()
    seen[backend] = torch.compile(second, backend=backend)(x).item()
print("torch", torch.__version__, "Python", sys.version.split()[0], seen)
sys.exit(seen != {"eager": 20.0, "aot_eager": 20.0, "inductor": 2.0})
PYTHON
