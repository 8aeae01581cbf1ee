"""How long something may take that is of use, but not needed."""

from time import perf_counter, thread_time


class Budget:
    """Seconds of this thread's computing, which other processes do not use up.

    So what is done in them does not depend on how busy the machine is. What waits, for a disk or for another machine,
    has three times as long by the clock.

    Args:
        seconds: how long.

    Example:
        >>> from lumbre.base import Budget
        >>> Budget(60).is_over
        False
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._computing, self._clock = thread_time(), perf_counter()

    @property
    def is_over(self) -> bool:
        return thread_time() - self._computing > self.seconds or perf_counter() - self._clock > 3 * self.seconds
