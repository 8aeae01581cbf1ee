"""The summary of a model: its layers as a tree, what they put out, and what they cost."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lumbre.base import Nested, RecipeError
from lumbre.inspection._probe import Probe, Trace, probe

if TYPE_CHECKING:
    import pandas as pd

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
_BYTES = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One module of a model.

    Attributes:
        name: its path in the model, such as "encoder.0"; "" for the model itself.
        type: its class.
        depth: how deep it lies; 0 for the model itself.
        output: shape of its output, of several ones the shapes in their structure; "" where it was not called.
        parameters: numbers in the parameters of it and its parts, without those that belong to a layer above.
        trainable: of these, those that are trained.
        flops: floating-point operations of its calls, its parts' among them.
        note: what is special: shared, frozen, called several times or never.
    """

    name: str
    type: str
    depth: int
    output: str
    parameters: int
    trainable: int
    flops: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Summary:
    """What a model is made of, for the input it was shown.

    Attributes:
        layers: the model and its parts, from the outside in, in the order of their definition.
        parameters: numbers in its parameters, shared ones counted once.
        trainable: of these, those that are trained.
        flops: floating-point operations of one forward pass: two for each multiplication with addition in matrix
            products, convolutions and attention.
        parameter_bytes: memory of the parameters.
        buffer_bytes: memory of the buffers, such as running statistics.
        input_bytes: memory of the input.
        output_bytes: memory of the outputs of the innermost layers, about what training keeps for the backward pass.
    """

    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    flops: int
    parameter_bytes: int
    buffer_bytes: int
    input_bytes: int
    output_bytes: int

    def frame(self) -> "pd.DataFrame":
        """A DataFrame with a row for each layer."""
        import pandas as pd

        return pd.DataFrame([asdict(layer) for layer in self.layers])

    def __str__(self) -> str:
        from rich.console import Console
        from rich.table import Table

        heads = ("layer", "output", "parameters", "FLOPs", "")
        table = Table(box=None, pad_edge=False, header_style="")
        for head in heads:
            table.add_column(head, justify="right" if head in ("parameters", "FLOPs") else "left", no_wrap=True)
        for row in self._rows():
            table.add_row(*row)
        console = Console(width=10_000, color_system=None, markup=False, highlight=False, legacy_windows=False)
        with console.capture() as captured:
            console.print(table)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        return "\n".join([*lines, "", *self._totals()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(cells: tuple[str, ...], tag: str) -> str:
            return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

        head = line(("layer", "output", "parameters", "FLOPs", ""), "th")
        body = "".join(line(tuple(cell.replace("  ", "\u2003") for cell in row), "td") for row in self._rows())
        totals = "".join(f"<p>{escape(total)}</p>" for total in self._totals())
        return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{totals}"

    def _rows(self) -> Iterator[tuple[str, ...]]:
        for layer in self.layers:
            name = layer.name.rpartition(".")[2]
            yield (
                "  " * layer.depth + (f"{name}: {layer.type}" if name else layer.type),
                layer.output,
                f"{layer.parameters:,}" if layer.parameters else "",
                f"{layer.flops:,}" if layer.flops else "",
                layer.note,
            )

    def _totals(self) -> list[str]:
        frozen = self.parameters - self.trainable
        trained = "all trainable" if not frozen else f"{self.trainable:,} trainable, {frozen:,} frozen"
        return [
            f"{self.parameters:,} parameters" + (f" ({trained})" if self.parameters else ""),
            f"{self.flops:,} FLOPs in a forward pass of this input",
            f"memory: parameters {_readable(self.parameter_bytes)}, buffers {_readable(self.buffer_bytes)}, "
            f"input {_readable(self.input_bytes)}, outputs of layers {_readable(self.output_bytes)}",
        ]


def summary(model: Any, data: Nested) -> Summary:
    """The layers of a model with their output shapes, parameters and operations.

    The model is called once with `data`, in evaluation mode and without gradients. Afterwards it is what it was: its
    modes, buffers (running statistics, for example) and hooks, and the random generators. Parameters that are shared
    count once, in the layer that has them first.

    Args:
        model: a module, or what `fit()` gave.
        data: an input of the module: a tensor of shape (rows, ...), one row is enough, or a tuple, list or dict of
            them, as in training. It is brought to the model's device.

    Raises:
        DataError: the module cannot be called with `data`.
        RecipeError: `model` is neither a module nor fitted.

    Example:
        >>> import torch, lumbre as lb
        >>> from torch import nn
        >>> print(lb.summary(nn.Linear(5, 16), torch.zeros(1, 5)))
        layer   output   parameters  FLOPs
        Linear  (1, 16)          96    160
        <BLANKLINE>
        96 parameters (all trainable)
        160 FLOPs in a forward pass of this input
        memory: parameters 384 B, buffers 0 B, input 20 B, outputs of layers 64 B
    """
    module = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    if not isinstance(module, nn.Module):
        raise RecipeError(
            f"a summary of {model!r}",
            "a module, or what fit() gave",
            f"{model.__name__}(...), with its hyper-parameters" if isinstance(model, type) else "summary(net, input)",
        )
    seen = probe(module, data)
    module = seen.module
    parameters = list(module.parameters())
    return Summary(
        layers=tuple(_layers(seen)),
        parameters=sum(map(torch.numel, parameters)),
        trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        flops=seen.flops,
        parameter_bytes=sum(parameter.numel() * parameter.element_size() for parameter in parameters),
        buffer_bytes=sum(buffer.numel() * buffer.element_size() for buffer in module.buffers()),
        input_bytes=seen.input_bytes,
        output_bytes=sum(trace.bytes * trace.calls for part, trace in seen.traces.items() if not list(part.children())),
    )


def _layers(seen: Probe) -> Iterator[Layer]:
    """A layer for each module; one that stands in several places is shown at the first."""
    names: dict[nn.Module, list[str]] = {}
    for name, part in seen.module.named_modules(remove_duplicate=False):
        names.setdefault(part, []).append(name)
    owners: dict[nn.Parameter, tuple[nn.Module, str]] = {}
    for part, (name, *_) in names.items():
        for parameter_name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
            owners.setdefault(parameter, (part, f"{name}.{parameter_name}".lstrip(".")))
    for part, (name, *others) in names.items():
        inside = set(part.modules())
        own = [parameter for parameter in part.parameters() if owners[parameter][0] in inside]
        trace = seen.traces.get(part, Trace())
        yield Layer(
            name=name,
            type=type(part).__name__,
            depth=name.count(".") + 1 if name else 0,
            output=_shown(trace.output) if trace.calls else "",
            parameters=sum(map(torch.numel, own)),
            trainable=sum(parameter.numel() for parameter in own if parameter.requires_grad),
            flops=trace.flops,
            note=_note(part, trace, others, owners),
        )


def _note(part: nn.Module, trace: Trace, others: list[str], owners: dict[nn.Parameter, tuple[nn.Module, str]]) -> str:
    direct = list(part.parameters(recurse=False))
    everything = list(part.parameters())
    borrowed = [owners[parameter][1] for parameter in direct if owners[parameter][0] is not part]
    frozen = [not parameter.requires_grad for parameter in everything]
    notes = [
        f"also {', '.join(others)}" if others else "",
        f"shares {', '.join(borrowed)}" if borrowed else "",
        "frozen" if frozen and all(frozen) else "partly frozen" if any(frozen) else "",
        f"called {trace.calls} times" if trace.calls > 1 else "",
        "not called" if not trace.calls and not isinstance(part, _CONTAINERS) else "",
    ]
    return ", ".join(filter(None, notes))


def _shown(output: Nested) -> str:
    """Shapes in their structure: a tuple of whole numbers is a shape, all else is named."""
    if isinstance(output, dict):
        return "{" + ", ".join(f"{key}: {_shown(part)}" for key, part in output.items()) + "}"
    if isinstance(output, tuple) and all(isinstance(size, int) for size in output):
        return str(tuple(output))
    if isinstance(output, (tuple, list)):
        return f"[{', '.join(map(_shown, output))}]"
    return "None" if output is None else type(output).__name__


def _readable(count: int) -> str:
    """Bytes in the unit that fits, of 1000 each."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_BYTES) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_BYTES[unit]}"
