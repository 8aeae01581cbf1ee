"""How one training step is executed: its parts, and the eager engines that put them together.

`_body.py` holds the only training backward pass of the library.

Used by graphs, run, tune and the root modules. Epochs, events around the step, metrics and files are not known here.
"""

from lumbre.steps._body import Body as Body
from lumbre.steps._body import Clip as Clip
from lumbre.steps._body import Inside as Inside
from lumbre.steps._eager import Eager as Eager
from lumbre.steps._eager import EagerSeveral as EagerSeveral
from lumbre.steps._layout import channels_last as channels_last
from lumbre.steps._layout import runs_channels_last as runs_channels_last
from lumbre.steps._optimizer import build_optimizer as build_optimizer
from lumbre.steps._optimizer import check_options as check_options
from lumbre.steps._parameters import freeze as freeze
from lumbre.steps._parameters import param_groups as param_groups
from lumbre.steps._parameters import unfreeze as unfreeze
from lumbre.steps._products import mean_product as mean_product
from lumbre.steps._special import EagerClosure as EagerClosure
from lumbre.steps._special import EagerCustom as EagerCustom
from lumbre.steps._trial import bfloat16_gain as bfloat16_gain
from lumbre.steps._trial import forward_flops as forward_flops
from lumbre.steps._trial import leaves_parameters_out as leaves_parameters_out
from lumbre.steps._versions import unproved as unproved
