"""Long answers are read in large pieces, and nothing waits for bytes that do not come."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from member_rig import Room

from p2p import server as server_module
from p2p.limits import CHUNK_BYTES, KIB, LOW_WATER_BYTES
from p2p.pacing import Line
from p2p.reading import LowWater

SIZES = (
    1, LOW_WATER_BYTES, 2 * LOW_WATER_BYTES, 2 * LOW_WATER_BYTES + 1, 100_000, CHUNK_BYTES
)  # fmt: skip


@pytest.fixture
def marks(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[int]]:
    """Per socket the marks that were set."""
    seen: dict[int, list[int]] = {}
    real = LowWater._set

    def note(self: LowWater, mark: int) -> None:
        if self._socket is not None:
            seen.setdefault(self._socket.fileno(), []).append(mark)
        real(self, mark)

    monkeypatch.setattr(LowWater, "_set", note)
    return seen


@pytest.mark.parametrize("piece", [1000, 20_000, 256 * KIB])
async def test_answers_of_any_length_in_any_pieces_arrive(
    room: Room, monkeypatch: pytest.MonkeyPatch, marks: dict[int, list[int]], piece: int
) -> None:
    async def slices(path: Path, wanted: range, line: Line) -> AsyncIterator[memoryview]:
        data = memoryview(path.read_bytes())[wanted.start : wanted.stop]  # noqa: ASYNC240
        for at in range(0, len(data), piece):
            yield data[at : at + piece]
            await asyncio.sleep(0)

    monkeypatch.setattr(server_module, "file_slices", slices)
    ada, bob = await room.add(), await room.add()
    for size in SIZES:
        content = os.urandom(size)
        ref = await ada.store.put(content)
        assert (await bob.client.fetch_chunk(ada.id, ref, 0)).data == content
        assert await bob.client.hello(ada.id, b"short") == b"answer to short"
    assert all(each[-1] == 1 for each in marks.values()), "no connection is left waiting"
    if sys.platform == "linux":
        assert any(LOW_WATER_BYTES in each for each in marks.values())


async def test_who_stops_reading_leaves_no_mark() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        water = LowWater.__new__(LowWater)
        water._socket, water._mark = ours, 1
        water.expect(CHUNK_BYTES)
        if sys.platform == "linux":
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == LOW_WATER_BYTES
        water.clear()
        if sys.platform == "linux":
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    water.expect(CHUNK_BYTES)
    water.clear()
