"""Fixtures that several folders of tests share. Being here puts ``tests/`` on the import path."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from member_rig import Room

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("fedtui", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fedtui")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    """An empty room; tests add members with real sockets, TLS and files to it."""
    room = Room(tmp_path)
    yield room
    await room.close()
