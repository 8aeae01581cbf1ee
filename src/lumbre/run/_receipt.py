"""The receipt of a run: what `replay()` needs to repeat it, as far as a file can hold that."""

import hashlib
import inspect
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from lumbre.callbacks import Progress, Remarks, TimeLimit
from lumbre.run._options import Options
from lumbre.run._spec import Spec

# Their text is found by their version.
_KNOWN = ("torch", "lumbre", "builtins")
_LONGEST_CODE = 200_000
# Finding the text of a class takes ten milliseconds in a long file; the first is also that of the class as it runs.
_SOURCES: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()


def run_receipt(
    recipe: Spec, model: nn.Module, options: Options, *, device: torch.device, seed: int, batch_size: int
) -> dict[str, Any]:
    """Options, settings of torch and code of a run that is about to begin, as JSON holds it."""
    code = _code_of(recipe, model)
    text = "".join(f"{name}\n{code[name] or ''}\n" for name in sorted(code))
    return {
        "options": {
            "epochs": list(options.epoch_range),
            "valid_data": options.valid_data if isinstance(options.valid_data, (int, float)) else None,
            "valid_data_given": options.valid_data is not None,
            **({} if options.valid_every == 1 else {"valid_every": options.valid_every}),
            **({} if options.max_steps is None else {"max_steps": options.max_steps}),
            "callbacks": [
                type(one).__name__ for one in options.callbacks if not isinstance(one, (Progress, Remarks, TimeLimit))
            ],
            "batch_size": options.batch_size,
            "batch_size_used": batch_size,
            "shuffle": options.shuffle,
            "sampler": options.sampler if isinstance(options.sampler, str) else None,
            "sampler_given": options.sampler is not None,
            **({} if options.weights is None else {"weights_given": True}),
            "drop_last": options.drop_last,
            "num_workers": options.num_workers,
            "augment_given": options.augment is not None,
            "seed": seed,
            "device": str(device),
            "precision": options.precision,
            "flush_denormal": options.flush_denormal,
        },
        "flags": _flags(),
        "code": code,
        "code_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def _flags() -> dict[str, Any]:
    """Settings of torch on which the last bits depend."""
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "default_dtype": str(torch.get_default_dtype()),
        "threads": torch.get_num_threads(),
    }


def _code_of(recipe: Spec, model: nn.Module) -> dict[str, str | None]:
    """Source text by name of the classes and functions of the run that are the user's own; None where it has none."""
    things: list[Any] = [type(part) for part in model.modules()]
    for part in (
        recipe.module,
        recipe.loss,
        recipe.optimizer,
        recipe.response,
        *recipe.metrics.train,
        *recipe.metrics.valid,
    ):
        things.append(part if inspect.isclass(part) or inspect.isroutine(part) else type(part))
    own = [thing for thing in dict.fromkeys(things) if _module_of(thing) not in _KNOWN]
    return {getattr(thing, "__qualname__", repr(thing)): _source(thing) for thing in own}


def _module_of(thing: Any) -> str:
    return str(getattr(thing, "__module__", None) or "builtins").partition(".")[0]


def _source(thing: Any) -> str | None:
    if thing not in _SOURCES:
        try:
            text = inspect.getsource(thing)
        except (OSError, TypeError, SyntaxError):  # typed in at a prompt, or made by a program
            text = None
        _SOURCES[thing] = text if text is None or len(text) <= _LONGEST_CODE else None
    return _SOURCES[thing]
