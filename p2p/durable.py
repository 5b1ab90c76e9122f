"""Making a change of a file or of a directory survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO


def flush(file: BinaryIO) -> None:
    """Flushes a file's bytes to disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Flushes the names in a directory to disk, where the system can (POSIX)."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
