"""The raw loop in float32, beside works in bfloat16."""

from dataclasses import replace

from benchmarks.peers.contenders import Scores, raw
from benchmarks.peers.works import Job


def train(job: Job) -> Scores:
    return raw.train(replace(job, precision="float32"))
