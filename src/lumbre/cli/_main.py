"""The commands and their arguments. Torch is imported only by a command that needs it, so that `--help` is quick."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `lumbre`; those of the process where None.

    Returns:
        The exit status: 0 when all went well.
    """
    parser = argparse.ArgumentParser(prog="lumbre", description="From data to a trained model you can trust.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo", help="train a classifier of penguins, judge it, draw it, save it and load it again"
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path(),
        help="folder for the picture and the model (default: here)",
    )
    given = parser.parse_args(arguments)
    from lumbre.cli._demo import run

    run(given.out)
    return 0
