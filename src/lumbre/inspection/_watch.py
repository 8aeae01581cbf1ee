"""Hooks on layers that show each tensor as it passes."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from lumbre.base import Nested
from lumbre.inspection._layers import INPUT, OUTPUT, named_tensors


class Seen(Protocol):
    """Told of each tensor: its name, the layer (None for the model's own input and output), and the tensor."""

    def __call__(self, name: str, part: nn.Module | None, tensor: Tensor, /) -> None: ...


class Watch:
    """Hooks that show the tensors of chosen layers until `close()`.

    A layer's second call in a forward pass of the model is named `relu#2`.

    Args:
        module: the model.
        chosen: layers by name; "input" and "output" are those of the model.
        seen: told of each tensor, before anything later can change it in place.
        inputs: show what goes into layers instead of what comes out.
    """

    def __init__(self, module: nn.Module, chosen: Mapping[str, nn.Module], seen: Seen, *, inputs: bool = False) -> None:
        self._seen, self._module = seen, module
        self._calls: dict[str, int] = {}
        self._handles: list[Any] = [module.register_forward_pre_hook(self._begin, prepend=True)]
        for name, part in chosen.items():
            if part is module and name == INPUT:
                self._handles.append(module.register_forward_pre_hook(self._going_in(INPUT, None), with_kwargs=True))
            elif part is module and name == OUTPUT and not inputs:
                self._handles.append(module.register_forward_hook(self._coming_out(OUTPUT, None)))
            elif part is not module and inputs:
                self._handles.append(part.register_forward_pre_hook(self._going_in(name, part), with_kwargs=True))
            elif part is not module:
                self._handles.append(part.register_forward_hook(self._coming_out(name, part)))

    def _begin(self, *_: Any) -> None:
        self._calls.clear()

    def _called(self, name: str) -> str:
        self._calls[name] = self._calls.get(name, 0) + 1
        return name if self._calls[name] == 1 else f"{name}#{self._calls[name]}"

    def _going_in(self, name: str, part: nn.Module | None) -> Callable[..., None]:
        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given: Nested = args if not kwargs else {**dict(enumerate(args)), **kwargs}
            self._show(self._called(name), part, given)

        return before

    def _coming_out(self, name: str, part: nn.Module | None) -> Callable[..., None]:
        def after(_: nn.Module, args: Any, output: Nested) -> None:
            self._show(self._called(name), part, output)

        return after

    def _show(self, name: str, part: nn.Module | None, value: Nested) -> None:
        for full_name, tensor in named_tensors(name, value):
            self._seen(full_name, part, tensor)

    def close_after_forward(self) -> None:
        """Close by itself at the end of the model's next call, whether it returns or fails."""
        self._handles.append(self._module.register_forward_hook(lambda *_: self.close(), always_call=True))

    def close(self) -> None:
        """Take the hooks away."""
        while self._handles:
            self._handles.pop().remove()
