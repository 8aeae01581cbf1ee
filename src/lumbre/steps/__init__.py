"""How one training step is executed: its parts, and the eager engines that put them together.

`_body.py` holds the only training backward pass of the library.

Used by graphs, preflight, run, tune and the root modules. Epochs, events around the step, metrics and files are not
known here.
"""

from lumbre.steps._body import Body, Clip, Clips, Inside, parameters_of
from lumbre.steps._eager import Eager, EagerSeveral
from lumbre.steps._guard import moderate
from lumbre.steps._layout import channels_last, runs_channels_last
from lumbre.steps._optimizer import build_optimizer, check_options, fuse
from lumbre.steps._parameters import freeze, matrices_and_rest, param_groups, sparse_tables, unfreeze
from lumbre.steps._products import mean_product
from lumbre.steps._special import EagerClosure, EagerCustom
from lumbre.steps._trial import bfloat16_gain, forward_flops, leaves_parameters_out
from lumbre.steps._versions import unproved
