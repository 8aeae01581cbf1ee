#!/usr/bin/env bash
# InstanceLoss of pytorch-metric-learning takes the number of a class for the position of a row in the batch.
#
# It gives the products of all embeddings to a cross-entropy, whose targets are the labels as they come: a row of class 2
# is to be most like row 2 of the batch, whatever that shows. So the same rows with the same labels, moved on by one place,
# have another loss, and training depends on the shuffle; 12 rows of three classes that lie well apart have a larger loss
# than rows whose embeddings are all the same. Labels that count the places of the batch are what it is made for, and
# then the order does not matter. Nothing is said for other labels, as long as they are below the number of rows.
#
# Seen with pytorch-metric-learning 2.9.0, torch 2.13.0 (CPU), Python 3.11, Linux x86_64, 2026-11-30: 1.39 and 65.49 for
# classes in two orders, 1.35 for places in both, 2.48 for embeddings that are all the same.
# Exits with 0 while that is so, and with 1 once it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 pytorch-metric-learning==2.9.0
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import pytorch_metric_learning
import torch
from pytorch_metric_learning.losses import InstanceLoss, NTXentLoss

classes = torch.arange(12) % 3
corners = torch.eye(8)[classes] + 0.01 * torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
order = torch.arange(12).roll(1)


def both(loss, labels):
    """The loss of the rows as they are, and in another order."""
    return round(float(loss(corners, labels)), 4), round(float(loss(corners[order], labels[order])), 4)


by_class = both(InstanceLoss(), classes)
by_row = tuple(round(float(InstanceLoss()(rows, torch.arange(12))), 4) for rows in (corners, corners[order]))
same = round(float(InstanceLoss()(torch.ones(12, 8), classes)), 4)
other = both(NTXentLoss(), classes)
print("pytorch-metric-learning", pytorch_metric_learning.__version__, "torch", torch.__version__, sys.version.split()[0])
print("classes as labels", by_class, "places as labels", by_row, "all embeddings the same", same, "NTXentLoss", other)
changed = by_class[0] == by_class[1] or max(by_class) < same or abs(by_row[0] - by_row[1]) > 1e-3
sys.exit(changed or abs(other[0] - other[1]) > 1e-3)
PYTHON
