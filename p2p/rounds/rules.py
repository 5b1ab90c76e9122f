"""What a round's result must be: the same pure checks for whoever proposes and whoever votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from p2p.blobs.chunks import BlobRef
from p2p.envelope import Envelope
from p2p.errors import ProtocolError
from p2p.membership import Membership
from p2p.messages import (
    Commit,
    Contribution,
    Evidence,
    Exclusion,
    NewAttempt,
    Proposal,
    Result,
    ResultInput,
    Vote,
    parse,
    parse_result,
)
from p2p.operations import MAX_REASON, Operation
from p2p.room import Genesis, Member, Message
from p2p.rounds.effects import Committed, Part
from p2p.rounds.quorum import (
    asked_participants,
    first_voters,
    leader_order,
    next_voters,
    quorum_size,
    tolerated_liars,
)
from p2p.text import clean_text
from p2p.workload import Verdict

REPLACED = "another contribution of the same member was taken"
TOO_FEW = "too few contributions for this round"
SEVERAL = "its author told members different things"
NOT_ASKED = "others were asked in this round"
NO_PARTICIPANT = "its author does not take part in the room as of this round"
MAX_COUNTED = 2
"""Contributions of one member that a result may list and still count one of them: a node that lost
its disk may sign a second one. Whoever is seen with more has none counted."""
SHORT_ID = 32
"""Hex digits of a contribution id in :class:`NewAttempt`."""


@dataclass(frozen=True)
class Facts:
    """What the ledger fixes for one round; equal on all honest members.

    ``late_parent`` is what contributions to the round before started from, where the plan carries
    late ones over; those of members that it ``settled`` (took or left out by name) are not late.
    """

    room_id: str
    genesis: Genesis
    membership: Membership
    plan_hash: str
    round: int
    parent: str
    voters: tuple[str, ...]
    order: tuple[str, ...]
    present_before: tuple[str, ...]
    asked: frozenset[str] | None
    previous: BlobRef
    late_parent: str | None = None
    settled: frozenset[str] = frozenset()

    @classmethod
    def first(cls, genesis: Genesis, room_id: str) -> Facts:
        """The facts of round 1."""
        membership = Membership.founding(genesis)
        voters = first_voters(genesis)
        return cls(
            room_id=room_id,
            genesis=genesis,
            membership=membership,
            plan_hash=genesis.plan.hash,
            round=1,
            parent=room_id,
            voters=voters,
            order=leader_order(voters, room_id, 1, membership.members),
            present_before=voters,
            asked=asked_participants(genesis.plan, room_id, membership.members, voters),
            previous=BlobRef(genesis.initial_blob, genesis.initial_size, genesis.initial_chunks),
        )

    def next(self, record: Committed) -> Facts:
        """The facts of the round that follows ``record``, a commit of this round."""
        commit = parse(Commit.kind, record.payload)
        assert isinstance(commit, Commit)
        result = parse_result(commit.body)
        membership = self.membership.folded(result.operations)
        number = record.round + 1
        present = tuple(membership.heir(peer, self.membership) for peer in result.present)
        return replace(
            self,
            membership=membership,
            round=number,
            parent=record.commit_hash,
            voters=result.next_voters,
            order=leader_order(result.next_voters, self.room_id, number, membership.members),
            present_before=present,
            asked=asked_participants(
                self.genesis.plan, record.commit_hash, membership.members, present
            ),
            previous=result.ref,
            late_parent=self.parent if self.genesis.plan.late == "carry" else None,
            settled=frozenset(
                peer
                for item in result.listed
                for peer in (item.peer, membership.heir(item.peer, self.membership))
            ),
        )

    @classmethod
    def of(cls, genesis: Genesis, room_id: str, commits: Iterable[Committed]) -> Facts:
        """The facts of the round that follows a whole ledger."""
        facts = cls.first(genesis, room_id)
        for record in commits:
            facts = facts.next(record)
        return facts

    @property
    def members(self) -> Mapping[str, Member]:
        """Those whom commits have admitted; others may be on their way."""
        return self.membership.members

    @property
    def done(self) -> bool:
        return self.round > self.genesis.plan.rounds

    @property
    def liars(self) -> int:
        return tolerated_liars(len(self.voters), self.genesis.policy.quorum)

    def needs(self, peers: Collection[str]) -> bool:
        """Whether there is no quorum of the voters without these."""
        needed = quorum_size(len(self.voters), self.genesis.policy.quorum)
        return len(set(self.voters).difference(peers)) < needed

    def asks(self, peer: str) -> bool:
        """Whether a contribution of ``peer`` is wanted in this round."""
        return self.asked is None or peer in self.asked

    def leader(self, attempt: int) -> str:
        return self.order[attempt % len(self.order)]

    def carries(self, contribution: Contribution) -> bool:
        """Whether a contribution to the round before counts in this one, because that round was
        decided without a word about its author."""
        late = (contribution.round, contribution.parent) == (self.round - 1, self.late_parent)
        return late and contribution.peer not in self.settled


def weight_of(contribution: Contribution, facts: Facts) -> int:
    """``n_k``: a member weighs as much as the samples it says it trained on, and half as much when
    it did so a round ago."""
    if facts.carries(contribution):
        return max(1, contribution.samples // 2)
    return contribution.samples


def is_held(facts: Facts, membership: Membership) -> bool:
    """Whether nobody who may has started the round of ``facts``, in a room that waits for that."""
    return bool(facts.genesis.plan.start_on_request) and membership.started < facts.round


def check_spelling(message: Message, envelope: Envelope) -> None:
    """Raises :class:`ProtocolError` unless a message that others will quote or keep is written as
    ours are: blanks between its words could make what quotes it too large to send."""
    if message.to_bytes() != envelope.payload:
        raise ProtocolError(f"a {envelope.type} is not written as {envelope.type}s are")


def check_contribution(contribution: Contribution, signer: str, facts: Facts) -> None:
    """Raises :class:`ProtocolError` unless the manifest belongs into the round of ``facts``.

    Whether its author takes part is decided by the membership that the result leads to.
    """
    if contribution.peer != signer:
        raise ProtocolError("a contribution is signed by another than its author")
    in_time = (contribution.round, contribution.parent) == (facts.round, facts.parent)
    if not in_time and not facts.carries(contribution):
        raise ProtocolError("a contribution belongs to another round or history")
    if contribution.plan != facts.plan_hash:
        raise ProtocolError("a contribution follows another plan")
    if contribution.size > facts.genesis.policy.max_blob:
        raise ProtocolError("a contribution is larger than the room allows")


def select(
    contributions: Mapping[str, Contribution],
    verdicts: Mapping[str, Verdict],
    facts: Facts,
    after: Membership,
) -> tuple[tuple[ResultInput, ...], tuple[Exclusion, ...]]:
    """Which contributions enter the result, and why the others do not, both sorted by id.

    The first good one of each member counts, by id, before one that is carried over; ``after``
    says who is a member. With fewer than the plan asks for, none do and the round is skipped.
    """
    inputs: list[ResultInput] = []
    excluded: list[Exclusion] = []
    taken: set[str] = set()
    several = equivocators(contributions.values())
    in_turn = sorted(contributions.items(), key=lambda entry: (facts.carries(entry[1]), entry[0]))
    for id_, contribution in in_turn:
        refusal = _refusal(contribution, verdicts[id_], taken, several, facts, after)
        if refusal is not None:
            excluded.append(Exclusion(contribution=id_, peer=contribution.peer, reason=refusal))
        else:
            taken.add(contribution.peer)
            inputs.append(
                ResultInput(
                    contribution=id_,
                    peer=contribution.peer,
                    blob=contribution.blob,
                    weight=weight_of(contribution, facts),
                )
            )
    if len(inputs) < facts.genesis.plan.min_contributions:
        excluded += [
            Exclusion(contribution=item.contribution, peer=item.peer, reason=TOO_FEW)
            for item in inputs
        ]
        inputs = []
    inputs.sort(key=lambda item: item.contribution)
    return tuple(inputs), tuple(sorted(excluded, key=lambda item: item.contribution))


def equivocators(
    listed: Iterable[Contribution | ResultInput | Exclusion],
) -> frozenset[str]:
    """The authors of more contributions than one may have signed, of those a result lists."""
    counts = Counter(item.peer for item in listed)
    return frozenset(peer for peer, count in counts.items() if count > MAX_COUNTED)


def _refusal(
    contribution: Contribution,
    verdict: Verdict,
    taken: Collection[str],
    several: Collection[str],
    facts: Facts,
    after: Membership,
) -> str | None:
    if not after.counts(contribution.peer, facts.membership):
        return NO_PARTICIPANT
    if not facts.asks(contribution.peer):
        return NOT_ASKED
    if contribution.peer in several:
        return SEVERAL
    if not verdict.ok:
        return _printable(verdict.reason)
    return REPLACED if contribution.peer in taken else None


def _printable(reason: str) -> str:
    """What a check said may quote the file it refused: it is cleaned before it is signed."""
    try:
        return clean_text(reason, MAX_REASON)[:MAX_REASON]
    except ProtocolError:
        return "refused"


def parts_of(inputs: Iterable[ResultInput]) -> tuple[Part, ...]:
    return tuple(Part(item.contribution, item.peer, item.blob, item.weight) for item in inputs)


def make_result(
    facts: Facts,
    attempt: int,
    inputs: tuple[ResultInput, ...],
    excluded: tuple[Exclusion, ...],
    reporters: Iterable[str],
    operations: tuple[Operation, ...],
    blob: BlobRef,
) -> Result:
    """The result that an honest leader proposes. ``reporters`` signed a NewAttempt.

    Raises:
        ProtocolError: the operations do not apply.
    """
    present = _present(inputs, excluded, reporters)
    after = facts.membership.folded(operations)
    # Who changes its key with this result keeps its vote under the new one.
    voters, here, here_before = (
        [after.heir(peer, facts.membership) for peer in peers]
        for peers in (facts.voters, present, facts.present_before)
    )
    return Result(
        round=facts.round,
        attempt=attempt,
        proposer=facts.leader(attempt),
        parent=facts.parent,
        algorithm=facts.genesis.plan.algorithm,
        inputs=inputs,
        excluded=excluded,
        result_blob=blob.sha256,
        result_size=blob.size,
        result_chunks=blob.chunks,
        operations=operations,
        present=present,
        next_voters=next_voters(
            voters,
            here,
            here_before,
            after.members,
            facts.genesis.policy,
            parent=facts.parent,
        ),
        next_plan=facts.plan_hash,
    )


def _present(
    inputs: Iterable[ResultInput], excluded: Iterable[Exclusion], reporters: Iterable[str]
) -> tuple[str, ...]:
    return tuple(sorted({i.peer for i in inputs} | {e.peer for e in excluded} | set(reporters)))


def check_result(
    result: Result,
    facts: Facts,
    attempt: int,
    reports: Mapping[str, NewAttempt],
    contributions: Mapping[str, Contribution],
) -> None:
    """Everything about a fresh result that needs no blob.

    ``reports`` are the NewAttempt messages the proposal quotes, by signer, already checked to
    come from a quorum; ``contributions`` are the manifests this voter knows by id.

    Raises:
        ProtocolError: naming the first rule that is broken.
    """
    expected = make_result(
        facts,
        attempt,
        result.inputs,
        result.excluded,
        reports,
        result.operations,
        result.ref,
    )
    if result != expected:
        raise ProtocolError("a result departs from what its round prescribes")
    listed = [item.contribution for item in result.listed]
    split = len(result.inputs)
    if listed[:split] != sorted(listed[:split]) or listed[split:] != sorted(listed[split:]):
        raise ProtocolError("a result's contributions are not sorted")
    if len(set(listed)) != len(listed):
        raise ProtocolError("a result names a contribution twice")
    if len({item.peer for item in result.inputs}) != len(result.inputs):
        raise ProtocolError("a result counts a member twice")
    if not equivocators(result.listed).isdisjoint(item.peer for item in result.inputs):
        raise ProtocolError("a result counts a member that told members different things")
    after = facts.membership.folded(result.operations)
    if is_held(facts, after):
        raise ProtocolError("a result belongs to a round that nobody entitled has started")
    if not all(
        after.counts(item.peer, facts.membership) and facts.asks(item.peer)
        for item in result.inputs
    ):
        raise ProtocolError("a result counts the contribution of a non-participant")
    for item in result.listed:
        known = contributions.get(item.contribution)
        if known is None or known.peer != item.peer:
            raise ProtocolError("a result names a contribution nobody signed")
        if isinstance(item, ResultInput) and (
            item.blob != known.blob or item.weight != weight_of(known, facts)
        ):
            raise ProtocolError("a result changes the blob or weight of a contribution")
    _check_nothing_hidden(listed, facts, reports)
    if result.skipped and result.ref != facts.previous:
        raise ProtocolError("a skipped round does not keep the previous result")
    if not result.skipped and len(result.inputs) < facts.genesis.plan.min_contributions:
        raise ProtocolError("a result has fewer inputs than the plan asks for")


def _check_nothing_hidden(
    listed: Iterable[str], facts: Facts, reports: Mapping[str, NewAttempt]
) -> None:
    """What ``f + 1`` voters report, of whom one is honest, must be in the result or excluded."""
    counts = Counter(
        short for peer, report in reports.items() if peer in facts.voters for short in report.have
    )
    shown = {id_[:SHORT_ID] for id_ in listed}
    if any(count > facts.liars and short not in shown for short, count in counts.items()):
        raise ProtocolError("a result leaves out a contribution that voters reported")


def judge_contents(result: Result, verdict: Callable[[str], Verdict], facts: Facts) -> None:
    """Compares the leader's choice of inputs with this node's own checks of their blobs.

    Raises:
        ProtocolError: an input is bad here, or a good contribution was left out without need.
    """
    for item in result.inputs:
        if not verdict(item.contribution).ok:
            reason = verdict(item.contribution).reason
            raise ProtocolError(f"an input fails the check here: {reason}")
    after = facts.membership.folded(result.operations)
    good = {
        entry.peer
        for entry in result.excluded
        if verdict(entry.contribution).ok
        and after.counts(entry.peer, facts.membership)
        and facts.asks(entry.peer)
    }
    good -= {item.peer for item in result.inputs} | equivocators(result.listed)
    if not good:
        return
    if not result.skipped:
        raise ProtocolError("a good contribution was left out")
    if len(good) >= facts.genesis.plan.min_contributions:
        raise ProtocolError("a round was skipped although it had enough contributions")


def check_evidence(evidence: Evidence, quoted: Sequence[Envelope]) -> None:
    """Whether two verified envelopes prove that the accused contradicted itself.

    Raises:
        ProtocolError: they do not. A wrong result is no such proof: everybody recomputes it.
    """
    if len(quoted) != 2 or any(envelope.signer != evidence.accused for envelope in quoted):
        raise ProtocolError("evidence does not quote the accused twice")
    first, second = (parse(envelope.type, envelope.payload) for envelope in quoted)
    match first, second:
        case Vote(), Vote():
            same = (first.round, first.attempt, first.phase) == (
                second.round,
                second.attempt,
                second.phase,
            )
            proven = evidence.offence == "double_vote" and same and first.value != second.value
            proven = proven and first.round == evidence.round
        case Proposal(), Proposal():
            same = (first.round, first.attempt) == (second.round, second.attempt)
            proven = evidence.offence == "double_proposal" and same and first.body != second.body
            proven = proven and first.round == evidence.round
        case _:
            proven = False
    if not proven:
        raise ProtocolError("evidence proves nothing")
