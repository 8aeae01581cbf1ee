"""Several processes and hosts that share a run: starting, finding one another, exchanging values and gradients.

Beside them, workers: processes of this host that each train a model of their own.

Used by fitted, resume, run, trials, tune and the root modules. With one process nothing here takes part in a step.
"""

from lumbre.processes._launch import launch
from lumbre.processes._line import Line
from lumbre.processes._peers import network_error
from lumbre.processes._sharded import Sharded, check_optimizers
from lumbre.processes._together import Together
from lumbre.processes._workers import (
    Worker,
    end_workers,
    in_worker,
    own_device,
    prepare,
    start_worker,
    started_nothing,
    wait_for_any,
    with_threads,
    workers_fork,
)
from lumbre.processes._world import World, join_world, lock_patience
