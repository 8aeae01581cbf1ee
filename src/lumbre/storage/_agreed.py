"""What several processes do each for itself, and only together succeed in."""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from lumbre.base import LumbreError

T = TypeVar("T")

Gather: TypeAlias = Callable[[Any], list[Any]]
"""Gives what each process has, by rank; all of them must ask."""


def alone(value: Any) -> list[Any]:
    """What each process has, where there is one."""
    return [value]


def agreed(gather: Gather, rank: int, attempt: Callable[[], T]) -> T:
    """What `attempt` gives here, once it has succeeded in every process; where it fails in one, all of them raise.

    Raises:
        Exception: as this process's attempt did.
        LumbreError: as that of another did.
        OSError: another one failed in some other way.
    """
    failed: Exception | None = None
    result: Any = None
    try:
        result = attempt()
    except Exception as error:
        failed = error
    report = failed if failed is None or isinstance(failed, LumbreError) else f"{type(failed).__name__}: {failed}"
    others = gather(report)
    if failed is not None:
        raise failed
    for other, said in enumerate(others):
        if isinstance(said, LumbreError):
            raise said
        if said is not None:
            raise OSError(f"in the process of rank {other}: {said}")
    return result
