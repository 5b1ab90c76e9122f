"""Whatever the algorithm and the rule: a committed room verifies, and no longer after one changed
byte anywhere in what says what it decided."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from committed_room import committed_room
from damage import LEDGER, checked_files, commit_positions, flipped, positions

from fedtui import rooms
from fedtui.demo.options import DemoOptions
from fedtui.errors import FedtuiError, TrustError
from fedtui.training import TrainerProcess
from fedtui.verifying import verify_room
from p2p.errors import P2PError
from p2p.rounds.proof import prove, read_ledger

CHOICES = {
    "fedex": DemoOptions(),
    "fedavg": DemoOptions(algorithm="fedavg"),
    "stack": DemoOptions(algorithm="stack"),
    "ffa": DemoOptions(algorithm="ffa"),
    "rolora": DemoOptions(algorithm="rolora"),
    "dense": DemoOptions(algorithm="dense", rule_options=("ema=0.9", "momentum=0.9")),
    "uniform": DemoOptions(rule="uniform"),
    "clip": DemoOptions(rule="clip", rule_options=("clip=0.5",)),
    "multi_krum": DemoOptions(rule="multi_krum", rule_options=("byzantine=0",)),
    "rfa": DemoOptions(rule="rfa", rule_options=("iterations=5",)),
    "centered_clip": DemoOptions(rule="centered_clip", rule_options=("passes=2", "clip=0.5")),
    "fednova": DemoOptions(rule="fednova"),
    "fedbuff": DemoOptions(rule="fedbuff", rule_options=("staleness=0",)),
    "threshold": DemoOptions(rule="threshold", rule_options=("threshold=-0.5",)),
}
SAMPLES = 2
"""Bytes by chance in each file, beside its edges."""
COMMIT_BYTES = 40
ANY_BYTES = 120


@pytest.fixture
async def arithmetic() -> AsyncIterator[TrainerProcess]:
    worker = TrainerProcess("arithmetic")
    yield worker
    await worker.stop()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n == "dense" else ()) for n in CHOICES]
)
async def test_a_room_verifies_until_any_byte_is_changed(
    name: str, arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    choices = DemoOptions(**{**vars(CHOICES[name]), "nodes": 3})
    rounds = 2 if name == "rolora" else 1
    _, room = await committed_room(tmp_path / "room", arithmetic, rounds, choices=choices)
    assert [v.outcome for v in await verify_room(room, arithmetic)] == ["equal"] * rounds
    rng = random.Random(name)
    files = checked_files(room)
    assert len(files) >= 1 + rounds + 4
    for path in files if name == "fedex" else rng.sample(files, 2):
        for position in positions(path.stat().st_size, SAMPLES, rng):
            with flipped(path, position, rng.randrange(8)):
                assert await _refused(room, arithmetic), (path, position)
    places = commit_positions(room, COMMIT_BYTES, rng)
    assert len(places) == COMMIT_BYTES
    for position in places:
        with flipped(room.paths.root / LEDGER, position, rng.randrange(8)):
            assert _told(room) is None, position


def _told(room: rooms.Room) -> list[bytes] | None:
    """The commits that a check of the ledger believes; None when it refuses."""
    try:
        commits = read_ledger(room.paths.root, room.id)
        prove(room.envelope, commits)
    except P2PError:
        return None
    return commits


async def _refused(room: rooms.Room, arithmetic: TrainerProcess) -> bool:
    try:
        again = rooms.Room(**{**vars(room), "envelope": _envelope(room)})
        await verify_room(again, arithmetic)
    except (FedtuiError, P2PError):
        return True
    return False


def _envelope(room: rooms.Room) -> object:
    from p2p.envelope import open_genesis

    return open_genesis(room.paths.genesis.read_bytes())


async def test_no_byte_of_the_ledgers_file_can_say_something_else(
    arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    """SQLite's file also holds free space and this node's own votes. Wherever a bit is changed,
    the commits are refused or are the very same."""
    _, room = await committed_room(tmp_path / "room", arithmetic, 2)
    path, rng, truth = room.paths.root / LEDGER, random.Random(1), _told(room)
    size, refused = path.stat().st_size, 0
    for position in [*range(100), *(rng.randrange(size) for _ in range(ANY_BYTES))]:
        with flipped(path, position, rng.randrange(8)):
            told = _told(room)
        refused += told is None
        assert told in (None, truth), position
    assert refused > 0


async def test_a_ledger_that_was_cut_or_an_adapter_of_no_round_is_refused(
    arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    _, room = await committed_room(tmp_path / "room", arithmetic, 1)
    with flipped(room.paths.root / LEDGER, _count_of_commits(room)):
        with pytest.raises(P2PError, match="is damaged"):
            read_ledger(room.paths.root, room.id)
        with pytest.raises(TrustError):
            await verify_room(room, arithmetic)
    foreign = room.paths.adapter(2)
    foreign.write_bytes(room.paths.adapter(1).read_bytes())
    with pytest.raises(TrustError, match="ends before round 2"):
        await verify_room(room, arithmetic)
    foreign.unlink()
    spelt = json.dumps(json.loads(room.paths.genesis.read_bytes()), indent=1)
    room.paths.genesis.write_text(spelt)
    with pytest.raises(TrustError, match="genesis"):
        await verify_room(room, arithmetic)


def _count_of_commits(room: rooms.Room) -> int:
    """Where SQLite's page of commits says how many it holds: one less, and the last is unseen."""
    with closing(sqlite3.connect(room.paths.root / LEDGER)) as database:
        (root,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name='commits'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    return int((root - 1) * size + 4)
