"""`Learner.fit()` with bar and log off, torch's optimizer in an OptimWrapper; one batch to validate on where the
program has none. Accumulation by its GradientAccumulation; schedules of torch are left out."""

from typing import Any

from fastai.callback.core import Callback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch.utils.data import Subset

from benchmarks.mistakes.plain import Program, Unsupported, Wrapped, plain


def train(program: Program) -> None:
    given = plain(program)
    if given.scheduler is not None:
        raise Unsupported("torch's schedules")
    options: dict[str, Any] = {"bs": given.batch_size, "num_workers": 0}
    loader = DataLoader(given.train, shuffle=given.shuffle, drop_last=given.drop_last, **options)
    valid = Subset(given.train, range(min(given.batch_size, 32))) if given.valid is None else given.valid
    callbacks: list[Callback] = []
    if given.accumulate > 1:
        callbacks.append(GradientAccumulation(n_acc=given.accumulate * given.batch_size))
    learner = Learner(
        DataLoaders(loader, DataLoader(valid, **options)),
        Wrapped(given.model),
        loss_func=given.loss,
        opt_func=lambda *_, **__: OptimWrapper(opt=given.optimizer),
        lr=given.optimizer.param_groups[0]["lr"],
        cbs=callbacks,
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit(given.epochs)
