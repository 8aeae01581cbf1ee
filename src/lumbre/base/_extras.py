"""Optional packages are imported here, when they are used, and nowhere else."""

import importlib
from typing import Any

from lumbre.base._errors import MissingExtraError


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import the optional `module`, or say which extra of lumbre brings it.

    Args:
        module: dotted name of a module that lumbre's own code names (never one read from a file).
        extra: the extra of lumbre that installs it.
        purpose: what it is needed for, as the end of the sentence "... is needed to".
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"a Python without the package {package!r}",
            f"{package}, which is needed to {purpose}",
            f'pip install "lumbre[{extra}]"',
        ) from error
