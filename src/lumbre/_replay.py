"""`replay()` repeats a run from the receipt in its file, and reports what is the same and what differs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumbre._recipe import Recipe
from lumbre.base import ArchiveError, OptionError, as_path
from lumbre.core import Callback, Context, History
from lumbre.fitted import load_history
from lumbre.storage import checked_model, read_archive

# Seconds are never the same, and are no part of what a run gives.
_OPTIONS = ("batch_size", "shuffle", "drop_last", "num_workers", "device", "precision")


@dataclass(frozen=True, slots=True)
class Replay:
    """What a run that was done again gave; it prints as a page.

    Attributes:
        same: whether weights and history are the same to the last bit.
        weights: tensors that differ: by how much at most, or what else, by name.
        history: values that differ: (stored, found) by "set_metric, epoch n".
        changed: what else differs, which may be why: (stored, found) by name. Data, versions, code, settings.
        compared: (tensors, values), how many were compared.
    """

    same: bool
    weights: Mapping[str, str]
    history: Mapping[str, tuple[Any, Any]]
    changed: Mapping[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    compared: tuple[int, int] = (0, 0)

    def __repr__(self) -> str:
        tensors, values = self.compared
        same_tensors, same_values = tensors - len(self.weights), values - len(self.history)
        lines = [f"Replay: {'the same to the last bit' if self.same else 'not the same'}"]
        lines.append(f"  {same_tensors} of {tensors} tensors, {same_values} of {values} values of the history")
        lines += [f"  {name}: {text}" for name, text in list(self.weights.items())[:10]]
        lines += [f"  {name}: {old} before, {new} now" for name, (old, new) in list(self.history.items())[:10]]
        if self.changed:
            lines.append("  changed since:" if not self.same else "  changed since, without effect:")
            lines += [f"    {name}: {_line(old)} -> {_line(new)}" for name, (old, new) in self.changed.items()]
        return "\n".join(lines)


def replay(
    path: str | Path,
    recipe: Recipe,
    data: Any,
    *,
    valid_data: Any = None,
    callbacks: Callback | Iterable[Callback] = (),
    augment: Any = None,
    sampler: Any = None,
    weights: Any = None,
) -> Replay:
    """Do the run again that a file tells of, and compare weights and history bit for bit.

    Seed, epochs, batch size, precision, engine and the other options come from the receipt in the file. Recipe and
    data come from you, for a file holds neither code nor rows; so do those options that are objects, where the run
    had them. Afterwards what may have made a difference is named: other data (by fingerprint), code, versions,
    settings of torch.

    Args:
        path: a file of `fitted.save()` or a `ModelCheckpoint`.
        recipe: that of the run.
        data: that of the run.
        valid_data: as for `fit()`; a fraction is in the receipt.
        callbacks: as for `fit()`.
        augment: as for `fit()`.
        sampler: as for `fit()`; "balanced" is in the receipt.
        weights: as for `fit()`.

    Raises:
        ArchiveError: the file is not there, damaged, or has no receipt.
        OptionError: something is missing that the run had.

    Example:
        >>> import torch, lumbre as lb
        >>> recipe = lb.setup(
        ...     torch.nn.Linear, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD
        ... )
        >>> recipe = recipe.set_hparams(in_features=2, out_features=1)
        >>> data = torch.ones(4, 2), torch.ones(4, 1)
        >>> recipe.fit(data, epochs=2, verbose=False).save("line.lumbre")
        >>> lb.replay("line.lumbre", recipe, data)
        Replay: the same to the last bit
          2 of 2 tensors, 2 of 2 values of the history
    """
    archive = read_archive(as_path(path, 'lumbre.replay("model.lumbre", ...)'))
    try:
        document = checked_model(archive.document)
        record: dict[str, Any] = document["record"]
        stored = load_history(document["history"])
        receipt: dict[str, Any] = record["receipt"]
        if not receipt:
            raise ValueError("it was written before files had receipts")
        given = {
            "valid_data": valid_data,
            "callbacks": callbacks,
            "augment": augment,
            "sampler": sampler,
            "weights": weights,
        }
        options: dict[str, Any] = _options(receipt["options"], str(document["engine"]), given)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise ArchiveError(
            f"{path}, which has no receipt that can be followed: {error}",
            "a file of a run that was made by fit()",
            "lumbre.inspect_file(path), which shows what it tells of the run",
        ) from error
    at = _At(stored.epochs)
    options["callbacks"] = [*options["callbacks"], at]
    fitted = recipe.fit(data, **options, verbose=False)
    session, history = fitted._session, fitted._history  # pyright: ignore[reportPrivateUsage]
    # A checkpoint was written before the run was over.
    state: dict[str, Any] = fitted.model.state_dict() if history.epochs <= stored.epochs else at.weights
    weights = {name: one for name, one in state.items() if isinstance(one, Tensor)}
    differences = _differences(archive.tensors, weights)
    differing, count = _history(stored, history)
    found = session.record
    changed: dict[str, tuple[Any, Any]] = {}
    _note(changed, "data", _fingerprints(record.get("data", {})), {k: v.fingerprint for k, v in found.data.items()})
    for name, new in (("recipe", found.recipe), ("hparams", found.hparams), ("opt_hparams", found.opt_hparams)):
        _note(changed, name, record.get(name), dict(new))
    for name, new in (("environment", found.environment), ("flags", found.receipt["flags"])):
        _note_parts(changed, record.get(name) if name == "environment" else receipt.get(name), new)
    _note_parts(changed, receipt.get("code"), found.receipt["code"], "code of ")
    return Replay(not differences and not differing, differences, differing, changed, (len(archive.tensors), count))


class _At(Callback):
    """The weights at the end of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.weights: dict[str, Tensor] = {}

    def on_epoch_end(self, ctx: Context) -> None:
        """Keep a copy, at the epoch that is wanted."""
        if ctx.epoch == self.epoch:
            state: dict[str, Any] = ctx.model.state_dict()  # a module may add what is no tensor
            self.weights = {name: one.detach().clone() for name, one in state.items() if isinstance(one, Tensor)}


def _options(stored: Mapping[str, Any], engine: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `fit()`: those of the receipt, and objects from the caller."""
    callbacks = given["callbacks"]
    callbacks = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
    needed = {
        "valid_data": (stored["valid_data"] is None and stored["valid_data_given"], "data to validate on"),
        "augment": (stored["augment_given"], "an augmentation"),
        "sampler": (stored["sampler"] is None and stored["sampler_given"], "weights of rows to draw them by"),
        "weights": (stored.get("weights_given", False), "weights of rows"),
        "callbacks": (bool(stored["callbacks"]) and not callbacks, f"callbacks: {', '.join(stored['callbacks'])}"),
    }
    for name, (is_needed, what) in needed.items():
        if is_needed and (given[name] is None or name == "callbacks"):
            raise OptionError(f"a replay without {name}, of a run that had {what}", "the same again", f"{name}=...")
    fewest, most = stored["epochs"]
    return {
        **{name: stored[name] for name in _OPTIONS},
        "epochs": (fewest, most) if fewest else most,
        "seed": stored["seed"],
        "engine": _engine(engine),
        "valid_data": given["valid_data"] if stored["valid_data"] is None else stored["valid_data"],
        "sampler": given["sampler"] if stored["sampler"] is None else stored["sampler"],
        "augment": given["augment"],
        "weights": given["weights"],
        "callbacks": callbacks,
        "max_steps": stored.get("max_steps"),
        "flush_denormal": stored.get("flush_denormal", False),
        "valid_every": stored.get("valid_every", 1),
    }


def _engine(told: str) -> str:
    """The option that gives the engine which an archive tells of; "auto" alone chooses layout and products."""
    name = told.partition(":")[0]
    chosen = any(words in told for words in ("; channels last", "; products by oneDNN"))
    return name if name in ("compiled", "cuda_graph") else "auto" if chosen else "eager"


def _differences(stored: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, str]:
    differences = {name: "not in the module" for name in stored if name not in found}
    differences |= {name: "not in the file" for name in found if name not in stored}
    for name, old in stored.items():
        new = found.get(name, old).detach().cpu()
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            differences[name] = f"{old.dtype} {tuple(old.shape)} before, {new.dtype} {tuple(new.shape)} now"
        elif not torch.equal(_bytes(old), _bytes(new)):
            gap = (old.double() - new.double()).abs().max().item() if not old.is_complex() else float("nan")
            differences[name] = f"{gap:.3g} apart at most"
    return differences


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)


def _history(stored: History, found: History) -> tuple[dict[str, tuple[Any, Any]], int]:
    """Values that differ, of the epochs that the file tells of, and how many there are."""
    old, new = (
        {f"{row[0]}_{row[1]}, epoch {row[2]}": row[3] for row in history.records if row[2] <= stored.epochs}
        for history in (stored, found)
    )
    names = dict.fromkeys([*old, *new])
    # By their text, in which NaN is like itself and every bit of a float is told.
    pairs = {name: (old.get(name), new.get(name)) for name in names}
    return {name: (a, b) for name, (a, b) in pairs.items() if json.dumps(a) != json.dumps(b)}, len(names)


def _fingerprints(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part.get("fingerprint") for name, part in data.items()}


def _note(changed: dict[str, tuple[Any, Any]], name: str, old: Any, new: Any) -> None:
    if old != new:
        changed[name] = (old, new)


def _note_parts(changed: dict[str, tuple[Any, Any]], old: Any, new: Mapping[str, Any], title: str = "") -> None:
    before = old if isinstance(old, dict) else {}
    for name in dict.fromkeys([*before, *new]):
        _note(changed, f"{title}{name}", before.get(name), new.get(name))


def _line(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"
