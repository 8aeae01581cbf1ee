"""Paths that are used for as long as a run lasts, whatever becomes of the working directory."""

from pathlib import Path


def folder_of_start(path: str | Path) -> Path:
    """What `path` is relative to when a run starts; nothing for an absolute one, for which there may be no directory.

    Callbacks join it to a path that was given, also where that is a template.
    """
    return Path() if Path(path).is_absolute() else Path.cwd()


def uri_of_start(uri: str) -> str:
    """A tracking URI whose file does not depend on the working directory; one of a server as it is."""
    head, path = ("sqlite:///", uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else ("", uri)
    if not path or ":" in path or path.startswith("databricks"):  # a server, a scheme, memory, a letter of a drive
        return uri
    return f"{head}{Path(path).absolute()}"
