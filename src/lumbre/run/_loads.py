"""Saved weights of which none came into a module while it was built."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def watched_loads(into: list[str]) -> Generator[None]:
    """Note calls of `load_state_dict(..., strict=False)` in which no name fits: torch says nothing of them."""
    loads = nn.Module.load_state_dict

    def watched(self: nn.Module, state_dict: Any, *args: Any, **kwargs: Any) -> Any:
        given, own = list(state_dict), list(self.state_dict())
        done = loads(self, state_dict, *args, **kwargs)
        if given and own and not set(given) & set(own):
            into.append(f"{len(given)} saved tensors such as {given[0]!r}, for a module with {own[0]!r}")
        return done

    setattr(nn.Module, "load_state_dict", watched)  # noqa: B010
    try:
        yield
    finally:
        setattr(nn.Module, "load_state_dict", loads)  # noqa: B010
