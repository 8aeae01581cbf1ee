"""Which layers are meant, what their tensors are called, and along which dimension their units lie."""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase

from torch import Tensor, nn

from lumbre.base import Nested, OptionError, did_you_mean

INPUT, OUTPUT = "input", "output"
"""What goes into the model and comes out of it: names beside those of its layers."""

# These have their units along the second dimension; others with parameters, such as Linear, along the last.
_UNITS_SECOND = (
    nn.modules.conv._ConvNd,  # pyright: ignore[reportPrivateUsage]
    nn.modules.batchnorm._NormBase,  # pyright: ignore[reportPrivateUsage]
    nn.GroupNorm,
)


def choose_layers(module: nn.Module, layers: str | Sequence[str] | None) -> dict[str, nn.Module]:
    """The chosen layers by name, in the order of their definition; a module in several places has its first name.

    Args:
        module: the model.
        layers: names or patterns of names, such as "encoder.*"; "input" and "output" are those of the model. None
            chooses all layers that have no parts.

    Raises:
        OptionError: a name or a pattern fits no layer.
    """
    named = dict(module.named_modules(remove_duplicate=False))
    named.pop("")
    if layers is None:
        chosen = {name for name, part in named.items() if not list(part.children())} or {OUTPUT}
    else:
        chosen = matching(patterns(layers), list(named), [name for name in (INPUT, OUTPUT) if name not in named])
    known = {INPUT: module, **named}
    known.setdefault(OUTPUT, module)
    found: dict[str, nn.Module] = {}
    for name, part in known.items():
        if name in chosen and (part is module or part not in found.values()):
            found[name] = part
    return found


def choose_parameters(module: nn.Module, layers: str | Sequence[str] | None) -> dict[str, nn.Parameter]:
    """The parameters that are chosen by their own name, or lie in a layer that is; shared ones once.

    Raises:
        OptionError: a name or a pattern fits none, or the model has none.
    """
    every = dict(module.named_parameters())
    if not every:
        raise OptionError(
            f"a {type(module).__name__}, which has no parameters", "a module with weights", "activations(...) of it"
        )
    if layers is None:
        return every
    around = {name: _and_around(name) for name in every}
    found = matching(patterns(layers), list(dict.fromkeys(place for places in around.values() for place in places)))
    return {name: value for name, value in every.items() if found & set(around[name])}


def choose_both(
    module: nn.Module, layers: str | Sequence[str] | None
) -> tuple[dict[str, nn.Module], dict[str, nn.Parameter]]:
    """Layers and parameters that are chosen by the same names, each of which must fit one or the other."""
    if layers is None:
        return choose_layers(module, None), dict(module.named_parameters())
    named = [name for name, _ in module.named_modules(remove_duplicate=False) if name]
    every = dict(module.named_parameters())
    reserved = [name for name in (INPUT, OUTPUT) if name not in named]
    found = matching(patterns(layers), [*named, *every], reserved)
    chosen = choose_layers(module, [name for name in (*named, *reserved) if name in found] or None)
    parameters = {name: value for name, value in every.items() if found & set(_and_around(name))}
    return chosen if found & {*named, *reserved} else {}, parameters


def _and_around(name: str) -> list[str]:
    """The name and those of the layers around it: a.b.weight, a.b, a."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def patterns(layers: str | Sequence[str]) -> list[str]:
    """One pattern or several, as a list."""
    wanted = list(layers) if isinstance(layers, Iterable) and not isinstance(layers, str) else [layers]
    if not wanted or not all(isinstance(pattern, str) for pattern in wanted):
        raise OptionError(f"layers={layers!r}", 'names or patterns of names, such as "conv*"', "leave it out for all")
    return wanted


def matching(wanted: Sequence[str], names: Sequence[str], beside: Sequence[str] = ()) -> set[str]:
    """The names that fit any of the patterns, each of which must fit one. Those `beside` must be spelled out."""
    found: set[str] = set()
    for pattern in wanted:
        fits = {name for name in (*names, *beside) if name == pattern}
        fits = fits or {name for name in names if fnmatchcase(name, pattern)}
        if not fits:
            names = [*names, *beside]
            shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
            raise OptionError(
                f"layers={pattern!r}, which fits no layer",
                f"a name or a pattern among: {shown}",
                f'{did_you_mean(pattern, names)}"*" fits all',
            )
        found |= fits
    return found


def named_tensors(name: str, value: Nested) -> Iterator[tuple[str, Tensor]]:
    """The real tensors in `value` with names: `lstm[1][0]`, `head[logits]`; a single one has the layer's name."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from named_tensors(f"{name}[{key}]", part)
    elif isinstance(value, (tuple, list)):
        if len(value) == 1:
            yield from named_tensors(name, value[0])
        else:
            for position, part in enumerate(value):
                yield from named_tensors(f"{name}[{position}]", part)
    elif isinstance(value, Tensor) and not value.is_complex():
        yield name, value


def unit_dims(module: nn.Module) -> dict[nn.Module, int | None]:
    """For each layer the dimension of its units: 1, -1, or None where only the number of dimensions tells.

    A layer without parameters, such as an activation, has that of the layer defined before it.
    """
    dims: dict[nn.Module, int | None] = {}
    last: int | None = None
    for part in module.modules():
        if isinstance(part, _UNITS_SECOND):
            last = 1
        elif list(part.parameters(recurse=False)):
            last = -1
        dims[part] = last
    return dims


def unit_dim(known: int | None, tensor: Tensor) -> int | None:
    """The dimension of the units of a tensor; None where it has none."""
    if tensor.ndim < 2:
        return None
    if known == -1 or (known is None and tensor.ndim == 3):
        return tensor.ndim - 1
    return 1


def row_dim(part: nn.Module | None, name: str, tensor: Tensor, rows: int) -> int | None:
    """The dimension along which the rows of the batch lie in a tensor that is called `name`; None where none does."""
    if isinstance(part, nn.RNNBase) and tensor.ndim == 3:
        # Output and input are (rows, steps, ...) where batch_first is set; states never are.
        expected = 0 if part.batch_first and "[1]" not in name else 1
        return expected if tensor.shape[expected] == rows else None
    return next((dim for dim, size in enumerate(tensor.shape) if size == rows), None)


def ends(part: nn.Module | None) -> tuple[float, float] | None:
    """The values at which a squashing layer is saturated, lowest and highest; None for other layers."""
    kinds: dict[type, tuple[float, float]] = {
        nn.Tanh: (-1.0, 1.0),
        nn.Sigmoid: (0.0, 1.0),
        nn.Hardsigmoid: (0.0, 1.0),
        nn.Softsign: (-1.0, 1.0),
    }
    if isinstance(part, nn.Hardtanh):  # ReLU6 is one
        return None if isinstance(part, nn.ReLU6) else (float(part.min_val), float(part.max_val))
    return kinds.get(type(part))
