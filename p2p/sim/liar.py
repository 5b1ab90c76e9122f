"""A member that lies in every way the protocol must survive in a two-thirds room."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from p2p.envelope import Envelope
from p2p.messages import (
    QC,
    Commit,
    Leave,
    Phase,
    Prepared,
    Proposal,
    Vote,
    parse,
    parse_result,
    value_of,
)
from p2p.rounds import rules
from p2p.rounds.core import RoundCore
from p2p.rounds.effects import Broadcast, Effect
from p2p.rounds.quorum import make_qc
from p2p.rounds.state import OwnContribution
from p2p.sim.parts import combine


class Liar(RoundCore):
    """Equivocates as a leader and signs everything as a voter.

    It keeps its own contribution to itself, so that a result with it and one without it are both
    flawless, and says that it left, so that nobody waits for it. As a leader it shows one of the
    two to half of the voters and the other to the rest, later both to all, and gives each
    certificate only to those who signed it, a commit to but one of them: a voter that forgot its
    vote is still there to be asked for another.
    """

    _twins: tuple[Envelope, ...] = ()
    _boxes: dict[tuple[int, Phase, str], dict[str, bytes]]
    _turn = 0

    def on_contribution(self, own: OwnContribution, now: float) -> list[Effect]:
        effects = super().on_contribution(own, now)
        left = Broadcast(self._signer.seal(Leave(round=self.round)))
        return [left, *(effect for effect in effects if not isinstance(effect, Broadcast))]

    def _forget(self) -> None:
        """It signs what it never wrote down, and does not care."""

    def _open_round(self) -> None:
        self._twins, self._boxes = (), defaultdict(dict)
        super()._open_round()

    def _propose(
        self,
        body: str,
        just: QC | None,
        reports: Mapping[str, Envelope],
        contributions: Iterable[Envelope],
    ) -> None:
        result, contributions = parse_result(body), list(contributions)
        others = tuple(item for item in result.inputs if item.peer != self.me)
        if just is not None or not others or len(others) == len(result.inputs):
            super()._propose(body, just, reports, contributions)
            return
        blob = combine(rules.parts_of(others), self.facts.previous)
        twin = rules.make_result(
            self.facts,
            self.attempt,
            others,
            result.excluded,
            reports,
            result.operations,
            blob,
        )
        quoted = [c for c in contributions if c.signer != self.me]
        silent = {peer: report for peer, report in reports.items() if peer != self.me}
        mute = self._silent_report(silent)
        pair = ((body, reports, contributions), (twin.to_bytes().decode(), mute, quoted))
        self._twins = tuple(
            self._signer.seal(
                Proposal(
                    round=self.round,
                    attempt=self.attempt,
                    body=text,
                    new_attempts=tuple(e.to_bytes().decode() for _, e in sorted(who.items())),
                    contributions=tuple(e.to_bytes().decode() for e in what),
                )
            )
            for text, who, what in pair
        )
        super()._announce(self._twins[0])
        self._out = [effect for effect in self._out if not isinstance(effect, Broadcast)]
        for index, peer in enumerate(p for p in self.facts.voters if p != self.me):
            self._send(peer, self._twins[index % 2])
        self._sign_both("prepare")

    def _silent_report(self, reports: dict[str, Envelope]) -> dict[str, Envelope]:
        """Its own report again, without the contribution it hides."""
        own, self._round.contributions = (
            self._round.contributions,
            {id_: c for id_, c in self._round.contributions.items() if c.peer != self.me},
        )
        reports[self.me] = self._own_report()
        self._round.contributions = own
        return reports

    def _bodies(self) -> dict[str, str]:
        bodies = {}
        for envelope in self._twins:
            proposal = parse(envelope.type, envelope.payload)
            assert isinstance(proposal, Proposal)
            if proposal.attempt == self.attempt:
                bodies[value_of(proposal.body)] = proposal.body
        return bodies

    def _sign_both(self, phase: Phase) -> None:
        for value in self._bodies():
            self._sign(phase, value, self.attempt)

    def _sign(self, phase: Phase, value: str, attempt: int) -> None:
        vote = Vote(attempt=attempt, phase=phase, round=self.round, value=value)
        envelope = self._signer.seal(vote)
        if self.facts.leader(attempt) == self.me:
            self._on_vote(envelope, vote)
        else:
            self._send(self.facts.leader(attempt), envelope)

    def _on_proposal(self, envelope: Envelope, proposal: Proposal) -> None:
        super()._on_proposal(envelope, proposal)
        self._sign("prepare", value_of(proposal.body), proposal.attempt)

    def _on_vote(self, envelope: Envelope, vote: Vote) -> None:
        bodies = self._bodies()
        if vote.value not in bodies or vote.attempt != self.attempt:
            super()._on_vote(envelope, vote)
            return
        box = self._boxes[vote.attempt, vote.phase, vote.value]
        known = len(box)
        box[envelope.signer] = envelope.signature
        if known >= self.quorum or len(box) < self.quorum:
            return
        qc = make_qc(vote, box)
        body = bodies[vote.value]
        others = sorted(box.keys() - {self.me})
        if vote.phase == self.commit_phase:
            self._send(others[0], self._signer.seal(Commit(body=body, qc=qc)))
            return
        self._sign("commit", vote.value, vote.attempt)
        for peer in others:
            self._send(peer, self._signer.seal(Prepared(body=body, qc=qc)))

    def _repeat(self) -> None:
        if not self._bodies():
            super()._repeat()
            return
        self._turn += 1
        self._out.append(Broadcast(self._twins[self._turn % 2]))
        for (attempt, phase, value), box in list(self._boxes.items()):
            if len(box) >= self.quorum and attempt == self.attempt and phase == "prepare":
                vote = Vote(attempt=attempt, phase=phase, round=self.round, value=value)
                body = self._bodies()[value]
                self._out.append(
                    Broadcast(self._signer.seal(Prepared(body=body, qc=make_qc(vote, box))))
                )


class Thief(Liar):
    """Has a copy of a key that its owner has given up, and votes as if it were the owner."""

    def _may_vote(self) -> bool:
        return True
