"""Learner with torch's Adam in OptimWrapper (fastai's own has other defaults), log off, one batch to validate on,
without which `fit` fails. The progress bar comes with an import that is left out."""

from functools import partial

from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from torch import optim
from torch.utils.data import TensorDataset

from benchmarks.peers.contenders import Scores, Unsupported
from benchmarks.peers.works import Job


def train(job: Job) -> Scores:
    if job.precision != "float32":
        raise Unsupported("fastai's mixed precision is for CUDA")
    loader = DataLoader(TensorDataset(job.x, job.y), bs=job.batch, shuffle=True, num_workers=0)
    one_batch = TensorDataset(job.x[: job.batch], job.y[: job.batch])
    learner = Learner(
        DataLoaders(loader, DataLoader(one_batch, bs=job.batch, num_workers=0)),
        job.model,
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(OptimWrapper, opt=optim.Adam),
        lr=job.lr,
    )
    with learner.no_logging():
        learner.fit(job.epochs)
    return job.model
