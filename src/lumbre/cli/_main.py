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
    explain = commands.add_parser(
        "explain", help="say what a code such as LB007 means, with an example; needs no network"
    )
    explain.add_argument("code", help="the code that stands before a finding, such as LB007")
    _add_new(commands)
    _add_datasets(commands)
    given = vars(parser.parse_args(arguments))
    return _run(given.pop("command"), given)


def _run(command: str, given: dict[str, Any]) -> int:
    if command == "demo":
        from lumbre.cli._demo import run

        run(given["out"])
        return 0
    if command == "new":
        from lumbre.cli._new import new

        return new(given["name"], given["template"])
    if command == "datasets":
        from lumbre.cli._datasets import fetch, show

        if given["what"] == "list":
            return show(given["root"], check=given["check"])
        from lumbre.datasets import fetchable

        return fetch(list(fetchable()) if given["all"] else given["names"], given["root"])
    if command == "explain":
        from lumbre.cli._explain import run as explain_code

        return explain_code(given["code"])
    from lumbre.cli._replay import run as run_again

    return run_again(given.pop("file"), {name: place for name, place in given.items() if place is not None})


def _add_new(commands: Any) -> None:
    new = commands.add_parser(
        "new",
        help="write a small project to begin with: script, notebook, data and a test",
        description="What it writes runs in seconds and without a network.",
    )
    new.add_argument("name", type=Path, help="the folder of the project, which is made")
    new.add_argument("--template", choices=("tabular", "vision", "text"), default="tabular", help="default: tabular")


def _add_datasets(commands: Any) -> None:
    datasets = commands.add_parser("datasets", help="fetch data sets ahead of use, and see which are there")
    what = datasets.add_subparsers(dest="what", required=True)
    fetch = what.add_parser(
        "fetch",
        help="fetch, verify and unpack data sets, so that later no network is needed",
        description="The folder may be a USB stick, or be copied to machines without a network. There, LUMBRE_DATA or "
        "root= says where it is.",
    )
    chosen = fetch.add_mutually_exclusive_group(required=True)
    chosen.add_argument("names", nargs="*", default=[], metavar="NAME", help="see `lumbre datasets list`")
    chosen.add_argument("--all", action="store_true", help="all of them, which is many gigabytes")
    listed = what.add_parser("list", help="the data sets, and which of them are in the folder")
    listed.add_argument("--check", action="store_true", help="read all files and compare their checksums")
    for one in (fetch, listed):
        one.add_argument("--root", type=Path, metavar="FOLDER", help="default: $LUMBRE_DATA, else your cache")


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
