"""Showing a file with the desktop's own viewer, where there is a desktop."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

OPEN_S = 5.0
"""A viewer's launcher that takes longer is left alone; it may stay in the foreground."""


def opener(environment: Mapping[str, str], platform: str = sys.platform) -> tuple[str, ...] | None:
    """The command that opens a file, or None without a desktop: over ssh, on a bare server."""
    if environment.get("SSH_CONNECTION"):
        return None
    if platform == "darwin":
        return ("open",)
    if platform == "win32":
        return ("explorer",)
    if environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        found = shutil.which("xdg-open")
        return (found,) if found else None
    return None


def argument(path: str) -> str:
    """The path from the root on: one that starts with a dash must not be read as an option."""
    return str(Path(path).absolute())


async def show_outside(path: str) -> bool:
    """Opens ``path`` and says whether that was possible; never raises for a missing viewer."""
    command = opener(os.environ)
    if command is None:
        return False
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            argument(path),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return False
    try:
        return await asyncio.wait_for(process.wait(), OPEN_S) == 0 or sys.platform == "win32"
    except TimeoutError:
        return True
