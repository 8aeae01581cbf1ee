"""Memory that is kept during a run, measured in its own process by the page faults of the system."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from lumbre.devices import _memory

pytestmark = pytest.mark.skipif(_memory._glibc() is None, reason="no glibc, or thresholds of one's own")

SCRIPT = """
import json, resource, torch
from lumbre.devices import kept_memory

def pages(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(1 << 24)  # 64 MiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() >> 20

found = {"outside": pages(20)}
with kept_memory():
    pages(1)
    with kept_memory():
        pages(1)
    found["inside"], kept = pages(20), held()
found["given_back"] = kept - held()
print(json.dumps(found))
"""


def measured(**environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_what_is_freed_is_kept_for_the_next_step_and_given_back_in_the_end() -> None:
    found = measured()
    assert found["inside"] < found["outside"] / 10
    assert found["given_back"] >= 60


def test_thresholds_that_the_user_has_set_are_left_alone() -> None:
    found = measured(MALLOC_MMAP_THRESHOLD_=str(1 << 20))
    assert found["inside"] > found["outside"] / 2
