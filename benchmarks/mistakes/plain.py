"""A program of the corpus in terms of torch alone, as any library takes it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader, Dataset, random_split

import lumbre as lb

CORPUS = Path(__file__).parents[2] / "tests" / "preflight"
sys.path.insert(0, str(CORPUS))
from corpus import CASES as CASES  # noqa: E402
from corpus import HEALTHY as HEALTHY  # noqa: E402
from corpus import Program as Program  # noqa: E402
from corpus.harness import share as share  # noqa: E402
from corpus.program import Case as Case  # noqa: E402

_EPOCHS = 3


class Unsupported(Exception):
    """The library has no documented way to run this program."""


class Rows(Dataset):  # pyright: ignore[reportMissingTypeArgument]
    """Pairs of input and target; an input of several parts is a tuple or a dict of them."""

    def __init__(self, input: Any, target: Any) -> None:
        self.input, self.target = input, target

    def __len__(self) -> int:
        return len(first_part(self.input))

    def __getitem__(self, row: int) -> tuple[Any, Any]:
        return taken(self.input, row), taken(self.target, row)


def taken(parts: Any, row: int) -> Any:
    if isinstance(parts, dict):
        return {name: one[row] for name, one in parts.items()}
    return tuple(one[row] for one in parts) if isinstance(parts, tuple) else parts[row]


def first_part(parts: Any) -> Tensor:
    if isinstance(parts, dict):
        return next(iter(parts.values()))
    return parts[0] if isinstance(parts, tuple) else parts


def called(model: Callable[..., Any], input: Any) -> Any:
    """The model of an input, which may have several parts."""
    if isinstance(input, dict):
        return model(**input)
    return model(*input) if isinstance(input, (tuple, list)) else model(input)


class Wrapped(nn.Module):
    """A module that takes its parts as one input."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return called(self.model, x)


@dataclass
class Plain:
    """What a program is made of.

    Attributes:
        model: the module, made.
        loss: a function of prediction and target.
        loss_module: the loss as the program has it, a module where it is one; None where the module has its own.
        optimizer: the only one, over parameters of the module.
        train, valid: rows; no rows to validate on where the program has none.
        test: rows that the program keeps for the last test, where it says so.
        epochs, batch_size, shuffle, drop_last: of the run.
        accumulate: batches for an update.
        scheduler: makes torch's scheduler for the optimizer; None for a steady rate.
        step_on: "batch" or "epoch": when the scheduler steps.
    """

    model: nn.Module
    loss: Callable[[Any, Any], Tensor]
    loss_module: Any
    optimizer: optim.Optimizer
    train: Dataset[Any]
    valid: Dataset[Any] | None
    test: Dataset[Any] | None
    epochs: int
    batch_size: int
    shuffle: bool
    drop_last: bool
    accumulate: int = 1
    scheduler: Callable[[optim.Optimizer], Any] | None = None
    step_on: str = "epoch"
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def loaders(self) -> tuple[Any, Any]:
        """Loaders of training and validation rows; None for no rows."""
        train = DataLoader(self.train, self.batch_size, shuffle=self.shuffle, drop_last=self.drop_last)
        return train, None if self.valid is None else DataLoader(self.valid, self.batch_size)


def plain(program: Program) -> Plain:
    """The program taken apart.

    Raises:
        Unsupported: it has several optimizers, or callbacks that torch has no counterpart of.
    """
    recipe, options = program.recipe, program.options
    model = recipe.module if isinstance(recipe.module, nn.Module) else recipe.module(**recipe.hparams)
    rows = Rows(*program.data)
    if any(isinstance(one, nn.parameter.UninitializedParameter) for one in model.parameters()):
        with torch.no_grad():
            called(model, taken(rows.input, slice(0, 2)))
    loss = recipe.loss if recipe.loss is not None else getattr(model, "loss", None)
    if loss is None:
        raise Unsupported("several losses")
    configure = getattr(model, "configure_optimizers", None)
    hparams = dict(recipe.opt_hparams)
    made = configure(**hparams) if recipe.optimizer is None and configure else None
    if isinstance(made, dict):
        raise Unsupported("several optimizers")
    train, valid = _split(rows, options.get("valid_data"))
    result = Plain(
        model=model,
        loss=loss,
        loss_module=recipe.loss,
        optimizer=made or recipe.optimizer(model.parameters(), **hparams),
        train=train,
        valid=valid,
        test=None if program.test is None else Rows(*program.test),
        epochs=options.get("epochs", _EPOCHS),
        batch_size=options.get("batch_size", 32),
        shuffle=options.get("shuffle", True) is not False,
        drop_last=bool(options.get("drop_last", False)),
        options=hparams,
    )
    callbacks = options.get("callbacks", ())
    for one in callbacks if isinstance(callbacks, (list, tuple)) else (callbacks,):
        _add(result, one)
    return result


def _split(rows: Rows, valid: Any) -> tuple[Dataset[Any], Dataset[Any] | None]:
    if valid is None:
        return rows, None
    if isinstance(valid, float):
        count = round(valid * len(rows))
        parts = random_split(rows, [len(rows) - count, count], torch.Generator().manual_seed(0))
        return parts[0], parts[1]
    return rows, Rows(*valid)


def _add(result: Plain, callback: Any) -> None:
    if isinstance(callback, lb.callbacks.Accumulate):
        result.accumulate = callback.batches
    elif isinstance(callback, lb.callbacks.LRScheduler):
        given = dict(callback.kwargs)
        if callback.scheduler is optim.lr_scheduler.OneCycleLR and not {"total_steps", "epochs"} & given.keys():
            batches = -(-len(result.train) // result.batch_size)  # pyright: ignore[reportArgumentType]
            given["total_steps"] = result.epochs * batches
        result.scheduler = lambda optimizer: callback.scheduler(optimizer, **given)
        result.step_on = callback.step_on
    else:
        raise Unsupported(type(callback).__name__)


def as_arrays(rows: Dataset[Any]) -> tuple[Tensor, Tensor]:
    """Input and target of rows with one part each.

    Raises:
        Unsupported: there are several parts.
    """
    pairs = [rows[row] for row in range(len(rows))]  # pyright: ignore[reportArgumentType]
    if not all(isinstance(part, Tensor) for part in pairs[0]):
        raise Unsupported("an input of several parts")
    return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])
