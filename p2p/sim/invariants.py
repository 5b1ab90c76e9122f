"""What must hold in every step of every execution, whatever fails.

Numbers are those of the protocol's specification: S1 one value per round, S2 one chain, S3 a
result equals its inputs, S4 inputs are by distinct members, S5 no two values from one signer, S6
attempts never go back, S7 a lock moves up only, with a certificate, S8 what was written is there
after a crash, S9 only voters that an earlier commit names are counted, and no removed member, S10
the result of a commit outlives power cuts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from p2p.blobs.chunks import BlobRef
from p2p.messages import QC, Commit, Phase, Result, parse, parse_result, value_of
from p2p.operations import KeyChange, MemberAdd, MemberRemove
from p2p.room import Genesis
from p2p.rounds.effects import Committed, Journal, Lock, Persist, ProposalMade, VoteCast
from p2p.rounds.quorum import first_voters, quorum_size
from p2p.rounds.rules import Facts, parts_of
from p2p.sim.parts import INITIAL, combine

ALL: Final = frozenset({"S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10"})
OUTCOME: Final = frozenset({"S1", "S2"})
"""What a user would notice: with only these, a mutation is caught by the fork it causes."""


class Violation(Exception):
    """An invariant does not hold. The message names seed, time and node."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant


@dataclass(frozen=True)
class _Room:
    """Who belonged to the room after a round, who had been removed, who votes next, and which keys
    took the places of others."""

    members: frozenset[str]
    gone: frozenset[str]
    voters: frozenset[str]
    heirs: Mapping[str, str]


class Invariants:
    """Watches the effects and states of honest nodes across their crashes."""

    def __init__(self, checked: Collection[str], genesis: Genesis) -> None:
        self._checked = checked
        self._rule = genesis.policy.quorum
        members = frozenset(member.peer_id for member in genesis.members)
        self._rooms = {0: _Room(members, frozenset(), frozenset(first_voters(genesis)), {})}
        self.values: dict[int, str] = {}
        self._hashes: dict[int, str] = {}
        self._results: dict[int, BlobRef] = {0: INITIAL}
        self._votes: dict[tuple[str, int, int, Phase], str] = {}
        self._proposals: dict[tuple[str, int, int], bytes] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._locks: dict[str, tuple[int, Lock | None]] = {}

    def _require(self, invariant: str, holds: bool, detail: str) -> None:
        if not holds and invariant in self._checked:
            raise Violation(invariant, detail)

    def on_persist(self, node: str, effect: Persist) -> None:
        match effect.record:
            case VoteCast() as vote:
                key = (node, vote.round, vote.attempt, vote.phase)
                same = self._votes.setdefault(key, vote.value) == vote.value
                self._require("S5", same, f"{node[:1]} votes twice at {key[1:]}")
            case ProposalMade() as made:
                place = (node, made.round, made.attempt)
                payload = made.envelope.payload
                same = self._proposals.setdefault(place, payload) == payload
                self._require("S5", same, f"{node[:1]} proposes twice at {place[1:]}")
            case Committed() as committed:
                self._on_commit(node, committed)

    def _on_commit(self, node: str, record: Committed) -> None:
        commit = parse(Commit.kind, record.payload)
        assert isinstance(commit, Commit)
        result = parse_result(commit.body)
        same = self.values.setdefault(record.round, record.value) == record.value
        self._require("S1", same, f"round {record.round} has two values, one at {node[:1]}")
        same = self._hashes.setdefault(record.round, record.commit_hash) == record.commit_hash
        self._require("S2", same, f"two histories at round {record.round}, one at {node[:1]}")
        self._check_people(record.round, result, commit.qc)
        previous = self._results.get(record.round - 1)
        if previous is not None:
            blob = combine(parts_of(result.inputs), previous) if result.inputs else previous
            self._require("S3", blob == result.ref, f"round {record.round} is not its sum")
        self._results.setdefault(record.round, result.ref)

    def _check_people(self, number: int, result: Result, qc: QC) -> None:
        """Folds the membership a second time, by other code than the product's."""
        before = self._rooms[number - 1]
        signers = {entry.peer for entry in qc.signatures}
        counted = signers <= before.voters
        counted = counted and len(signers) >= quorum_size(len(before.voters), self._rule)
        self._require("S9", counted, f"round {number} counts votes of non-voters")
        added, gone, heirs = set(before.members), set(before.gone), dict(before.heirs)
        fresh_keys: set[str] = set()
        for operation in result.operations:
            match operation.change:
                case MemberAdd(member=member):
                    heir = _now(heirs, member.peer_id)
                    self._require("S9", heir not in gone, "a removed key came back")
                    added.add(heir)
                case MemberRemove(author=author, peer=peer) if author == peer:
                    added.discard(peer)  # Whoever leaves may come back.
                case MemberRemove(peer=peer):
                    gone.add(_now(heirs, peer))
                case KeyChange(author=old, key=new):
                    self._require("S9", new not in added | gone, "a key was used twice")
                    gone.add(old)
                    added.add(new)
                    heirs[old] = new
                    fresh_keys.add(new)
        members, voters = frozenset(added - gone), frozenset(result.next_voters)
        rekeyed = {
            operation.change.author
            for operation in result.operations
            if isinstance(operation.change, KeyChange)
        }
        authors = [item.peer for item in result.inputs]
        distinct = set(authors) <= members - fresh_keys | rekeyed
        distinct = distinct and len(set(authors)) == len(authors)
        self._require("S4", distinct, f"round {number} counts inputs of non-members")
        self._require("S9", voters <= members, f"round {number} lets non-members vote")
        fresh = len(voters - {_now(heirs, voter) for voter in before.voters})
        few = fresh <= max(2, len(before.voters) - 1)
        self._require("S9", few, f"round {number} takes in {fresh} voters at once")
        self._rooms.setdefault(number, _Room(members, frozenset(gone), voters, heirs))

    def on_restored(self, node: str) -> None:
        """A machine starts from an old disk: it may go back, but must not vote again."""
        self._progress.pop(node, None)
        self._locks.pop(node, None)

    def on_lost(self, blob: str) -> None:
        """A power cut took the last copy of a blob."""
        lost = [number for number, ref in self._results.items() if ref.sha256 == blob]
        self._require("S10", not lost, f"nobody has the result of round {lost} any more")

    def on_step(self, node: str, disk: Journal, facts: Facts, quorum: int) -> None:
        """Looks at what is on disk: what only was in memory was never said to anybody."""
        progress = (disk.round, disk.attempt)
        before = self._progress.get(node, (0, 0))
        self._require("S6", progress >= before, f"{node[:1]} goes back from {before} to {progress}")
        self._progress[node] = progress
        lock = disk.lock
        round_before, lock_before = self._locks.get(node, (0, None))
        if lock is lock_before and round_before == disk.round:
            return
        self._locks[node] = (disk.round, lock)
        if round_before == disk.round and lock_before is not None:
            up = lock is not None and (lock == lock_before or lock.attempt > lock_before.attempt)
            self._require("S7", up, f"{node[:1]} loses a lock in round {disk.round}")
        if lock is not None and facts.round == disk.round:
            signers = {entry.peer for entry in lock.qc.signatures} & set(facts.voters)
            proven = len(signers) >= quorum and value_of(lock.body) == lock.value
            proven = proven and parse_result(lock.body).parent == facts.parent
            self._require("S7", proven, f"{node[:1]} locks without a certificate")


def _now(heirs: Mapping[str, str], peer: str) -> str:
    while peer in heirs:
        peer = heirs[peer]
    return peer
