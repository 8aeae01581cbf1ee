"""Reading a model back from its file."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd as _Convolution  # pyright: ignore[reportPrivateUsage]
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy

from lumbre.base import ArchiveError, RecipeError, as_path, give_buffers, load_state, preserved_randomness, stored_scale
from lumbre.core import History
from lumbre.data import Column, FrameEncoding
from lumbre.devices import Precision, resolve_device
from lumbre.fitted._fitted import Fitted
from lumbre.fitted._intervals import checked_after
from lumbre.processes import join_world
from lumbre.report import record_from
from lumbre.run import (
    BESIDE,
    Beside,
    Session,
    Spec,
    choices_from,
    give_beside,
    loss_function,
    loss_module,
    make_module,
    restore_loss,
)
from lumbre.storage import Archive, checked_model, read_archive


def load(path: str | Path, module: Any = None, *, device: str | torch.device = "auto", **hparams: Any) -> Fitted:
    """Read a model that `fitted.save()` or a `ModelCheckpoint` wrote.

    The file says nothing about code: the class comes from you, and its name in the file is never looked up.

    Args:
        path: the file.
        module: the module class (or factory) of the model; or a recipe with that module, whose loss and metrics
            `evaluate()` then uses; or a ready module, which is filled.
        device: where to put it: "auto", or a device by name.
        **hparams: hyper-parameters that the file could not hold (a class, a function), or that shall differ.

    Raises:
        ArchiveError: the file is not there, damaged, of another kind, or does not fit the module.
        RecipeError: the module cannot be built with the hyper-parameters.

    Example:
        >>> import torch, lumbre as lb
        >>> from torch import nn, optim
        >>> recipe = lb.setup(nn.Linear, loss=nn.MSELoss(), optimizer=optim.SGD)
        >>> recipe = recipe.set_hparams(in_features=2, out_features=1)
        >>> fitted = recipe.fit((torch.zeros(4, 2), torch.zeros(4, 1)), epochs=1, verbose=False)
        >>> fitted.save("line.lumbre")
        >>> lb.load("line.lumbre", nn.Linear).predict(torch.zeros(3, 2)).shape
        torch.Size([3, 1])
    """
    archive = read_archive(as_path(path, 'lumbre.load("model.lumbre", Net)'))
    if "members" in archive.document:
        raise ArchiveError(
            f"{path}, which holds an ensemble", "a file of one model", "lumbre.load_ensemble(path, module)"
        )
    return restored(archive, path, module, device, hparams)


def restored(
    archive: Archive, path: str | Path, module: Any, device: str | torch.device, hparams: Mapping[str, Any]
) -> Fitted:
    """The model of an archive that was read from `path`; the rest as for `load()`."""
    try:
        document = checked_model(archive.document)
        parts = _parts(document)
        history = load_history(document["history"])
        declared = {name: _unmarked(value) for name, value in document["hparams"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArchiveError(
            f"{path}, whose content makes no sense: {error}",
            "a file written by fitted.save(path)",
            "lumbre.load_weights(path) and lumbre.inspect_file(path), for what can be read of it",
        ) from error
    if module is None:
        raise _without_module(path, document["module"])
    if not callable(module) and not isinstance(module, Spec):
        raise RecipeError(
            f"{module!r} as module", "its class, a function that makes it, or a recipe", f'load("{path}", Net)'
        )
    recipe = module if isinstance(module, Spec) else Spec(module=cast("Callable[..., nn.Module]", module))
    if not isinstance(recipe.module, nn.Module):
        recipe = replace(recipe, hparams=_hparams(Path(path), declared, {**recipe.hparams, **hparams}))
    place = resolve_device(device)
    precision = Precision(document["precision"], place)
    with preserved_randomness(place):
        model = make_module(recipe.module, recipe.hparams)
    loss = loss_function(recipe, model, place)
    beside = Beside(model, loss_module(loss, model))
    _fill(Path(path), model, archive)
    model = model.to(place)
    give_beside(model, loss_module(loss, model), archive.values.get(BESIDE, {}))
    model.eval()  # a `train` that somebody wrote may return nothing
    session = Session(
        recipe=recipe,
        model=model,
        loss=loss,
        beside=beside,
        device=place,
        precision=precision,
        choices=choices_from(document, place),
        world=join_world(),
        **parts,
    )
    if session.loss_module is not None:
        session.loss_module.eval()
        restore_loss(session.loss_module, archive.loss, path)
    return Fitted(session, history, document["engine"])


def _parts(document: dict[str, Any]) -> dict[str, Any]:
    """What a session holds beside the module and its recipe."""
    encoding = document["encoding"]
    return {
        "seed": document["seed"],
        "batch_size": document["batch_size"],
        "encoding": None if encoding is None else _encoding(encoding),
        "classes": None if document["classes"] is None else tuple(document["classes"]),
        "record": record_from(document["record"]),
        "after": checked_after(document.get("after", {})),
        "seen": stored_scale(document.get("scale", (None, None))),  # files of lumbre 0.1.0 have none
    }


def load_history(stored: dict[str, Any]) -> History:
    """The history that an archive tells."""
    history = History(**stored)
    history.records = [tuple(record) for record in stored["records"]]
    return history


def _without_module(path: str | Path, name: str) -> RecipeError:
    return RecipeError(
        f"load({str(path)!r}) without a module",
        "the class of the model beside the file, which holds no code",
        f"lumbre.load({str(path)!r}, {name}), where {name} is the class that was trained",
    )


def _hparams(path: Path, stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    merged = {**stored, **given}
    absent = {
        name: value["__not_stored__"]
        for name, value in merged.items()
        if isinstance(value, dict) and "__not_stored__" in value
    }
    if absent:
        raise ArchiveError(
            f"{path}, which could not hold {', '.join(f'{name} ({value})' for name, value in absent.items())}",
            "those hyper-parameters from you, since a file holds no code",
            f"lumbre.load(path, Net, {', '.join(f'{name}=...' for name in absent)})",
        )
    return merged


def _unmarked(value: Any) -> Any:
    """A hyper-parameter as it was given: JSON holds a tuple as a marked list."""
    if isinstance(value, dict):
        if value.keys() == {"__tuple__"}:
            return tuple(map(_unmarked, value["__tuple__"]))
        return {key: _unmarked(part) for key, part in value.items()}
    return [_unmarked(part) for part in value] if isinstance(value, list) else value


def _fill(path: Path, model: nn.Module, archive: Archive) -> None:
    stored: dict[str, Any] = {**archive.tensors, **archive.values}
    stored.pop(BESIDE, None)
    give_buffers(model, archive.tensors)
    _give_shapes(model, archive.tensors)
    wanted: dict[str, Any] = model.state_dict()
    problems = [f"{name} is not in the file" for name in wanted if name not in stored]
    problems += [f"{name} is not in the module" for name in stored if name not in wanted]
    problems += [
        f"{name} has shape {tuple(stored[name].shape)} in the file and {tuple(wanted[name].shape)} in the module"
        for name in wanted
        if _is_tensor(name, stored, wanted) and not is_lazy(wanted[name]) and stored[name].shape != wanted[name].shape
    ]
    problems += _lazy_problems(model, archive.tensors)
    if problems:
        raise ArchiveError(
            f"{path} of a {archive.document['module']} for a {type(model).__name__}: {'; '.join(problems[:5])}",
            "the module whose weights were saved",
            "pass the class, and the hyper-parameters, that it was saved with",
        )
    _make_precise(model, archive.tensors)
    load_state(model, stored)
    for part in model.modules():
        known = next((one for one in (*part.parameters(recurse=False), *part.buffers(recurse=False)) if one.ndim), None)
        if getattr(part, "num_features", None) == 0 and known is not None:  # a lazy norm, which asks for it
            part.num_features = len(known)  # pyright: ignore[reportArgumentType]


def _is_tensor(name: str, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return isinstance(stored.get(name), Tensor) and isinstance(wanted[name], Tensor)


def _make_precise(model: nn.Module, stored: Mapping[str, Tensor]) -> None:
    """Give float32 tensors the float64 that they have in the file: a module is built in torch's default type, which may
    have been another."""
    for name, one in (*model.named_parameters(), *model.named_buffers()):
        value = stored.get(name)
        if value is not None and value.dtype == torch.float64 and one.dtype == torch.float32 and not is_lazy(one):
            one.data = one.data.double()


def _give_shapes(model: nn.Module, stored: Mapping[str, Any]) -> None:
    """Give lazy tensors of modules that are no lazy layers of torch the shapes that stored ones have."""
    for prefix, part in model.named_modules():
        own = dict(part.named_parameters(recurse=False)) | dict(part.named_buffers(recurse=False))
        for name, one in {} if isinstance(part, LazyModuleMixin) else own.items():
            value = stored.get(f"{prefix}.{name}" if prefix else name)
            if is_lazy(one) and isinstance(value, Tensor):
                one.materialize(value.shape)  # pyright: ignore[reportAttributeAccessIssue]


def _lazy_problems(model: nn.Module, stored: Mapping[str, Any]) -> list[str]:
    """What does not fit of lazy layers: they take weights of any shape, but they know how many outputs they give."""
    problems: list[str] = []
    for name, part in model.named_modules():
        place = f"{name}.weight" if name else "weight"
        weight: Any = getattr(part, "weight", None)
        if place not in stored or weight is None or not is_lazy(weight):
            continue
        shape: tuple[int, ...] = tuple(stored[place].shape)
        if isinstance(part, nn.Linear):
            fits = len(shape) == 2 and shape[0] == part.out_features
        elif isinstance(part, _Convolution):
            outputs = part.out_channels // part.groups if part.transposed else part.out_channels
            fits = shape[1 if part.transposed else 0 :][:1] == (outputs,) and shape[2:] == tuple(part.kernel_size)
        else:
            continue
        if not fits:
            problems.append(f"{place} has shape {shape} in the file, which does not fit {part}")
    return problems


def _encoding(stored: dict[str, Any]) -> FrameEncoding:
    def column(parts: dict[str, Any]) -> Column:
        values: dict[str, Any] = {**parts, "levels": tuple(parts["levels"])}
        return Column(**values)

    tuples: dict[str, Any] = {
        "features": tuple(column(parts) for parts in stored["features"]),
        "target": None if stored["target"] is None else column(stored["target"]),
        "more_targets": tuple(map(column, stored.get("more_targets", ()))),
    }
    learned = ("center", "scale", "fill", "origin", "target_center", "target_scale")
    tuples |= {name: tuple(stored[name]) for name in learned if name in stored}
    return FrameEncoding(**{**stored, **tuples})
