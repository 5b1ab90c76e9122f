"""The journal of one node in one room, on disk: commits for ever, votes for the current round.

Every record is one transaction. A file that does not pass SQLite's check, or whose chain of
commits does not add up, is moved away and the node starts silent (:attr:`Journal.amnesia`).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

from p2p.envelope import Envelope, open_envelope
from p2p.errors import ProtocolError, StorageError
from p2p.limits import MAX_LARGE_MESSAGE_BYTES
from p2p.messages import Commit, Evidence, Phase, Prepared, chain_hash, parse, value_of
from p2p.operations import Operation, read_payload
from p2p.rounds.effects import (
    Accused,
    AttemptMoved,
    Committed,
    Contributed,
    Forgot,
    Journal,
    Lock,
    OperationHeard,
    OperationsSettled,
    ProposalMade,
    Record,
    Remembered,
    VoteCast,
)
from p2p.store import Reserve, Witness, open_database, quarantine, translated

_log = logging.getLogger(__name__)

FILE_NAME: Final = "ledger.sqlite"
WITNESS_NAME: Final = "records"
_ENTRIES_PER_READ: Final = 64
RESERVE_MIB: Final = 2
"""Kept for votes and commits when the disk is full. A round of five nodes writes some 20 kB."""
_INTEGER: Final = (1 << 63) - 1
MAX_INCARNATION: Final = 1 << 32
"""Above it a number of refutations would no longer fit into a message."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS commits (
    round INTEGER PRIMARY KEY, value TEXT NOT NULL, commit_hash TEXT NOT NULL,
    payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS votes (
    round INTEGER, attempt INTEGER, phase TEXT, value TEXT NOT NULL,
    PRIMARY KEY (round, attempt, phase));
CREATE TABLE IF NOT EXISTS proposals (
    round INTEGER, attempt INTEGER, envelope BLOB NOT NULL, PRIMARY KEY (round, attempt));
CREATE TABLE IF NOT EXISTS locks (
    round INTEGER PRIMARY KEY, prepared BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS contributions (
    round INTEGER PRIMARY KEY, envelope BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS evidence (
    round INTEGER, offence TEXT, accused TEXT, payload BLOB NOT NULL,
    PRIMARY KEY (round, offence, accused));
CREATE TABLE IF NOT EXISTS operations (id TEXT PRIMARY KEY, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


def _open_envelope(data: bytes, room_id: str) -> Envelope:
    return open_envelope(data, room_id, max_bytes=MAX_LARGE_MESSAGE_BYTES)


class Ledger:
    """Opens the journal in ``directory``; may be used from several threads.

    ``room_id`` begins the chain, ``open_`` checks the envelopes in it. :attr:`quarantined` names a
    damaged file that was moved away.
    """

    def __init__(
        self,
        directory: Path,
        room_id: str,
        *,
        open_: Callable[[bytes, str], Envelope] = _open_envelope,
    ) -> None:
        self._path = directory / FILE_NAME
        self._room_id = room_id
        self._open_envelope = open_
        # A cancelled wait leaves its thread running: writes and close() must still take turns.
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        reserve = directory / "reserve"
        self._reserve = Reserve(reserve, RESERVE_MIB << 20)
        # What is written after it is there, and it is not: somebody has taken it away.
        is_lost = reserve.exists() and not self._path.exists()
        self.quarantined: Path | None = None
        with translated(self._path):
            try:
                self._database = self._open_checked()
            except (sqlite3.DatabaseError, ProtocolError) as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                self.quarantined = quarantine(self._path)
                _log.error("the ledger was damaged (%s); kept as %s", error, self.quarantined)
                self._database = open_database(self._path, _SCHEMA)
                self._set("amnesia", 1)
            if is_lost:
                _log.error("%s is gone: this node votes again when it is sure", self._path)
                self._set("amnesia", 1)
            self._notice_a_copy()
            self._witness = Witness(directory / WITNESS_NAME)
            self._notice_a_loss()
            self._reserve.keep()
            self._reader = sqlite3.connect(self._path, check_same_thread=False)

    def close(self) -> None:
        with self._reading:
            self._reader.close()
        with self._writing:
            self._database.close()
            self._witness.close()

    # --- reading ---------------------------------------------------------------------------------
    def journal(self) -> Journal:
        """What this node must still know.

        Raises:
            StorageError: a record of the current round cannot be read.
        """
        with translated(self._path):
            journal = Journal(
                commits=list(_commits(self._database)), amnesia=bool(self._get("amnesia"))
            )
            here = (journal.round,)
            query = self._database.execute
            journal.attempt = self._get("attempt") if self._get("round") == journal.round else 0
            for attempt, phase, value in query(
                "SELECT attempt, phase, value FROM votes WHERE round=?", here
            ):
                journal.votes[attempt, cast(Phase, phase)] = value
            for attempt, data in query(
                "SELECT attempt, envelope FROM proposals WHERE round=?", here
            ):
                journal.proposals[attempt] = self._envelope(data)
            for (data,) in query("SELECT envelope FROM contributions WHERE round=?", here):
                journal.contribution = self._envelope(data)
            for (data,) in query("SELECT prepared FROM locks WHERE round=?", here):
                journal.lock = _read_lock(data)
            for (data,) in query("SELECT payload FROM evidence ORDER BY round, rowid"):
                journal.evidence.append(read_payload(Evidence, data))
            for id_, data in query("SELECT id, payload FROM operations ORDER BY rowid"):
                journal.operations[id_] = read_payload(Operation, data)
        return journal

    def entries(self, first_round: int) -> Iterator[bytes]:
        """Verbatim commits from a round on, as they are on disk."""
        while True:
            with self._reading, translated(self._path):
                rows = self._reader.execute(
                    "SELECT payload FROM commits WHERE round>=? ORDER BY round LIMIT ?",
                    (first_round, _ENTRIES_PER_READ),
                ).fetchall()
            yield from (payload for (payload,) in rows)
            if len(rows) < _ENTRIES_PER_READ:
                return
            first_round += len(rows)

    def applied(self) -> int:
        """The last round whose result the workload has taken into use."""
        with self._access():
            return self._get("applied")

    # --- writing ---------------------------------------------------------------------------------
    def write(self, record: Record) -> None:
        """Makes one record durable.

        Raises:
            StorageError: the disk refused; nothing of the record was kept.
        """
        with self._access():
            try:
                self._write(record)
            except sqlite3.OperationalError as error:
                full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
                if not full or not self._reserve.release():
                    raise
                _log.error("the disk is full: the last %d MiB are for votes", RESERVE_MIB)
                self._write(record)

    def _write(self, record: Record) -> None:
        count = self._get("records") + 1
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            self._insert(record)
            self._set("records", count)
        self._witness.write(count)

    def set_applied(self, round_number: int) -> None:
        with self._access():
            self._set("applied", round_number)

    def next_incarnation(self) -> int:
        """A number greater than at any earlier start, also those that a damaged or restored file
        does not know of, while the machine's clock is roughly right."""
        with self._access():
            clock = min(int(time.time()), MAX_INCARNATION)
            incarnation = max(self._get("incarnation") + 1, clock)
            self._set("incarnation", incarnation)
        return incarnation

    def _notice_a_copy(self) -> None:
        """A file that is not the one we wrote came from a backup or from another machine: it may
        be older than the last vote. (A whole machine that is set back looks the same as ever; its
        own signatures give it away, see :mod:`p2p.rounds.remembering`.)"""
        written, found = self._get("inode"), self._path.stat().st_ino & _INTEGER
        if written and found and written != found:
            _log.warning("%s was copied here: this node votes again when it is sure", self._path)
            self._set("amnesia", 1)
        if found != written:
            self._set("inode", found)

    def _notice_a_loss(self) -> None:
        """A file with fewer records than it was seen to have was damaged where SQLite does not
        look: a vote may be among those that are gone."""
        records, seen = self._get("records"), self._witness.read()
        if records < (seen or 0) or (records and seen is None):
            _log.error("%s lost records: this node votes again when it is sure", self._path)
            self._set("amnesia", 1)
        if seen != records:
            self._witness.write(records)

    # --- inside ----------------------------------------------------------------------------------
    @contextmanager
    def _access(self) -> Iterator[None]:
        with self._writing, translated(self._path):
            yield

    def _insert(self, record: Record) -> None:
        run = self._database.execute
        match record:
            case AttemptMoved():
                self._reach(record.round, record.attempt)
            case VoteCast():
                self._reach(record.round, record.attempt)
                vote = (record.round, record.attempt, record.phase, record.value)
                run("INSERT INTO votes VALUES (?,?,?,?)", vote)
                if record.lock is not None:
                    prepared = Prepared(body=record.lock.body, qc=record.lock.qc).to_bytes()
                    run("INSERT OR REPLACE INTO locks VALUES (?,?)", (record.round, prepared))
            case ProposalMade():
                row = (record.round, record.attempt, record.envelope.to_bytes())
                run("INSERT INTO proposals VALUES (?,?,?)", row)
            case Contributed():
                data = record.envelope.to_bytes()
                run("INSERT INTO contributions VALUES (?,?)", (record.round, data))
            case Committed():
                entry = (record.round, record.value, record.commit_hash, record.payload)
                run("INSERT INTO commits VALUES (?,?,?,?)", entry)
                for table in ("votes", "proposals", "locks", "contributions"):
                    run(f"DELETE FROM {table} WHERE round<=?", (record.round,))
            case Accused():
                evidence = record.evidence
                who = (record.round, evidence.offence, evidence.accused, evidence.to_bytes())
                run("INSERT OR IGNORE INTO evidence VALUES (?,?,?,?)", who)
            case Forgot():
                self._set("amnesia", 1)
            case Remembered():
                self._set("amnesia", 0)
            case OperationHeard():
                operation = record.operation
                heard = (operation.id, operation.to_bytes())
                run("INSERT OR REPLACE INTO operations VALUES (?,?)", heard)
            case OperationsSettled():
                for id_ in record.ids:
                    run("DELETE FROM operations WHERE id=?", (id_,))

    def _reach(self, round_number: int, attempt: int) -> None:
        if self._get("round") == round_number:
            attempt = max(attempt, self._get("attempt"))
        self._set("round", round_number)
        self._set("attempt", attempt)

    def _get(self, name: str) -> int:
        row = self._database.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def _set(self, name: str, value: int) -> None:
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?,?)", (name, value))

    def _open_checked(self) -> sqlite3.Connection:
        database = open_database(self._path, _SCHEMA)
        try:
            _check_chain(_commits(database), self._room_id)
        except BaseException:
            database.close()
            raise
        return database

    def _envelope(self, data: bytes) -> Envelope:
        try:
            return self._open_envelope(data, self._room_id)
        except ProtocolError as error:
            raise StorageError(f"{self._path} holds a damaged envelope") from error


def _read_lock(data: bytes) -> Lock:
    prepared = parse(Prepared.kind, data)
    assert isinstance(prepared, Prepared)
    return Lock(prepared.body, prepared.qc)


def _commits(database: sqlite3.Connection) -> Iterator[Committed]:
    rows = database.execute("SELECT round, value, commit_hash, payload FROM commits ORDER BY round")
    return (Committed(*row) for row in rows)


def _check_chain(commits: Iterator[Committed], room_id: str) -> None:
    """Raises :class:`ProtocolError` where a commit does not follow from the one before."""
    head = room_id
    for expected, record in enumerate(commits, start=1):
        commit = parse(Commit.kind, record.payload)
        assert isinstance(commit, Commit)
        head = chain_hash(head, value_of(commit.body))
        if record.round != expected or record.commit_hash != head:
            raise ProtocolError(f"the chain breaks at round {expected}")
