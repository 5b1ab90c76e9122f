"""Where a node stands, as plain frozen values: all that a screen or a command may show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from p2p.chronicle import Chronicle, RoundTimes
from p2p.discovery import Discovery
from p2p.errors import ProtocolError
from p2p.gossip.driver import Gossip
from p2p.limits import STARVED_PATIENCE
from p2p.membership import Membership
from p2p.messages import Offence
from p2p.paths import Paths, Reach
from p2p.room import Member
from p2p.rounds.core import RoundCore
from p2p.rounds.driver import RoundDriver, read_commit
from p2p.rounds.remembering import FORGOTTEN
from p2p.text import clean_text

RoundPhase = Literal["TRAIN", "COLLECT", "MERGE", "VERIFY", "WAITING", "PAUSED", "FAILED", "DONE"]


@dataclass(frozen=True)
class PeerStatus:
    """A member as seen from here. ``age_s`` is how long ago it was last heard, ``rtt_ms`` the
    last round trip; ``status`` is what it says of itself, cleaned. ``reach`` says whether we reach
    one another, ``via`` through which member (see :class:`p2p.paths.Way`)."""

    id: str
    name: str
    role: str
    me: bool
    state: Literal["alive", "suspect", "unreachable", "left"]
    address: str = ""
    reach: Reach = ""
    via: str = ""
    age_s: float | None = None
    rtt_ms: float | None = None
    round: int | None = None
    contributed: bool = False
    prepared: bool = False
    committed: bool = False
    received: int = 0
    sent: int = 0
    status: Mapping[str, bool | int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContributionStatus:
    """A contribution to the current round; ``verdict`` is None while it is fetched or checked."""

    peer: str
    samples: int
    blob: str
    verdict: bool | None = None
    reason: str = ""


@dataclass(frozen=True)
class CommitInput:
    peer: str
    samples: int
    blob: str


@dataclass(frozen=True)
class CommitStatus:
    """A ledger entry. ``recomputed`` is this node's own result, None where it did not vote;
    ``seconds`` counts from the last contribution to the commit, as seen here."""

    round: int
    value: str
    commit_hash: str
    result: str
    result_size: int
    attempt: int
    aggregator: str
    signers: tuple[str, ...]
    inputs: tuple[CommitInput, ...]
    excluded: tuple[tuple[str, str], ...]
    recomputed: bool | None = None
    seconds: float | None = None

    @property
    def skipped(self) -> bool:
        return not self.inputs


@dataclass(frozen=True)
class EvidenceStatus:
    """A member was caught: it voted or proposed twice, or proposed a result that is not what its
    inputs give. The signed proof is in the ledger's file."""

    round: int
    accused: str
    offence: Offence


@dataclass(frozen=True)
class PeerSnapshot:
    """Where this node stands. ``order`` lists who leads attempts 0, 1, 2, ... of the round;
    ``asked`` whom it asks for contributions (None: everybody); ``held``: it waits until somebody
    starts it; times are seconds. ``times`` tells how the open round and those before went."""

    id: str
    room_id: str
    head: str
    round: int
    rounds: int
    attempt: int
    phase: RoundPhase
    aggregator: str | None
    order: tuple[str, ...]
    voters: tuple[str, ...]
    quorum: int
    prepares: int
    commits_counted: int
    contributions: tuple[ContributionStatus, ...]
    expected: int
    waiting_for: tuple[str, ...]
    elapsed_s: float
    deadline_in_s: float
    note: str
    discovery: str
    peers: tuple[PeerStatus, ...]
    commits: tuple[CommitStatus, ...]
    asked: tuple[str, ...] | None = None
    evidence: tuple[EvidenceStatus, ...] = ()
    held: bool = False
    times: tuple[RoundTimes, ...] = ()

    @property
    def headline(self) -> str:
        """Why the round does not go on, in the words of every screen; empty while it does."""
        if self.phase not in ("WAITING", "PAUSED"):
            return ""
        names = {peer.id: peer.name for peer in self.peers}
        missing = ", ".join(names.get(peer, peer[:8]) for peer in self.waiting_for)
        return f"{self.phase} ({self.note}{f'; waiting for: {missing}' if missing else ''})"


class Observer:
    """Reads the parts of one node; changes nothing."""

    def __init__(
        self,
        room_id: str,
        core: RoundCore,
        driver: RoundDriver,
        gossip: Gossip,
        paths: Paths,
        discovery: Discovery,
        received: Mapping[str, int],
        sent: Mapping[str, int],
    ) -> None:
        self._received = received
        self._sent = sent
        self._room_id = room_id
        self._core = core
        self._driver = driver
        self._gossip = gossip
        self._paths = paths
        self._discovery = discovery
        self._plan = core.genesis.plan
        self._chronicle = Chronicle()
        self._commits: list[CommitStatus] = []

    def look(self, now: float) -> None:
        """Notes when it was that something happened; after each event."""
        self._chronicle.look(self._core, now)

    def snapshot(self, now: float) -> PeerSnapshot:
        """Where the node stands at ``now`` (monotonic seconds)."""
        core = self._core
        elapsed = now - core.started_at
        return PeerSnapshot(
            id=core.me,
            room_id=self._room_id,
            head=core.head,
            round=min(core.round, self._plan.rounds),
            rounds=self._plan.rounds,
            attempt=core.attempt,
            phase=self._phase(),
            aggregator=None if core.done else core.leader,
            order=core.facts.order,
            voters=core.facts.voters,
            quorum=core.quorum,
            prepares=len(core.voted("prepare")),
            commits_counted=len(core.voted("commit")),
            contributions=tuple(self._contributions()),
            expected=len(core.expected()),
            asked=None if core.facts.asked is None else tuple(sorted(core.facts.asked)),
            waiting_for=self._waiting_for(),
            elapsed_s=elapsed,
            deadline_in_s=max(0.0, self._plan.deadline_ms / 1000 - elapsed),
            note=self._note(),
            discovery=str(self._discovery.state),
            peers=tuple(self._peers(now)),
            commits=self._history(),
            held=core.held,
            times=self._chronicle.rounds,
            evidence=tuple(
                EvidenceStatus(found.round, found.accused, found.offence)
                for found in core.journal.evidence
            ),
        )

    def _phase(self) -> RoundPhase:
        core = self._core
        if self._driver.progress.failure is not None:
            return "FAILED"
        if core.done:
            return "DONE"
        if len(core.alive & set(core.facts.voters)) < core.quorum:
            return "PAUSED"
        if core.combining:
            return "MERGE"
        if core.deciding:
            return "VERIFY"
        if core.held:
            return "WAITING"
        trains = core.membership.trains(core.me) and core.facts.asks(core.me)
        if core.lacking and (core.contributed or not trains):
            return "WAITING"
        return "TRAIN" if trains and not core.contributed and not core.cut else "COLLECT"

    def _note(self) -> str:
        failure = self._driver.progress.failure
        if failure is not None:
            return str(failure)
        core = self._core
        alive = len(core.alive & set(core.facts.voters))
        if not core.done and alive < core.quorum:
            return f"{alive} of {len(core.facts.voters)} voters, need {core.quorum}"
        if core.held:
            return f"round {core.round} waits to be started"
        if core.lacking and not core.done:
            people = "participant" if core.lacking == 1 else "participants"
            return f"{core.lacking} more {people} needed"
        if core.journal.amnesia and not core.done:
            return FORGOTTEN
        note = self._driver.progress.note
        patience = self._gossip.patience
        if not note and patience >= STARVED_PATIENCE:
            return f"this machine answers late, so it waits {patience} times as long for others"
        return note

    def _waiting_for(self) -> tuple[str, ...]:
        core = self._core
        if core.done:
            return ()
        if len(core.alive & set(core.facts.voters)) < core.quorum:
            return tuple(sorted(set(core.facts.voters) - core.alive))
        if core.held:
            return ()
        if not core.cut:
            return tuple(sorted(core.expected() - core.contributors()))
        if core.leader == core.me and core.deciding:
            voted = core.voted("commit") or core.voted("prepare")
            return tuple(sorted(set(core.facts.voters) - voted))
        return () if core.leader == core.me else (core.leader,)

    def _contributions(self) -> Iterable[ContributionStatus]:
        for id_, contribution in self._core.contributions.items():
            verdict = self._core.verdicts.get(id_)
            yield ContributionStatus(
                peer=contribution.peer,
                samples=contribution.samples,
                blob=contribution.blob,
                verdict=None if verdict is None else verdict.ok,
                reason="" if verdict is None else verdict.reason,
            )

    def _peers(self, now: float) -> Iterable[PeerStatus]:
        core, health = self._core, self._gossip.peers()
        contributors = core.contributors()
        prepared, committed = core.voted("prepare"), core.voted("commit")
        for peer, member in core.members.items():
            seen = health.get(peer)
            hello = seen.hello if seen else None
            way = self._paths.of(peer, now)
            yield PeerStatus(
                id=peer,
                name=display_name(member),
                role=member.role,
                me=peer == core.me,
                state=seen.state.value if seen else "alive",
                address=str(way.address) if way.address else "",
                reach=way.reach,
                via=way.relay,
                age_s=now - seen.heard if seen and seen.heard is not None else None,
                rtt_ms=seen.rtt * 1000 if seen and seen.rtt is not None else None,
                round=hello.round if hello else None,
                contributed=peer in contributors,
                prepared=peer in prepared,
                committed=peer in committed,
                received=self._received.get(peer, 0),
                sent=self._sent.get(peer, 0),
                status=hello.status if hello else {},
            )

    def _history(self) -> tuple[CommitStatus, ...]:
        records, progress = self._core.journal.commits, self._driver.progress
        for record in records[len(self._commits) :]:
            result, qc = read_commit(record.payload)
            self._commits.append(
                CommitStatus(
                    round=record.round,
                    value=record.value,
                    commit_hash=record.commit_hash,
                    result=result.result_blob,
                    result_size=result.result_size,
                    attempt=qc.attempt,
                    aggregator=result.proposer,
                    signers=tuple(entry.peer for entry in qc.signatures),
                    inputs=tuple(CommitInput(i.peer, i.weight, i.blob) for i in result.inputs),
                    excluded=tuple((e.peer, e.reason) for e in result.excluded),
                    recomputed=progress.recomputed.get(record.round),
                    seconds=progress.seconds.get(record.round),
                )
            )
        return tuple(self._commits)


def display_name(member: Member) -> str:
    """The member's own words for itself, cleaned; part of its id when nothing visible is left."""
    try:
        return clean_text(member.name)
    except ProtocolError:
        return member.peer_id[:8]


def rights(member: Member) -> tuple[str, ...]:
    """What a member may do beside watching, in words."""
    may = {
        "contribute": member.trains,
        "start rounds": member.starts_rounds,
        "see previews": member.sees_previews,
    }
    return tuple(word for word, granted in may.items() if granted)


def changes(before: Membership, after: Membership) -> Iterator[tuple[str, dict[str, object]]]:
    """The events that tell how one membership became another."""
    rekeyed = after.successors.items() - before.successors.items()
    for old, new in sorted(rekeyed):
        if new in after.members:
            name = display_name(after.members[new])
            yield "member.rekeyed", {"peer": new, "before": old, "name": name}
    fresh, gone = {new for _, new in rekeyed}, {old for old, _ in rekeyed}
    for peer, member in sorted(after.members.items()):
        if peer in fresh:
            continue
        known = before.members.get(peer)
        if known != member:
            type_ = "member.added" if known is None else "member.changed"
            fields = {"peer": peer, "name": display_name(member), "role": member.role}
            yield type_, {**fields, "may": rights(member)}
    for peer in sorted(before.members.keys() - after.members.keys() - gone):
        yield "member.removed", {"peer": peer, "name": display_name(before.members[peer])}
    if before.started != after.started:
        yield "rounds.allowed", {"through": after.started}
    if after.fork is not None and before.fork != after.fork:
        yield "room.forked", {"room": after.fork.genesis, "round": after.fork.round}
    if (before.admins, before.threshold) != (after.admins, after.threshold):
        yield "admins.changed", {"admins": sorted(after.admins), "threshold": after.threshold}
