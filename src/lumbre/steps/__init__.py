"""How one training step is executed: the body, and the engines that run it.

`_body.py` holds the only training backward pass of the library.
"""

from lumbre.steps._call import caller as caller
from lumbre.steps._eager import Eager as Eager
from lumbre.steps._optimizer import build_optimizer as build_optimizer
from lumbre.steps._parameters import freeze as freeze
from lumbre.steps._parameters import param_groups as param_groups
from lumbre.steps._parameters import unfreeze as unfreeze
