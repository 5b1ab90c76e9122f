"""What a room committed can be recomputed by anybody, and no byte of it be changed unnoticed."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from committed_room import committed_room

from fedtui import provenance, rooms
from fedtui.errors import ExitCode, FedtuiError, TrustError, UsageError
from fedtui.training import TrainerProcess
from fedtui.verifying import verify_file, verify_room
from p2p.errors import P2PError
from p2p.rounds.proof import prove, read_ledger
from trainer.protocol import ExportAdapter

FLIPS = 24
"""Bytes changed one at a time; every check takes a tenth of a second."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, rooms.Room]:
    """A room of two rounds, and its last adapter exported with its record."""
    folder = tmp_path_factory.mktemp("committed") / "demo"

    async def make() -> rooms.Room:
        arithmetic = TrainerProcess("arithmetic")
        try:
            founded, room = await committed_room(folder, arithmetic)
            for rank in (0, 2):
                out = folder / f"export-{rank}.safetensors"
                told = await arithmetic.request(
                    ExportAdapter(
                        str(room.paths.adapter(2)), str(out), room.task.model,
                        metadata=rooms.export_metadata(room, 2), rank=rank,
                    )
                )  # fmt: skip
                provenance.write(
                    room, founded.participants[0].identity, 2, out, rank, told["error"]
                )
            return room
        finally:
            await arithmetic.stop()

    room = asyncio.run(make())
    return folder, room


@pytest.fixture
async def arithmetic() -> AsyncIterator[TrainerProcess]:
    worker = TrainerProcess("arithmetic")
    yield worker
    await worker.stop()


def copied(made: tuple[Path, rooms.Room], tmp_path: Path) -> rooms.Room:
    """A room's folder of one's own to damage."""
    _, room = made
    root = tmp_path / "room"
    shutil.copytree(room.paths.root, root)
    return rooms.Room(room.id, room.envelope, room.genesis, room.task, type(room.paths)(root))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


async def test_every_round_gives_the_committed_bytes_again(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess
) -> None:
    verdicts = await verify_room(made[1], arithmetic)
    assert [(v.round, v.outcome, v.inputs, v.signers) for v in verdicts] == [
        (1, "equal", 2, 2),
        (2, "equal", 2, 2),
    ]
    (only,) = await verify_room(made[1], arithmetic, only=2)
    assert only.round == 2


async def test_pruned_inputs_are_said_and_no_failure(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    room = copied(made, tmp_path)
    history = prove(room.envelope, read_ledger(room.paths.root, room.id))
    room.paths.blob(history.rounds[1].result.inputs[0].blob).unlink()
    assert [v.outcome for v in await verify_room(room, arithmetic)] == ["equal", "kept"]
    room.paths.blob(history.rounds[1].result.result_blob).unlink()
    assert [v.outcome for v in await verify_room(room, arithmetic)] == ["equal", "missing"]


async def test_a_changed_byte_in_any_file_of_a_round_is_found(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    room = copied(made, tmp_path)
    for path in sorted((room.paths.root / "blobs").rglob("*")):
        if path.is_file():
            flip(path, path.stat().st_size // 2)
            with pytest.raises(TrustError, match="damaged"):
                await verify_room(room, arithmetic)
            flip(path, path.stat().st_size // 2)
    assert len(await verify_room(room, arithmetic)) == 2


def test_a_changed_byte_in_a_commit_is_found(made: tuple[Path, rooms.Room], tmp_path: Path) -> None:
    room = copied(made, tmp_path)
    commits = read_ledger(room.paths.root, room.id)
    rng = random.Random(0)
    for _ in range(10 * FLIPS):
        number = rng.randrange(2)
        changed = bytearray(commits[number])
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        with pytest.raises(P2PError):
            prove(room.envelope, [*commits[:number], bytes(changed), *commits[number + 1 :]])


async def test_a_ledger_that_was_written_by_hand_is_refused(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    room = copied(made, tmp_path)
    with sqlite3.connect(room.paths.root / "ledger.sqlite") as database:
        database.execute("UPDATE commits SET value=? WHERE round=2", ("0" * 64,))
    with pytest.raises(TrustError, match="ledger"):
        await verify_room(room, arithmetic)
    with sqlite3.connect(room.paths.root / "ledger.sqlite") as database:
        database.execute("DELETE FROM commits WHERE round=1")
    with pytest.raises(TrustError):
        await verify_room(room, arithmetic)


async def test_a_ledger_that_is_not_there_or_not_to_be_read_is_no_contradiction(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    room = copied(made, tmp_path)
    ledger = room.paths.root / "ledger.sqlite"
    ledger.rename(tmp_path / "away.sqlite")
    with pytest.raises(TrustError, match="ends before round"):
        await verify_room(room, arithmetic)
    shutil.rmtree(room.paths.adapters)
    assert await verify_room(room, arithmetic) == []
    ledger.mkdir()
    with pytest.raises(FedtuiError, match="cannot be read") as found:
        await verify_room(room, arithmetic)
    assert found.value.code == ExitCode.FAILED


async def test_a_certified_result_that_its_inputs_do_not_give_is_refused(
    arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    """All voters lied together: every certificate holds, and arithmetic says no."""
    _, room = await committed_room(tmp_path / "liars", arithmetic, 1, lie=True)
    assert len(prove(room.envelope, read_ledger(room.paths.root, room.id)).rounds) == 1
    with pytest.raises(TrustError, match="not what its inputs give"):
        await verify_room(room, arithmetic)


async def test_voters_cannot_agree_to_break_the_rules_of_a_round(
    arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    """A quorum that names its own successors, or an aggregator out of turn, is refused."""
    for number, change in enumerate(
        (
            lambda result: {"next_voters": result.next_voters[:1]},
            lambda result: {"proposer": next(p for p in result.present if p != result.proposer)},
            lambda result: {"parent": "0" * 64},
            lambda result: {"algorithm": "fedavg"},
        )
    ):
        _, room = await committed_room(
            tmp_path / str(number), arithmetic, 1,
            agree_on=lambda result, change=change: result.model_copy(update=change(result)),
        )  # fmt: skip
        with pytest.raises(P2PError, match="departs"):
            prove(room.envelope, read_ledger(room.paths.root, room.id))


async def test_an_exact_export_holds_the_committed_bytes(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess
) -> None:
    folder, room = made
    found = await verify_file(folder / "export-0.safetensors", arithmetic)
    assert found.exact
    assert (found.room, found.round) == (room.id, 2)
    cut = await verify_file(folder / "export-2.safetensors", arithmetic)
    assert not cut.exact
    assert cut.rank == 2
    assert 0 < float(cut.error) < 1


@pytest.mark.parametrize("name", ["export-0.safetensors", "export-0.fedtui.json"])
def test_no_byte_of_an_export_or_its_record_can_change(
    made: tuple[Path, rooms.Room], tmp_path: Path, name: str
) -> None:
    folder, _ = made
    for each in ("export-0.safetensors", "export-0.fedtui.json"):
        shutil.copyfile(folder / each, tmp_path / each)
    adapter = tmp_path / "export-0.safetensors"
    provenance.read(adapter)
    rng = random.Random(1)
    size = (tmp_path / name).stat().st_size
    for position in (0, 9, size - 1, *(rng.randrange(size) for _ in range(FLIPS))):
        flip(tmp_path / name, position)
        with pytest.raises(TrustError):
            provenance.read(adapter)
        flip(tmp_path / name, position)
    provenance.read(adapter)


async def test_a_record_for_another_adapter_does_not_help(
    made: tuple[Path, rooms.Room], arithmetic: TrainerProcess, tmp_path: Path
) -> None:
    """An exporter that signs a file of its own making is found out by the committed bytes."""
    folder, room = made
    out = tmp_path / "mine.safetensors"
    from p2p.identity import Identity

    await arithmetic.request(ExportAdapter(str(room.paths.adapter(1)), str(out), room.task.model))
    stranger = Identity.from_seed(b"s" * 32)
    provenance.write(room, stranger, 2, out, 0, 0.0)
    with pytest.raises(TrustError, match="not proven"):
        await verify_file(out, arithmetic)
    profile = folder / "node-1"
    member = Identity.load_or_create(profile / "identity.key")
    provenance.write(room, member, 2, out, 0, 0.0)
    with pytest.raises(TrustError, match="not what the room committed"):
        await verify_file(out, arithmetic)


def test_without_a_record_there_is_nothing_to_verify(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(UsageError, match="cannot be read"):
        provenance.read(tmp_path / "a.safetensors")
    for text in ("{}", "[]", "{", json.dumps({"genesis": 1, "commits": [], "statement": ""})):
        (tmp_path / "a.fedtui.json").write_text(text)
        with pytest.raises(FedtuiError):
            provenance.read(tmp_path / "a.safetensors")
