"""Making a change of a file or of a directory survive a power cut."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO


def flush(file: BinaryIO) -> None:
    """Flushes a file's bytes to disk."""
    file.flush()
    os.fsync(file.fileno())


def publish(path: Path, content: bytes) -> None:
    """Writes a file that is whole at every moment, and on the disk when this returns.

    Its folder may come from anybody: a new file under a name nobody can foresee follows no link.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.draft")
    with draft.open("xb") as file:
        try:
            file.write(content)
            flush(file)
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Flushes the names in a directory to disk, where the system can (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
