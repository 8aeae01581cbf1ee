"""Several processes and hosts that share a run: starting, finding one another, exchanging values and gradients.

Used by fitted, resume, run, trials and the root modules. With one process nothing here takes part in a step.
"""

from lumbre.processes._launch import launch as launch
from lumbre.processes._line import Line as Line
from lumbre.processes._peers import network_error as network_error
from lumbre.processes._sharded import Sharded as Sharded
from lumbre.processes._sharded import check_optimizers as check_optimizers
from lumbre.processes._together import Together as Together
from lumbre.processes._world import World as World
from lumbre.processes._world import join_world as join_world
from lumbre.processes._world import lock_patience as lock_patience
