"""The option `resume` of `fit()`: where checkpoints go, and when."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lumbre.base import OptionError, at_least, one_of, only_numbers

CHANGES = (
    "augment",
    "batch_size",
    "callbacks",
    "device",
    "drop_last",
    "engine",
    "epochs",
    "flush_denormal",
    "hparams",
    "loss",
    "metrics",
    "module",
    "opt_hparams",
    "optimizer",
    "precision",
    "sampler",
    "seed",
    "shuffle",
    "torch",
    "train_data",
    "valid_data",
)
"""What may be named in `allow_changes`."""

_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Where and when `fit(..., resume=...)` keeps the state of a run. A plain path stands for `Checkpoints(path)`.

    A checkpoint is taken when an epoch is over, and within an epoch as often as asked: always between two updates, so
    with `Accumulate` never within a group of batches. The loop waits for a copy of the state on its device; the files
    are written in the background. A checkpoint that is due while another is still being written is taken at the first
    update after that; one at the end of an epoch is then left out, but for the last.

    Args:
        folder: of this run alone.
        steps: take one after so many updates.
        seconds: take one after so many seconds; 300 where neither this nor `steps` is given.
        keep: how many to keep: the newest.
        wait: write each before training goes on.
        allow_changes: what may differ from the run that is found in the folder, such as "train_data" or "callbacks".
            Without it a run goes on only as it began. `epochs` may always grow, unless a schedule counts on them;
            `num_workers`, `verbose`, `preflight` and the number of processes never matter.

    Raises:
        OptionError: a value is impossible.

    Example:
        >>> import lumbre as lb, torch
        >>> keep = lb.Checkpoints("runs/line", steps=100)
        >>> line = lb.setup(torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD)
        >>> line = line.set_hparams(in_features=1, out_features=1).set_opt_hparams(lr=0.1)
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> _ = line.fit((x, 2 * x), epochs=2, resume=keep, verbose=False)
        >>> longer = line.fit(
        ...     (x, 2 * x), epochs=5, resume=keep, verbose=False
        ... )  # goes on after epoch 2
        >>> int(longer.history["epoch"].max())
        5
    """

    folder: str | Path
    steps: int | None = None
    seconds: float | None = None
    keep: int = 3
    wait: bool = False
    allow_changes: Iterable[str] = ()

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps, keep=self.keep)
        only_numbers("more than 0 seconds", 60, lambda seconds: seconds > 0, seconds=self.seconds)
        allowed = (self.allow_changes,) if isinstance(self.allow_changes, str) else tuple(self.allow_changes)
        for name in allowed:
            one_of("allow_changes", name, CHANGES, fix="Correct or remove it")
        object.__setattr__(self, "allow_changes", allowed)
        if self.steps is None and self.seconds is None:
            object.__setattr__(self, "seconds", _SECONDS)


def as_checkpoints(resume: object) -> Checkpoints | None:
    """The option `resume` as an object; None where nothing is kept.

    Raises:
        OptionError: it is neither a path nor `Checkpoints`.
    """
    if resume is None or isinstance(resume, Checkpoints):
        return resume
    if isinstance(resume, (str, Path)) and str(resume):
        return Checkpoints(resume)
    raise OptionError(f"resume={resume!r}", "a folder, or lumbre.Checkpoints(folder, ...)", 'resume="runs/first"')
