"""Fixtures that several folders of tests share. Being here puts ``tests/`` on the import path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from member_rig import Room


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """An empty room; tests add members with real sockets, TLS and files to it."""
    room = Room(tmp_path)
    yield room
    await room.close()
