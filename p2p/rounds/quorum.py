"""Who votes, how many suffice, who leads: pure functions of committed facts.

A quorum is counted over the voter set that the previous commit fixed, never over the peers seen
now: that is what keeps two sides of a split network from both going on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

from p2p.envelope import decode_base64, encode_base64
from p2p.errors import ProtocolError
from p2p.messages import QC, Phase, Vote, vote_bytes
from p2p.room import Genesis, Member, Plan, Policy, Signature
from p2p.rounds.signing import Verifier

Rule = Literal["majority", "two_thirds"]

_RANK: Final = {"server": 0, "desktop": 1, "laptop": 2}


def quorum_size(voters: int, rule: Rule) -> int:
    """The smallest number of voters of which any two groups share one (majority) or one honest
    voter while fewer than a third lie (two_thirds)."""
    return voters // 2 + 1 if rule == "majority" else 2 * voters // 3 + 1


def tolerated_liars(voters: int, rule: Rule) -> int:
    """``f``: how many voters may lie; a majority room tolerates crashes only."""
    return 0 if rule == "majority" else (voters - 1) // 3


def first_voters(genesis: Genesis) -> tuple[str, ...]:
    """Everyone who trains; the admins where nobody does."""
    return tuple(sorted(m.peer_id for m in genesis.members if m.trains)) or tuple(
        sorted(genesis.admins)
    )


def leader_order(
    voters: Iterable[str], room_id: str, round_number: int, members: Mapping[str, Member]
) -> tuple[str, ...]:
    """Voters in the order in which they lead attempts 0, 1, 2, ... of a round.

    Machines that stay up come first; among equals a hash of room, round and identity decides, in
    which no proposer has a say. Predictable on purpose: there are no election messages.
    """

    def key(voter: str) -> tuple[int, bytes]:
        member = members.get(voter)
        rank = _RANK[member.device] if member else len(_RANK)
        return rank, hashlib.sha256(f"leader|{room_id}|{round_number}|{voter}".encode()).digest()

    return tuple(sorted(voters, key=key))


def asked_participants(
    plan: Plan, parent: str, members: Mapping[str, Member], present_before: Collection[str]
) -> frozenset[str] | None:
    """Who is asked to contribute to the round that follows ``parent``; None means everybody.

    Those heard from in the round before come first, because a round should not wait for sleepers;
    among equals the hash of the previous commit decides, in which no single member has a say.
    """
    trainers = [peer for peer, member in members.items() if member.trains]
    if plan.ask is None or plan.ask >= len(trainers):
        return None

    def key(peer: str) -> tuple[bool, bytes]:
        lot = hashlib.sha256(f"asked|{parent}|{peer}".encode()).digest()
        return peer not in present_before, lot

    return frozenset(sorted(trainers, key=key)[: plan.ask])


def make_qc(vote: Vote, signatures: Mapping[str, bytes]) -> QC:
    """A certificate for ``vote`` from the signatures of distinct voters."""
    return QC(
        round=vote.round,
        attempt=vote.attempt,
        phase=vote.phase,
        value=vote.value,
        signatures=tuple(
            Signature(peer=peer, signature=encode_base64(signature))
            for peer, signature in sorted(signatures.items())
        ),
    )


def verify_qc(
    qc: QC,
    *,
    round_number: int,
    phase: Phase,
    voters: Collection[str],
    quorum: int,
    signer: Verifier,
) -> None:
    """Checks that a quorum of ``voters`` signed ``qc``'s vote.

    Raises:
        ProtocolError: another round or phase, a stranger, a repeated voter, too few, or a
            signature that does not fit.
    """
    if qc.round != round_number or qc.phase != phase:
        raise ProtocolError("a certificate is for another round or phase")
    peers = {entry.peer for entry in qc.signatures}
    if len(peers) != len(qc.signatures):
        raise ProtocolError("a certificate counts a voter twice")
    if not peers <= set(voters):
        raise ProtocolError("a certificate holds the signature of a non-voter")
    if len(peers) < quorum:
        raise ProtocolError(f"a certificate has {len(peers)} signatures of {quorum}")
    payload = vote_bytes(qc.round, qc.attempt, qc.phase, qc.value)
    for entry in qc.signatures:
        if not signer.verify(entry.peer, Vote.kind, payload, decode_base64(entry.signature)):
            raise ProtocolError("a certificate holds a signature that does not fit")


def fewest_voters(members: int, policy: Policy) -> int:
    """Below this the voter set is not shrunk, whoever is away."""
    return min(members, max(policy.min_voters, -(-members // 3)))


def most_new_voters(voters: int, rule: Rule) -> int:
    """How many may begin to vote at once.

    As many as leave the voters before them a quorum of the new set: whatever the new ones do, shut
    the lid included, the room goes on. A single voter takes in two, because a room of two voters
    stops when either is away. Newcomers that may lie come one by one.
    """
    if rule == "two_thirds":
        return 1
    return 2 if voters == 1 else max(1, voters - 1)


def next_voters(
    voters: Iterable[str],
    present: Iterable[str],
    present_before: Iterable[str],
    members: Mapping[str, Member],
    policy: Policy,
    *,
    parent: str,
) -> tuple[str, ...]:
    """The voters of the next round: those heard from in this round or the one before, and some
    of those who came or came back, as in dynamic voting (Jajodia and Mutchler, 1990).

    Only ``members`` that train vote. Which newcomers are first, when there are more than
    :func:`most_new_voters`, is drawn by ``parent``, in which none of them had a say. A
    ``two_thirds`` room does not drop who is away: a lying leader could leave honest voters out of
    ``present`` until the liars are a third of the rest.
    """
    here = {peer for peer in present if peer in members and members[peer].trains}
    remaining = {peer for peer in voters if peer in members}
    stay = {peer for peer in remaining if members[peer].trains} or remaining
    kept = stay
    if policy.quorum == "majority":
        kept = stay & (here | set(present_before))
        if len(kept) < fewest_voters(len(members), policy):
            kept = stay

    def lot(peer: str) -> bytes:
        return hashlib.sha256(f"{parent}|{peer}".encode()).digest()

    newcomers = sorted(here - kept, key=lot)[: most_new_voters(len(kept), policy.quorum)]
    chosen = kept | set(newcomers)
    # A removal may take the last voter away: somebody must decide the next round.
    return tuple(sorted(chosen)) or tuple(sorted(here)) or tuple(sorted(members))
