"""Short runs that leave no trace: finders of learning rate and batch size, one batch over-fitted, resume proved.

Used by the root modules. They run the loop of `core` on a plan of `run`, and never keep what they trained.
"""

from lumbre.trials._finders import BatchSizes as BatchSizes
from lumbre.trials._finders import LearningRates as LearningRates
from lumbre.trials._finders import OneBatch as OneBatch
from lumbre.trials._finders import find_batch_size as find_batch_size
from lumbre.trials._finders import find_learning_rate as find_learning_rate
from lumbre.trials._finders import overfit_one_batch as overfit_one_batch
from lumbre.trials._verify import ResumeProof as ResumeProof
from lumbre.trials._verify import verify_resume as verify_resume
