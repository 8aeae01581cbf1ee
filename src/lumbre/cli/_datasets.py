"""`lumbre datasets`: data sets fetched ahead of use, and what a folder holds."""

import sys
from collections.abc import Sequence
from pathlib import Path

import lumbre as lb
from lumbre.datasets import fetchable


def fetch(names: Sequence[str], root: Path | None) -> int:
    """Fetch data sets into a folder; one that cannot be had does not keep the others from coming.

    Returns:
        0 where all are there and whole, 1 where one is not, 2 where a name is unknown.
    """
    failed, folder = 0, None
    for name in names:
        try:
            folder = lb.datasets.fetch(name, root=root)
        except lb.OptionError as error:
            print(error, file=sys.stderr)
            return 2
        except (lb.DownloadError, lb.MissingExtraError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed += 1
        else:
            print(f"{name}: verified and unpacked in {folder / name}")
    if folder is not None:
        print(f"To use them: set LUMBRE_DATA={folder}, or pass root={str(folder)!r}. The folder may be copied.")
    return 1 if failed else 0


def show(root: Path | None, *, check: bool) -> int:
    """Print the data sets, what each is, and how it stands in the folder.

    Returns:
        0, or 1 where one is damaged.
    """
    about = fetchable()
    states = lb.datasets.stored(root, check=check)
    for name, state in states.items():
        print(f"{name:22} {state}")
        print(f"    {about[name]}")
    return 1 if any(state.startswith("damaged") for state in states.values()) else 0
