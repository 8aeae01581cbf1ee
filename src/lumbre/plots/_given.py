"""What a plot is given: a model where records of one are wanted is a common mistake."""

from lumbre.base import OptionError


def see_that_it_is(kind: type, given: object, expected: str, fix: str) -> None:
    """See that `given` is of the kind that a plot draws.

    Raises:
        OptionError: it is not.
    """
    if not isinstance(given, kind):
        raise OptionError(f"a {type(given).__name__}", expected, fix)
