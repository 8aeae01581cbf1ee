"""The documents of archives and checkpoints: what must be in them, and how older archives become like the newest.

A change of the document raises SCHEMA, adds a function to UPGRADES and a file of the old schema to the tests.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from lumbre.base import ResumeError

SCHEMA = 2

_Document = dict[str, Any]


def _from_1(document: _Document) -> _Document:
    """Schema 1 had versions beside the record, early files no record at all, and none a receipt."""
    environment = document.get("environment", {})
    empty = {"recipe": {}, "hparams": {}, "opt_hparams": {}, "options": {}, "data": {}, "findings": None}
    record = {"receipt": {}, **document.get("record", {**empty, "environment": environment})}
    kept = {name: value for name, value in document.items() if name != "environment"}
    return {**kept, "record": record, "schema": 2}


UPGRADES: Mapping[int, Callable[[_Document], _Document]] = {1: _from_1}

_SEED = re.compile(r"-?\d{1,20}")
_NOTHING = type(None)
_PARTS: Mapping[str, tuple[type, ...]] = {
    "module": (str,),
    "hparams": (dict,),
    "opt_hparams": (dict,),
    "recipe": (str,),
    "encoding": (dict, _NOTHING),
    "classes": (list, _NOTHING),
    "history": (dict,),
    "engine": (str,),
    "precision": (str,),
    "seed": (int,),
    "batch_size": (int,),
    "record": (dict,),
}


def upgraded(document: _Document) -> _Document:
    """A document of any schema up to the newest as one of the newest.

    Raises:
        ValueError: it has none of these schemas.
    """
    while document["schema"] != SCHEMA:
        document = UPGRADES[document["schema"]](document)
    return document


def checked_model(document: _Document) -> _Document:
    """The document of a model, with all its parts.

    Raises:
        ValueError: one is missing, or is of another type than it should be; in words.
    """
    for name, types in _PARTS.items():
        if not isinstance(document.get(name, ...), types):
            raise ValueError(f"its part {name!r} is missing or of the wrong type")
    if not is_history(document["history"]):
        raise ValueError("its history is damaged")
    if document["batch_size"] < 1 or not all(isinstance(name, str) for name in document["classes"] or ()):
        raise ValueError("its batch size or its classes are damaged")
    return document


def checked_run(document: Any) -> _Document:
    """The document of a checkpoint, with all that a run looks at before its state is brought back.

    Raises:
        ResumeError: a part is missing, or is of another type than it should be.
    """
    parts: _Document = document if isinstance(document, dict) else {}
    facts, position = parts.get("facts"), parts.get("position")
    wrong = [
        name
        for name, right in {
            "position": isinstance(position, list) and len(position) == 2 and all(map(_is_count, position)),
            "engine": isinstance(parts.get("engine"), str),
            "channels_last": isinstance(parts.get("channels_last"), bool),
            "facts": isinstance(facts, dict) and all(isinstance(one, str) for one in facts.values()),
            "seed": isinstance(facts, dict) and _SEED.fullmatch(str(facts.get("seed"))) is not None,
            "state": isinstance(parts.get("state"), dict),
        }.items()
        if not right
    ]
    if wrong:
        raise ResumeError(
            f"a checkpoint in which {', '.join(wrong)} makes no sense",
            "a checkpoint as it was written",
            "delete it: the one before it is used then; or take another folder",
        )
    return parts


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**53


def is_history(history: Mapping[str, Any]) -> bool:
    """Whether the parts of a history, of an archive or a checkpoint, have the types that they should."""
    records = history.get("records")
    phases = history.get("phase_seconds", {})
    if not isinstance(records, list) or not isinstance(phases, dict):
        return False
    seconds: list[Any] = [history.get("fit_seconds", 0.0), *phases.values()]
    for name in ("train_seconds", "valid_seconds"):
        several = history.get(name, [])
        if not isinstance(several, list):
            return False
        seconds += several
    return all(map(_is_record, records)) and all(map(_is_time, seconds))


def _is_time(seconds: Any) -> bool:
    return type(seconds) in (int, float) and 0 <= seconds < 1e12  # which NaN is not


def _is_record(row: object) -> bool:
    return isinstance(row, (list, tuple)) and len(row) == 4 and [type(part) for part in row[:3]] == [str, str, int]
