"""Trains in the processes that torchrun starts, and starts again; of life n one process is killed at a step.

python elastic.py FOLDER [RANK:STEP ...]
"""

import os
import sys
from pathlib import Path

import torch
from test_going_on import die_at, fit

if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, deaths, life = Path(sys.argv[1]), sys.argv[2:], int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    killers = [die_at(int(step), int(rank)) for rank, step in (one.split(":") for one in deaths[life : life + 1])]
    fit(folder / "run", *killers, out=folder / f"{os.environ['RANK']}.out")
    (folder / f"{os.environ['RANK']}.lives").write_text(str(life))
