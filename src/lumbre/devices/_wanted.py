"""Settings of the whole process that hold while somebody wants them."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager


class WhileWanted:
    """Contexts that turn a setting on with the first of them, and off with the last, in whatever order they end.

    Args:
        turn_on: turns the setting on, and gives what turns it off.
    """

    def __init__(self, turn_on: Callable[[], Callable[[], None]]) -> None:
        self._turn_on = turn_on
        self._turn_off: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._inside = 0

    @property
    def on(self) -> bool:
        """Whether anybody wants it now."""
        return self._turn_off is not None

    @contextmanager
    def __call__(self) -> Generator[None]:
        with self._lock:
            if self._turn_off is None:
                self._turn_off = self._turn_on()
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    self._turn_off()
                    self._turn_off = None
