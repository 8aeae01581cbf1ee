#!/usr/bin/env bash
# schedulefree.ScheduleFreeWrapper cannot take a step with optimizers of torch that keep a state, its own example among them.
#
# Its docstring wraps torch.optim.RMSprop. The wrapper writes "z" into the state of each parameter before the first step of
# the optimizer inside; torch's optimizers set up their state where it is empty, which it no longer is, and look for keys
# that nobody made. SGD without momentum has no such state.
#
# Seen with schedulefree 1.4.1, torch 2.13.0+cpu, Python 3.11, Linux x86_64, 2026-11-30, the first step:
#   SGD fine, RMSprop KeyError 'square_avg', Adam, AdamW, NAdam and RAdam KeyError 'exp_avg'
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 schedulefree==1.4.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import schedulefree
import torch


def first_step(kind):
    model = torch.nn.Linear(2, 1)
    optimizer = schedulefree.ScheduleFreeWrapper(kind(model.parameters(), lr=0.0025), momentum=0.9)
    optimizer.train()
    model(torch.ones(4, 2)).mean().backward()
    try:
        optimizer.step()
    except KeyError as error:
        return f"KeyError {error}"
    return "fine"


seen = {name: first_step(getattr(torch.optim, name)) for name in ("SGD", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam")}
print("schedulefree", "1.4.1", "torch", torch.__version__, "Python", sys.version.split()[0], seen)
expected = {"SGD": "fine", "RMSprop": "KeyError 'square_avg'"}
expected |= dict.fromkeys(("Adam", "AdamW", "NAdam", "RAdam"), "KeyError 'exp_avg'")
sys.exit(seen != expected)
PYTHON
