"""The commands and their arguments. Torch is imported only by a command that needs it, so that `--help` is quick."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lumbre.base import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `lumbre`; those of the process where None.

    Returns:
        The exit status: 0 when all went well.
    """
    parser = argparse.ArgumentParser(prog="lumbre", description="From data to a trained model you can trust.")
    parser.add_argument("--version", action="version", version=f"lumbre {__version__}")
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
    _add_replay(commands)
    given = vars(parser.parse_args(arguments))
    if given.pop("command") == "demo":
        from lumbre.cli._demo import run

        run(given["out"])
        return 0
    from lumbre.cli._replay import run as run_again

    return run_again(given.pop("file"), {name: place for name, place in given.items() if place is not None})


def _add_replay(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        help="do the run of a saved model again, and compare weights and history bit for bit",
        description="Seed and options come from the file; recipe and data from a script of yours, which is run for "
        "it: SCRIPT.py:NAME is an object in it, or a function that returns one. Exit status: 0 the same, 1 not, "
        "2 it could not be done.",
    )
    replay.add_argument("file", type=Path, help="a file of fitted.save()")
    for name, needed in (("recipe", True), ("data", True), ("valid-data", False), ("callbacks", False)):
        replay.add_argument(f"--{name}", required=needed, metavar="SCRIPT.py:NAME")
    replay.add_argument("--augment", metavar="SCRIPT.py:NAME")
    replay.add_argument("--sampler", metavar="SCRIPT.py:NAME")
