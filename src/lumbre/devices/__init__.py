"""Where a run computes, in which precision, and how it holds memory.

Used by fitted, preflight, run, trials and the root modules. Nothing here trains, or knows a model.
"""

from lumbre.devices._device import resolve_device as resolve_device
from lumbre.devices._device import seeder as seeder
from lumbre.devices._memory import kept_memory as kept_memory
from lumbre.devices._precision import PRECISIONS as PRECISIONS
from lumbre.devices._precision import Precision as Precision
from lumbre.devices._products import onednn_gains as onednn_gains
from lumbre.devices._products import onednn_products as onednn_products
