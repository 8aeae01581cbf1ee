"""Short runs that leave no trace: finders of learning rate and batch size, one batch over-fitted, resume proved.

Used by the root modules. They run the loop of `core` on a plan of `run`, and never keep what they trained.
"""

from lumbre.trials._finders import (
    BatchSizes,
    LearningRates,
    OneBatch,
    find_batch_size,
    find_learning_rate,
    overfit_one_batch,
)
from lumbre.trials._verify import ResumeProof, verify_resume
