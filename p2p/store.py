"""SQLite as a journal that survives kill -9 and power cuts, and one process per directory."""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from p2p.durable import sync_directory
from p2p.errors import StorageError

BUSY_TIMEOUT_S: Final = 5.0
_RESERVE_STEP: Final = 1 << 20
_SIDE_FILES: Final = ("", "-wal", "-shm")
_WITNESS: Final = struct.Struct(">QI")
"""A number of records, and a checksum of it."""


class DirectoryLock:
    """Keeps a second process out of a directory; released when the process ends, however."""

    def __init__(self, directory: Path) -> None:
        """Raises :class:`StorageError` when another process holds the lock."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = directory / "lock"
        try:
            self._file: BinaryIO = path.open("a+b")
        except OSError as error:
            raise StorageError(f"{path} cannot be opened: {error}") from error
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise StorageError(
                f"another fedtui is already running in {directory}",
                remedy="Stop it first, or set FEDTUI_HOME to use another profile.",
            ) from error

    def release(self) -> None:
        self._file.close()


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turns errors of SQLite and of the file system into :class:`StorageError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StorageError(f"{path} cannot be used: {error}") from error


def open_database(path: Path, schema: str) -> sqlite3.Connection:
    """Opens or creates a database whose committed transactions are on the disk.

    Raises:
        sqlite3.DatabaseError: the file is damaged.
        OSError: it cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # Without it macOS acknowledges writes that are still in the drive's cache.
        connection.execute("PRAGMA fullfsync=ON")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        connection.executescript(schema)
    except BaseException:
        connection.close()
        raise
    if os.name == "posix":
        path.chmod(0o600)
    return connection


class Witness:
    """A number on the disk beside a journal: how many records it was seen to hold.

    SQLite takes a damaged write-ahead log for one that ends there, and says nothing. Written in
    place, a dozen bytes of one sector, after each record and before anybody hears of it.
    """

    def __init__(self, path: Path) -> None:
        """Raises OSError when the file cannot be opened."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._file = os.fdopen(descriptor, "r+b", buffering=0)
        if not os.fstat(descriptor).st_size:
            sync_directory(path.parent)

    def read(self) -> int | None:
        """The number; None when there is none, or it was damaged."""
        self._file.seek(0)
        data = self._file.read(_WITNESS.size)
        if len(data) != _WITNESS.size:
            return None
        count, check = _WITNESS.unpack(data)
        return int(count) if check == _check_of(count) else None

    def write(self, count: int) -> None:
        """Returns when the number is on the disk. Raises OSError."""
        self._file.seek(0)
        self._file.write(_WITNESS.pack(count, _check_of(count)))
        _flush_bytes(self._file.fileno())

    def close(self) -> None:
        self._file.close()


# When it was written is of no interest, and would cost as much again.
_flush_bytes: Final = getattr(os, "fdatasync", os.fsync)


def _check_of(count: int) -> int:
    return zlib.crc32(b"records" + count.to_bytes(8, "big"))


class Reserve:
    """Some space kept on the disk for what must still be written when it is full."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size

    def keep(self) -> None:
        """Takes the space, where the disk has it to spare; says nothing where it has not."""
        with suppress(OSError):
            if self._path.exists() and self._path.stat().st_size == self._size:
                return
            try:
                with self._path.open("wb") as file:
                    # Written, not sparse: a hole would hold nothing free.
                    for _ in range(self._size // _RESERVE_STEP):
                        file.write(b"\0" * _RESERVE_STEP)
            except OSError:
                self._path.unlink()

    def release(self) -> bool:
        """Gives the space back; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def quarantine(path: Path) -> Path:
    """Moves a damaged database and its side files away; returns where to."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    target = path.with_name(f"{path.name}.corrupt-{stamp}")
    for suffix in _SIDE_FILES:
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(target.with_name(target.name + suffix))
    return target
