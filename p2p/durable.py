"""Making a change of a file or of a directory survive a power cut."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import BinaryIO

_BINARY = getattr(os, "O_BINARY", 0)
"""Windows alone translates line ends unless told."""


def flush(file: BinaryIO) -> None:
    """Flushes a file's bytes to disk."""
    file.flush()
    os.fsync(file.fileno())


def publish(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Writes a file that is whole at every moment, and on the disk when this returns.

    Its folder may come from anybody: a new file under a name nobody can foresee follows no link.
    ``mode`` are its permissions, less the process's mask.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    draft = path.with_name(f".{secrets.token_hex(8)}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    with os.fdopen(descriptor, "wb") as file:
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
