"""Changed bytes: what a check of a room's files must refuse, and where to change them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedtui.rooms import Room
from p2p.rounds.proof import read_ledger

LEDGER = "ledger.sqlite"


@contextmanager
def flipped(path: Path, position: int, bit: int = 0) -> Iterator[None]:
    """The file with one bit of one byte changed; as it was afterwards."""
    with path.open("r+b") as file:
        file.seek(position)
        before = file.read(1)
        file.seek(position)
        file.write(bytes([before[0] ^ (1 << bit)]))
        file.flush()
        try:
            yield
        finally:
            file.seek(position)
            file.write(before)


def checked_files(room: Room) -> list[Path]:
    """Every file besides the ledger that says what the room is or decided."""
    blobs = sorted(path for path in (room.paths.root / "blobs").rglob("*") if path.is_file())
    adapters = sorted(room.paths.adapters.glob("*.safetensors"))
    first = [path for path in (room.paths.genesis, room.paths.initial) if path.is_file()]
    return [*first, *adapters, *blobs]


def positions(size: int, count: int, rng: random.Random) -> list[int]:
    """The first and last bytes, those around a tensor file's header, and others by chance."""
    edges = [0, 7, 8, size // 2, size - 1]
    return [*(p for p in edges if p < size), *(rng.randrange(size) for _ in range(count))]


def commit_positions(room: Room, count: int, rng: random.Random) -> list[int]:
    """Places in the ledger's file that hold a part of a commit, and of nothing else: this node's
    locks and proposals may quote it, also those deleted."""
    data = (room.paths.root / LEDGER).read_bytes()
    found = []
    for payload in read_ledger(room.paths.root, room.id):
        for start in range(0, len(payload) - 64, 64):
            piece = payload[start : start + 64]
            if data.count(piece) == 1:
                place = data.index(piece)
                found += range(place, place + 64)
    return [rng.choice(found) for _ in range(count)] if found else []
