"""What `fit()` does before the loop, in order: options, setting, feeds, net, choices, checks, session, plan.

Start reading at `_build.py`. Used by fitted, resume, trials, tune and the root modules. It puts parts together: the
loop is in `core`, the step in `steps`, and neither imports this package.
"""

from lumbre.run._batches import feed as feed
from lumbre.run._batches import given_data as given_data
from lumbre.run._batches import in_order as in_order
from lumbre.run._batches import share as share
from lumbre.run._build import build as build
from lumbre.run._checkpoints import Checkpoints as Checkpoints
from lumbre.run._checkpoints import as_checkpoints as as_checkpoints
from lumbre.run._choices import choices_from as choices_from
from lumbre.run._net import check_hparams as check_hparams
from lumbre.run._net import has_loss as has_loss
from lumbre.run._net import loss_function as loss_function
from lumbre.run._net import make_module as make_module
from lumbre.run._net import no_loss as no_loss
from lumbre.run._net import no_optimizer as no_optimizer
from lumbre.run._options import Options as Options
from lumbre.run._options import callback_list as callback_list
from lumbre.run._options import options_from as options_from
from lumbre.run._plan import make_meter as make_meter
from lumbre.run._rates import rates_ahead as rates_ahead
from lumbre.run._session import Session as Session
from lumbre.run._spec import Spec as Spec
from lumbre.run._spec import short_name as short_name
