"""`lumbre explain LB007`: the page of a code, from the package itself."""

import sys

from lumbre.base import OptionError
from lumbre.preflight import explained


def run(code: str) -> int:
    """Print the page of a code.

    Returns:
        0, or 2 where there is no such code.
    """
    try:
        text = explained(code)
    except OptionError as error:
        print(error, file=sys.stderr)
        return 2
    if not sys.stdout.isatty():
        print(text)
        return 0
    from rich.console import Console
    from rich.markdown import Markdown

    Console(width=min(Console().width, 100)).print(Markdown(text))
    return 0
