"""Where a run computes, in which precision, and how it holds memory. Nothing here trains."""

from lumbre.devices._device import resolve_device as resolve_device
from lumbre.devices._device import seeder as seeder
from lumbre.devices._launch import launch as launch
from lumbre.devices._line import Line as Line
from lumbre.devices._memory import kept_memory as kept_memory
from lumbre.devices._peers import network_error as network_error
from lumbre.devices._precision import PRECISIONS as PRECISIONS
from lumbre.devices._precision import Precision as Precision
from lumbre.devices._products import onednn_gains as onednn_gains
from lumbre.devices._products import onednn_products as onednn_products
from lumbre.devices._world import World as World
from lumbre.devices._world import join_world as join_world
from lumbre.devices._world import lock_patience as lock_patience
