"""One node per profile: a lock file that names its holder and dies with it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from fedtui.errors import UsageError

if sys.platform == "win32":
    import msvcrt

    def _acquire(descriptor: int) -> None:
        # Windows refuses reads of a locked range, so the range lies behind the pid.
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _acquire(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class ProfileLock:
    """Held from :meth:`acquire` to :meth:`release` or the end of the process, even by kill -9."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises :class:`UsageError` naming the process that holds it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _acquire(descriptor)
        except OSError as error:
            holder = holder_of(self._path)
            os.close(descriptor)
            raise UsageError(
                "a node is already running on this profile",
                f"process {holder} holds {self._path}" if holder else f"{self._path} is held",
                "attach with `fedtui`, look with `fedtui status`, or set FEDTUI_HOME for another",
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def holder_of(path: Path) -> int | None:
    """The pid in a lock file; whether it still holds it is another question."""
    try:
        return int(path.read_text().strip())
    except (OSError, ValueError):
        return None
