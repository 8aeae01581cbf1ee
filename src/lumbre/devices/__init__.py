"""Where a run computes, in which precision, and how it holds memory.

Used by fitted, preflight, resume, run, trials and the root modules. Nothing here trains, or knows a model.
"""

from lumbre.devices._denormals import can_flush, flushed_denormals
from lumbre.devices._device import Seeder, resolve_device, same_chance, seeder
from lumbre.devices._memory import kept_memory
from lumbre.devices._precision import PRECISIONS, Precision
from lumbre.devices._products import onednn_gains, onednn_products
