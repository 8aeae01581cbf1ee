"""What `fit()` does before the loop, in order: options, setting, feeds, net, choices, checks, session, plan.

Start reading at `_build.py`. Used by fitted, resume, sklearn, trials, tune and the root modules. It puts parts
together: the loop is in `core`, the step in `steps`, and neither imports this package.
"""

from lumbre.run._batches import counted_rows, feed, given_data, in_order, refuse_own_encoding, share
from lumbre.run._beside import BESIDE, Beside, give_beside
from lumbre.run._build import build
from lumbre.run._checkpoints import Checkpoints, as_checkpoints
from lumbre.run._choices import choices_from
from lumbre.run._feeds import augmenter, valid_sets
from lumbre.run._loss import loss_module, restore_loss
from lumbre.run._net import check_hparams, has_loss, loss_function, make_module, no_loss, no_optimizer
from lumbre.run._options import Options, callback_list, check_augment, options_from
from lumbre.run._plan import make_meter
from lumbre.run._rates import rates_ahead
from lumbre.run._session import Session
from lumbre.run._spec import Spec, left_alone, short_name
