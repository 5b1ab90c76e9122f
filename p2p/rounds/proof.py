"""Checking a room's history offline: from its genesis and its commits alone, without any node.

The same functions decide here as in the votes: quorum certificates, the membership they count in,
the leader's duties. What the inputs of a round give is the workload's to recompute.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.errors import ProtocolError, StorageError
from p2p.messages import Commit, Result, chain_hash, parse, parse_result, value_of
from p2p.operations import read_payload
from p2p.room import Genesis
from p2p.rounds.admission import verify_operation
from p2p.rounds.effects import Committed
from p2p.rounds.ledger import FILE_NAME
from p2p.rounds.quorum import quorum_size, verify_qc
from p2p.rounds.rules import Facts, make_result
from p2p.rounds.signing import EnvelopeVerifier


class LedgerDamaged(StorageError):
    """A ledger that can be read, and contradicts itself."""

    title = "The ledger is damaged"


@dataclass(frozen=True)
class ProvenRound:
    """A round that a quorum of its voters certified; ``previous`` is what it started from."""

    record: Committed
    result: Result
    previous: BlobRef
    signers: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """A checked ledger. ``facts`` are those of the round after its last commit."""

    genesis: Genesis
    rounds: tuple[ProvenRound, ...]
    facts: Facts


def prove(envelope: Envelope, commits: Iterable[bytes]) -> History:
    """Checks every entry of a ledger against the one before, back to a verified genesis.

    Raises:
        ProtocolError: naming the round and the first rule that it breaks.
    """
    genesis = read_payload(Genesis, envelope.payload)
    facts = Facts.first(genesis, envelope.id)
    verifier = EnvelopeVerifier(envelope.id)
    chain = {envelope.id}
    rounds: list[ProvenRound] = []
    for payload in commits:
        try:
            proven = _proven(payload, facts, chain, verifier)
        except ProtocolError as error:
            raise ProtocolError(f"round {facts.round}: {error.cause}") from error
        rounds.append(proven)
        chain.add(proven.record.commit_hash)
        facts = facts.next(proven.record)
    return History(genesis, tuple(rounds), facts)


def _proven(
    payload: bytes, facts: Facts, chain: set[str], verifier: EnvelopeVerifier
) -> ProvenRound:
    commit = parse(Commit.kind, payload)
    if not isinstance(commit, Commit) or commit.to_bytes() != payload:
        raise ProtocolError("an entry of the ledger is not written as commits are")
    if facts.done:
        raise ProtocolError("the plan has no such round")
    value, result = value_of(commit.body), parse_result(commit.body)
    if value != commit.qc.value:
        raise ProtocolError("a certificate is for another result")
    verify_qc(
        commit.qc,
        round_number=facts.round,
        phase="commit",
        voters=facts.voters,
        quorum=quorum_size(len(facts.voters), facts.genesis.policy.quorum),
        signer=verifier,
    )
    for operation in result.operations:
        if operation.change.after not in chain:
            raise ProtocolError("a change of the membership belongs to another history")
        verify_operation(operation, verifier)
    expected = make_result(
        facts,
        result.attempt,
        result.inputs,
        result.excluded,
        result.present,
        result.operations,
        result.ref,
    )
    if result != expected:
        raise ProtocolError("a result departs from what its round prescribes")
    if result.skipped and result.ref != facts.previous:
        raise ProtocolError("a skipped round does not keep the previous result")
    record = Committed(facts.round, value, chain_hash(facts.parent, value), payload)
    signers = tuple(entry.peer for entry in commit.qc.signatures)
    return ProvenRound(record, result, facts.previous, signers)


def read_ledger(directory: Path, room_id: str) -> list[bytes]:
    """The commits in a room's directory, oldest first; changes nothing, a node may be running.

    There are none where no node has begun to work. SQLite's own check goes first: a page that lost
    its last commit still reads well.

    Raises:
        LedgerDamaged: it contradicts itself.
        StorageError: it cannot be read.
    """
    path = directory / FILE_NAME
    if not path.exists():
        return []
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
            rows = database.execute(
                "SELECT round, value, commit_hash, payload FROM commits ORDER BY round"
            ).fetchall()
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
    except sqlite3.Error as error:
        raise LedgerDamaged(f"{path} is damaged: {error}") from error
    if found != "ok":
        raise LedgerDamaged(f"{path} is damaged: {found}")
    head = room_id
    for number, (round_number, value, commit_hash, payload) in enumerate(rows, start=1):
        if round_number != number or not isinstance(payload, bytes):
            raise LedgerDamaged(f"{path} has a gap before round {number}")
        commit = parse(Commit.kind, payload)
        assert isinstance(commit, Commit)
        head = chain_hash(head, value_of(commit.body))
        if (value, commit_hash) != (value_of(commit.body), head):
            raise LedgerDamaged(f"{path} is damaged at round {number}")
    return [payload for _, _, _, payload in rows]
