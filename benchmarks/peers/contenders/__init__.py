"""One contender a file: `train(job)` trains `job.model` as the library's documentation says, and gives what scores.

The first paragraph of each file names what differs from the library's defaults; the report quotes it.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.peers.works import Job

NAMES = ("raw", "expert", "lumbre", "lightning", "keras", "skorch", "fastai", "accelerate", "ignite")
Scores = Callable[[Tensor], Tensor]


class Unsupported(Exception):
    """The library has no documented way to do this work."""


def forward(job: Job) -> Scores:
    """The model itself, or the model under autocast: float32 loops pay nothing for the other precision."""
    if job.precision == "float32":
        return job.model

    def autocast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return job.model(x)

    return autocast
