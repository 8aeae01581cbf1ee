"""`lumbre replay`: the run of a file once more, with recipe and data from a script that the user names.

That script is the one thing that lumbre runs by name, and the name comes from the command line, never from a file.
"""

import inspect
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import lumbre as lb

_RUN_NAME = "lumbre_replay"


def run(file: Path, named: Mapping[str, str]) -> int:
    """Repeat the run of `file` and print what came out.

    Args:
        file: an archive.
        named: "script.py:name" by argument of `lumbre.replay`.

    Returns:
        0 where all is the same to the last bit, 1 where not, 2 where the run could not be repeated.
    """
    scripts: dict[Path, dict[str, Any]] = {}
    try:
        given = {argument: _object(place, scripts) for argument, place in named.items()}
        found = lb.replay(file, given.pop("recipe"), given.pop("data"), **given)
    except lb.LumbreError as error:
        print(error, file=sys.stderr)
        return 2
    print(found)
    return 0 if found.same else 1


def _object(place: str, scripts: dict[Path, dict[str, Any]]) -> Any:
    """What a script calls by the name after the colon; what it gives, where that is a function."""
    file, colon, name = place.rpartition(":")
    path = Path(file)
    if not colon or not path.is_file():
        raise lb.OptionError(f"{place!r}", "a script that is there and a name in it", "script.py:name")
    if path not in scripts:
        scripts[path] = _globals(path, len(scripts))
    if name not in scripts[path]:
        known = [each for each in scripts[path] if not each.startswith("_")]
        raise lb.OptionError(f"{place!r}", f"a name in {path.name}: {', '.join(known)}", f"{path}:NAME")
    found = scripts[path][name]
    return found() if inspect.isfunction(found) else found


def _globals(path: Path, number: int) -> dict[str, Any]:
    name = f"{_RUN_NAME}_{number}"
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        found = runpy.run_path(str(path), run_name=name)
    finally:
        sys.path.pop(0)
    # The text of the classes in a script is found through their module.
    module = ModuleType(name)
    module.__dict__.update(found)
    sys.modules[name] = module
    return found
