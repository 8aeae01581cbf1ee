"""How long something may take that is of use, but not needed."""

from time import perf_counter, thread_time


class Budget:
    """Seconds of this thread's computing, which other processes do not use up.

    So what is done in them does not depend on how busy the machine is. What waits, for a disk or for another machine,
    has longer by the clock.

    Args:
        seconds: how long.
        waiting: how many times as long by the clock.

    Example:
        >>> from lumbre.base import Budget
        >>> Budget(60).is_over
        False
    """

    def __init__(self, seconds: float, *, waiting: float = 3.0) -> None:
        self.seconds, self.waiting = seconds, waiting
        self._computing, self._clock = thread_time(), perf_counter()

    @property
    def is_over(self) -> bool:
        waited = perf_counter() - self._clock > self.waiting * self.seconds
        return waited or thread_time() - self._computing > self.seconds
