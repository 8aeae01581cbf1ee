"""More than one fit: short runs that leave no trace, cross-validation, ensembles, and fine-tuning.

Used by the root modules. Finders of learning rate and batch size, one batch over-fitted and resume proved run the loop
of `core` on a plan of `run`, and keep nothing. The others call `Recipe.fit`, which they are handed.
"""

from lumbre.trials._cross_validate import CrossValidation, cross_validate
from lumbre.trials._ensemble import Ensemble, fit_ensemble, load_ensemble
from lumbre.trials._finders import (
    BatchSizes,
    LearningRates,
    OneBatch,
    find_batch_size,
    find_learning_rate,
    overfit_one_batch,
)
from lumbre.trials._fine_tune import Parts, fine_tune
from lumbre.trials._verify import ResumeProof, verify_resume
