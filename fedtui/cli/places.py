"""Files and folders that a person named, looked at before any work begins."""

from __future__ import annotations

from pathlib import Path

from fedtui.errors import UsageError

PICTURES = "name a folder of captioned pictures; `fedtui data sample DIR` makes one"
ADAPTER = "name a LoRA file; `fedtui train` and `fedtui export` write such files"


def folder(path: Path, remedy: str = PICTURES) -> Path:
    """The absolute path of a folder. Raises :class:`UsageError` when there is none."""
    found = path.expanduser().absolute()
    if not found.is_dir():
        cause = "it is a file" if found.exists() else ""
        raise UsageError(f"there is no folder {path}", cause, remedy)
    return found


def file(path: Path, what: str = "adapter", remedy: str = ADAPTER) -> Path:
    """The absolute path of a file. Raises :class:`UsageError` when there is none."""
    found = path.expanduser().absolute()
    if not found.is_file():
        cause = "it is a folder" if found.exists() else ""
        raise UsageError(f"there is no {what} {path}", cause, remedy)
    return found
