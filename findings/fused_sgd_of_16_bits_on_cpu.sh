#!/usr/bin/env bash
# torch.optim.SGD(fused=True) on a processor does not move weights that are bfloat16 or float16.
#
# One step from zeros with lr=1 is the gradient with its sign turned. Unfused it is, in every dtype, and fused in float32;
# fused in 16 bits the weights stay where they were, without a word. torch 2.14.1 moves them.
#
# Seen with torch 2.13.0+cpu (and 2.12.1), Python 3.11, Linux x86_64, 2026-11-29, elements of 32 that differ from the step
# (the first gradient is 0):
#   float32 0, bfloat16 31, float16 31; the bfloat16 weights after the step: all 0
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch


def moved(dtype, fused):
    weights = torch.nn.Parameter(torch.zeros(32, dtype=dtype))
    weights.grad = torch.arange(32).to(dtype)
    torch.optim.SGD([weights], lr=1.0, fused=fused).step()
    return -weights.detach().float()


wrong = {}
for dtype in (torch.float32, torch.bfloat16, torch.float16):
    assert torch.equal(moved(dtype, fused=False), torch.arange(32).float())
    wrong[str(dtype)] = int((moved(dtype, fused=True) != torch.arange(32)).sum())
print("torch", torch.__version__, "Python", sys.version.split()[0], wrong)
sys.exit(wrong != {"torch.float32": 0, "torch.bfloat16": 31, "torch.float16": 31})
PYTHON
