"""A node whose disk forgot what it had said: noticing it, and keeping silent until it is safe.

A ledger that was damaged or brought back from a backup lacks votes that others may hold. Whoever
votes again without knowing them can help two results into the world. So such a node votes for
nothing until a round has begun in which it cannot have voted yet.
"""

from __future__ import annotations

from p2p.envelope import Envelope
from p2p.messages import (
    QC,
    AnyMessage,
    Contribution,
    NewAttempt,
    Operations,
    Proposal,
    Vote,
)
from p2p.rounds.effects import FetchCommits, Forgot, Rejected, Remembered
from p2p.rounds.voting import Voting

FORGOTTEN = (
    "this node's key has signed what its disk does not know (a backup brought back, or a copy of "
    "the profile on another machine): it does not vote until it has caught up"
)


class Remembering(Voting):
    """Compares what comes back with this node's signature to what its journal holds."""

    def _recognise(self, envelope: Envelope, message: AnyMessage) -> None:
        """A message of this node's own came back: its journal must know it."""
        if isinstance(message, Operations) or message.round < self.round or self.done:
            return
        journal = self.journal
        match message:
            case _ if message.round > self.round:
                known = False
            case Vote():
                known = journal.votes.get((message.attempt, message.phase)) == message.value
            case Proposal():
                known = message.attempt in journal.proposals
            case NewAttempt():
                known = message.attempt <= journal.attempt
            case Contribution():
                known = journal.contribution == envelope
            case _:
                known = True
        if not known:
            self._forget()

    def _recognise_certificate(self, qc: QC) -> None:
        """A certificate may hold a vote of this node's own."""
        has_signed = any(entry.peer == self.me for entry in qc.signatures)
        if has_signed and self.journal.votes.get((qc.attempt, qc.phase)) != qc.value:
            self._forget()

    def _forget(self) -> None:
        if not self.journal.amnesia:
            self._ends.clear()
            self._persist(Forgot(self.round))
            self._out.append(Rejected(self.me, FORGOTTEN))
            self._ask_for_ledgers()

    def _ask_for_ledgers(self) -> None:
        """Until it remembers, a node asks everybody who is there how far their ledgers go."""
        if self.journal.amnesia:
            for peer in sorted((self.alive & self.members.keys()) - self._ends.keys() - {self.me}):
                self._out.append(FetchCommits(peer, self.round))

    def _try_to_remember(self) -> None:
        """Ends the silence.

        This node can only have voted in a round that a quorum of its voters had reached by then.
        Every such quorum shares an honest member with any ``n - q + 1 + f`` of the other voters,
        so once that many have shown ledgers that end before the round, it is a fresh one. What
        they merely say of themselves counts for nothing: it may be old, or a lie.
        """
        if not self.journal.amnesia:
            return
        others = set(self.facts.voters) - {self.me}
        if others:
            before = [p for p in others if self._ends.get(p, self.round) < self.round]
            enough = len(self.facts.voters) - self.quorum + 1 + self.facts.liars
            is_sure = len(before) >= enough
        else:
            # It decides alone: whoever is there would have brought what it decided before.
            is_sure = (self.alive & self.members.keys()) - {self.me} <= self._ends.keys()
        if is_sure:
            self._persist(Remembered(self.round))
