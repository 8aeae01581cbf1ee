#!/usr/bin/env bash
# A reloaded Adahessian of timm does not continue as the one that was saved: its state has not the place of its draws.
#
# Adahessian estimates the diagonal of the Hessian by random signs, from a torch.Generator of its own that is seeded when
# the optimizer is made. state_dict() has the moments and not that generator, so a training that is saved and taken up
# again begins with the first draws once more: with the same weights, moments and batches the next update is another one.
# AdamW beside it, which draws nothing, continues to the same bits.
#
# Seen with timm 1.0.31, torch 2.13.0+cpu, Python 3.11, Linux x86_64, 2026-11-30, three updates, then one more from a saved
#   state and without a stop: Adahessian differs, torch's AdamW is the same to the last bit
# The optimizer's module is loaded by its file, since the package wants a torchvision, which must suit the torch that is there.
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip() { "$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
pip torch==2.13.0 numpy==2.4.6
pip --no-deps timm==1.0.31
"$folder/venv/bin/python" - <<'PYTHON'
import copy
import importlib.metadata
import importlib.util
import sys

import torch
from torch import nn

package = importlib.util.find_spec("timm").submodule_search_locations[0]
spec = importlib.util.spec_from_file_location("adahessian", f"{package}/optim/adahessian.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
KINDS = {"Adahessian": module.Adahessian, "AdamW": torch.optim.AdamW}

x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
y = (x**2).sum(1, keepdim=True)


def made(name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    return net, KINDS[name](net.parameters(), lr=0.05, weight_decay=0.0)


def update(net, optimizer):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(net(x), y)
    loss.backward(create_graph=getattr(optimizer, "is_second_order", False))
    optimizer.step()


def continues(name):
    """Whether an update after loading the saved state is that of the optimizer that was never stopped."""
    net, optimizer = made(name)
    for _ in range(3):
        update(net, optimizer)
    weights, state = copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict())
    again, loaded = made(name)
    again.load_state_dict(weights)
    loaded.load_state_dict(state)
    for part in ((net, optimizer), (again, loaded)):
        update(*part)
    return all(torch.equal(one, other) for one, other in zip(net.parameters(), again.parameters(), strict=True))


seen = {name: continues(name) for name in KINDS}
print("timm", importlib.metadata.version("timm"), "torch", torch.__version__, "Python", sys.version.split()[0], seen)
sys.exit(seen != {"Adahessian": False, "AdamW": True})
PYTHON
