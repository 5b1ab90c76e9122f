"""What a node said is still there after it was killed, and damage is noticed."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from toy_room import identity, toy_genesis

from p2p.errors import StorageError
from p2p.messages import QC, Commit, Contribution, chain_hash, value_of
from p2p.room import Signature, read_genesis
from p2p.rounds.effects import (
    AttemptMoved,
    Committed,
    Contributed,
    Journal,
    Lock,
    ProposalMade,
    Record,
    Remembered,
    VoteCast,
)
from p2p.rounds.ledger import FILE_NAME, RESERVE_MIB, WITNESS_NAME, Ledger
from p2p.rounds.rules import Facts, make_result
from p2p.rounds.signing import EnvelopeSigner
from p2p.store import DirectoryLock

GENESIS = toy_genesis(3)
ROOM = GENESIS.id
SIGNER = EnvelopeSigner(identity(0), ROOM)


def committed(last: Committed | None) -> Committed:
    facts = Facts.of(read_genesis(GENESIS), ROOM, [] if last is None else [last])
    result = make_result(facts, 0, (), (), facts.voters, (), facts.previous)
    body = result.to_bytes().decode()
    value = value_of(body)
    return Committed(
        facts.round,
        value,
        chain_hash(facts.parent, value),
        Commit(body=body, qc=qc(facts.round, value, "commit")).to_bytes(),
    )


def qc(round_number: int, value: str, phase: str) -> QC:
    return QC.model_validate(
        {
            "round": round_number,
            "attempt": 0,
            "phase": phase,
            "value": value,
            "signatures": (Signature(peer=SIGNER.peer_id, signature="A" * 86),),
        }
    )


def word_of_round(number: int, parent: str) -> list[Record]:
    contribution = SIGNER.seal(
        Contribution(
            peer=SIGNER.peer_id,
            round=number,
            parent=parent,
            plan="1" * 64,
            blob="2" * 64,
            size=5,
            chunks="4" * 64,
            samples=3,
            steps=1,
        )
    )
    value = "3" * 64
    lock = Lock("{}", qc(number, value, "prepare"))
    return [
        Contributed(number, contribution),
        AttemptMoved(number, 2),
        ProposalMade(number, 2, contribution),
        VoteCast(number, 2, "prepare", value),
        VoteCast(number, 2, "commit", value, lock),
    ]


def test_a_reopened_ledger_equals_the_journal_that_wrote_it(tmp_path: Path) -> None:
    journal = Journal()
    first = committed(None)
    records = [*word_of_round(1, ROOM), first, *word_of_round(2, first.commit_hash)]
    ledger = Ledger(tmp_path, ROOM)
    for record in records:
        ledger.write(record)
        journal.apply(record)
        # No close(): what write() returned from is on disk.
        again = Ledger(tmp_path, ROOM)
        assert again.journal() == journal
        again.close()
    assert list(ledger.entries(1)) == [first.payload]
    assert list(ledger.entries(2)) == []
    ledger.close()


def test_a_second_vote_of_one_phase_cannot_even_be_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ROOM)
    ledger.write(VoteCast(1, 0, "prepare", "1" * 64))
    with pytest.raises(StorageError):
        ledger.write(VoteCast(1, 0, "prepare", "2" * 64))
    assert ledger.journal().votes == {(0, "prepare"): "1" * 64}
    ledger.close()


def test_incarnations_grow_with_every_start(tmp_path: Path) -> None:
    seen = [0]
    for _ in range(3):
        ledger = Ledger(tmp_path, ROOM)
        seen.append(ledger.next_incarnation())
        ledger.close()
    assert seen == sorted(set(seen))


def test_a_lost_ledger_does_not_take_incarnations_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ROOM)
    before = ledger.next_incarnation()
    ledger.close()
    (tmp_path / FILE_NAME).unlink()
    ledger = Ledger(tmp_path, ROOM)
    assert ledger.next_incarnation() >= before
    ledger.close()


def test_a_ledger_from_a_backup_is_known_for_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ROOM)
    ledger.write(committed(None))
    ledger.close()
    path = tmp_path / FILE_NAME
    backup = tmp_path / "backup"
    shutil.copyfile(path, backup)
    ledger = Ledger(tmp_path, ROOM)
    assert not ledger.journal().amnesia
    ledger.close()
    backup.replace(path)
    ledger = Ledger(tmp_path, ROOM)
    assert ledger.journal().amnesia
    assert ledger.journal().round == 2
    ledger.close()
    ledger = Ledger(tmp_path, ROOM)
    assert ledger.journal().amnesia
    ledger.close()


def test_a_ledger_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    """It held votes, perhaps: whoever begins with an empty one may vote twice."""
    first = Ledger(tmp_path, ROOM)
    assert not first.journal().amnesia, "a first start has forgotten nothing"
    first.close()
    for path in tmp_path.glob(f"{FILE_NAME}*"):
        path.unlink()
    for _ in range(2):
        ledger = Ledger(tmp_path, ROOM)
        assert ledger.journal().amnesia
        ledger.close()


@pytest.mark.parametrize("damage", ["garbage", "chain", "payload"])
def test_a_damaged_ledger_is_kept_aside_and_the_node_falls_silent(
    tmp_path: Path, damage: str
) -> None:
    ledger = Ledger(tmp_path, ROOM)
    first = committed(None)
    ledger.write(first)
    ledger.write(committed(first))
    ledger.close()
    path = tmp_path / FILE_NAME
    if damage == "garbage":
        path.write_bytes(b"\x00" * 100 + path.read_bytes()[100:])
    else:
        change = f"commit_hash='{'0' * 64}'" if damage == "chain" else "payload=x'00'"
        with sqlite3.connect(path) as database:
            database.execute(f"UPDATE commits SET {change} WHERE round=1")
    ledger = Ledger(tmp_path, ROOM)
    assert ledger.quarantined is not None
    assert ledger.quarantined.exists()
    assert ledger.journal() == Journal(amnesia=True)
    ledger.write(Remembered(1))
    assert not ledger.journal().amnesia
    ledger.close()


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_no_damage_of_what_was_written_last_goes_unnoticed(tmp_path: Path, damage: str) -> None:
    """SQLite takes a damaged write-ahead log for one that ends there."""
    ledger = Ledger(tmp_path, ROOM)
    votes = {(attempt, "prepare"): str(attempt) * 64 for attempt in range(3)}
    for (attempt, _), value in votes.items():
        ledger.write(VoteCast(1, attempt, "prepare", value))
    log = tmp_path / f"{FILE_NAME}-wal"
    killed = {path: path.read_bytes() for path in (tmp_path / FILE_NAME, log)}
    witness = tmp_path / WITNESS_NAME
    killed[witness] = witness.read_bytes()
    ledger.close()
    lost = 0
    for at in range(0, len(killed[log]), 3001):
        for path, data in killed.items():  # In place: a copy is known for one.
            path.write_bytes(data)
        (tmp_path / f"{FILE_NAME}-shm").unlink(missing_ok=True)
        with log.open("r+b") as file:
            if damage == "cut":
                file.truncate(at)
            else:
                file.seek(at)
                file.write(bytes([killed[log][at] ^ 0x10]))
        again = Ledger(tmp_path, ROOM)
        journal = again.journal()
        again.close()
        lost += journal.votes != votes
        assert journal.votes == votes or journal.amnesia, at
    assert lost > 10


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 12])
def test_a_damaged_witness_is_no_reason_to_believe_the_ledger(
    tmp_path: Path, damage: bytes
) -> None:
    ledger = Ledger(tmp_path, ROOM)
    ledger.write(VoteCast(1, 0, "prepare", "1" * 64))
    ledger.close()
    assert not Ledger(tmp_path, ROOM).journal().amnesia
    (tmp_path / WITNESS_NAME).write_bytes(damage)
    ledger = Ledger(tmp_path, ROOM)
    assert ledger.journal().amnesia
    ledger.write(Remembered(1))
    ledger.close()
    assert not Ledger(tmp_path, ROOM).journal().amnesia


def test_a_kill_before_the_witness_was_written_loses_nothing(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ROOM)
    ledger.write(VoteCast(1, 0, "prepare", "1" * 64))
    before = (tmp_path / WITNESS_NAME).read_bytes()
    ledger.write(VoteCast(1, 1, "prepare", "1" * 64))
    ledger.close()
    (tmp_path / WITNESS_NAME).write_bytes(before)
    again = Ledger(tmp_path, ROOM)
    assert not again.journal().amnesia
    assert len(again.journal().votes) == 2
    again.close()


def test_on_a_full_disk_the_reserve_keeps_votes_possible(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ROOM)
    reserve = tmp_path / "reserve"
    assert reserve.stat().st_size == RESERVE_MIB << 20
    # SQLite says "database or disk is full" in the same words for both.
    pages = ledger._database.execute("PRAGMA page_count").fetchone()[0]
    ledger._database.execute(f"PRAGMA max_page_count={pages}")
    vote = VoteCast(1, 0, "prepare", "1" * 64)
    first = committed(None)
    with pytest.raises(StorageError, match="full"):
        ledger.write(replace(first, payload=first.payload + b" " * (1 << 20)))
    assert not reserve.exists()
    ledger._database.execute("PRAGMA max_page_count=1000000")
    ledger.write(vote)
    assert ledger.journal().votes == {(0, "prepare"): "1" * 64}
    ledger.close()
    Ledger(tmp_path, ROOM).close()
    assert reserve.exists()


def test_use_after_close_is_an_error_of_the_family(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, ROOM)
    ledger.close()
    with pytest.raises(StorageError):
        ledger.write(AttemptMoved(1, 1))


def test_one_process_per_directory(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    with pytest.raises(StorageError, match="already running"):
        DirectoryLock(tmp_path)
    lock.release()
    DirectoryLock(tmp_path).release()
