"""Ending with one's parent: a process started with a pipe as stdin stops when that pipe closes.

The kernel closes it however the parent ends, kill -9 included, on every system.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress

_READ_BYTES = 4096
_STDIN = 0


def when_parent_ends(action: Callable[[], None]) -> None:
    """Calls ``action`` in the running event loop once stdin has reached its end."""
    loop = asyncio.get_running_loop()

    def wait() -> None:
        # os.read and a daemon thread: a buffered reader would hold a lock at interpreter exit.
        with suppress(OSError):
            while os.read(_STDIN, _READ_BYTES):
                pass
        with suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(action)

    threading.Thread(target=wait, name="parent", daemon=True).start()
