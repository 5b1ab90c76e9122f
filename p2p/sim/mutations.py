"""Deliberately broken variants of the protocol. A simulator that does not catch them is blind."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final, Literal

from p2p.rounds.core import RoundCore
from p2p.rounds.effects import Effect, Journal, Lock
from p2p.rounds.quorum import Rule, leader_order, quorum_size
from p2p.rounds.rules import Facts
from p2p.sim.invariants import ALL, OUTCOME
from p2p.sim.world import Scenario


class NoLockRule(RoundCore):
    """M1: a voter forgets what it locked on."""

    def _locked(self) -> Lock | None:
        return None

    def _best_lock(self) -> Lock | None:
        return None


class LiveQuorum(RoundCore):
    """M4: a quorum of the peers seen now, instead of the committed voters."""

    @property
    def quorum(self) -> int:
        seen = len(self.alive & set(self.facts.voters))
        return quorum_size(max(1, seen), self.genesis.policy.quorum)


class WeakQuorum(RoundCore):
    """M5: half of the voters suffice."""

    @property
    def quorum(self) -> int:
        voters = len(self.facts.voters)
        return voters // 2 if voters > 2 else super().quorum


class OnePhase(RoundCore):
    """M6: a round is committed by its first quorum of prepare votes."""

    commit_phase = "prepare"


class CountsNewcomers(RoundCore):
    """M7: who was admitted votes at once, before a commit says so: two sides that know of
    different newcomers count quorums that do not meet."""

    _counted_for = (0, 0)
    _counted: Facts

    @property
    def facts(self) -> Facts:
        facts = self._committed_facts
        if not hasattr(self, "_admissions"):
            return facts
        if self._counted_for == (id(facts), id(self.membership)):
            return self._counted
        fresh = self.members.keys() - facts.members.keys()
        voters = tuple(sorted({*facts.voters, *fresh} & self.members.keys()))
        order = leader_order(voters, self.room_id, facts.round, self.members)
        self._counted_for = (id(facts), id(self.membership))
        self._counted = replace(facts, voters=voters, order=order)
        return self._counted

    @facts.setter
    def facts(self, facts: Facts) -> None:
        self._committed_facts = facts


class CountsRemoved(RoundCore):
    """M8: the vote of a removed member counts until somebody notices."""

    @property
    def quorum(self) -> int:
        still = set(self.facts.voters) - self.membership.removed
        return quorum_size(max(1, len(still)), self.genesis.policy.quorum)


class NeverForgets(RoundCore):
    """M9: a node believes its disk, whatever others hold with its signature."""

    def _forget(self) -> None:
        pass


class BelievesHeads(RoundCore):
    """M10: a node that forgot its votes believes how far others say they are."""

    _far = 0

    def on_peer_head(self, peer: str, round_number: int, now: float) -> list[Effect]:
        self._far = max(self._far, round_number)
        return super().on_peer_head(peer, round_number, now)

    def _try_to_remember(self) -> None:
        if self.round > self._far:
            super()._try_to_remember()


class HastyMemory(RoundCore):
    """M11: a node that forgot its votes votes again once it has fetched what it lacks."""

    def on_ledger_end(self, peer: str, round_number: int, now: float) -> list[Effect]:
        return super().on_ledger_end(peer, round_number - 1, now)


class OwnClock(RoundCore):
    """M12: patience with an attempt begins when a voter enters it, wherever the others are."""

    @property
    def quorum(self) -> int:
        return 1 if self._entering else super().quorum

    _entering = False

    def _begin_patience(self) -> None:
        self._entering = True
        super()._begin_patience()
        self._entering = False


class VotesUnseen(RoundCore):
    """M14: a certificate is enough for the vote that commits, wherever the result is."""

    def _is_kept(self, result_blob: str) -> bool:
        return True


class CountsGivenUpKeys(RoundCore):
    """M15: a key that was given up votes on beside the one that took its place."""

    _counted_for = 0
    _counted: Facts

    @property
    def facts(self) -> Facts:
        facts = self._committed_facts
        if self._counted_for != id(facts):
            given_up = {
                old
                for old in facts.membership.successors
                if facts.membership.now(old) in facts.voters
            }
            self._counted = replace(facts, voters=tuple(sorted({*facts.voters, *given_up})))
            self._counted_for = id(facts)
        return self._counted

    @facts.setter
    def facts(self, facts: Facts) -> None:
        self._committed_facts = facts


class RemembersStrangers(RoundCore):
    """M17: what a newcomer contributed that left again is reported on and on."""

    def _forget_strangers(self) -> None:
        pass


def lose_lock(journal: Journal) -> None:
    """M2: kill -9 loses the lock."""
    journal.lock = None


def lose_votes(journal: Journal) -> None:
    """M3: kill -9 loses the votes, the lock and the own proposals."""
    journal.lock = None
    journal.votes.clear()
    journal.proposals.clear()


@dataclass(frozen=True)
class Mutation:
    """What to break, and the room in which it shows."""

    about: str
    core: type[RoundCore] = RoundCore
    on_crash: Callable[[Journal], None] | None = None
    nodes: int | None = None
    liars: int = 0
    rule: Rule = "majority"
    vote_crash: float = 0.15
    restore: float = 0.0
    notices_copies: bool = False
    newcomers: int = 0
    removals: int = 0
    leavings: int = 0
    key_changes: int = 0
    waits_for_others: bool = True
    stolen_keys: bool = False
    locked_doors: bool = True
    checked: Collection[str] = OUTCOME
    keeps_results: bool = True
    shows_as: Literal["unsafe", "stuck"] = "unsafe"

    def scenario(self, nodes: int = 5) -> Scenario:
        """The room in which this variant is caught: by the fork it causes or, where chance seldom
        makes one, by the broken rule."""
        return Scenario(
            nodes=self.nodes or nodes,
            rule=self.rule,
            liars=self.liars,
            vote_crash=self.vote_crash,
            restore=self.restore,
            notices_copies=self.notices_copies,
            newcomers=self.newcomers,
            keeps_results=self.keeps_results,
            removals=self.removals,
            leavings=self.leavings,
            key_changes=self.key_changes,
            waits_for_others=self.waits_for_others,
            stolen_keys=self.stolen_keys,
            locked_doors=self.locked_doors,
            min_voters=3,
            core=self.core,
            on_crash=self.on_crash,
            checked=self.checked,
        )


MUTATIONS: Final[dict[str, Mutation]] = {
    "no-lock": Mutation("M1 no lock rule", core=NoLockRule),
    "lost-lock": Mutation("M2 the lock is lost by kill -9", core=NeverForgets, on_crash=lose_lock),
    "lost-votes": Mutation(
        "M3 votes and lock are lost by kill -9, one voter lies",
        core=NeverForgets,
        on_crash=lose_votes,
        nodes=4,
        liars=1,
        rule="two_thirds",
        vote_crash=0.4,
    ),
    "live-quorum": Mutation("M4 quorum over the peers seen alive", core=LiveQuorum),
    "weak-quorum": Mutation("M5 half of the voters suffice", core=WeakQuorum, nodes=4),
    "one-phase": Mutation("M6 committed by the first quorum of prepares", core=OnePhase),
    "counts-newcomers": Mutation(
        "M7 voters before a commit names them",
        core=CountsNewcomers,
        nodes=3,
        newcomers=4,
    ),
    "counts-removed": Mutation(
        "M8 a removal shrinks the quorum at once",
        core=CountsRemoved,
        nodes=5,
        removals=3,
        checked=ALL,
    ),
    "old-disk": Mutation(
        "M9 an old disk image is trusted", core=NeverForgets, nodes=3, restore=0.3
    ),
    "claimed-heads": Mutation(
        "M10 claims of a liar keep a forgetful node silent",
        core=BelievesHeads,
        nodes=7,
        liars=1,
        rule="two_thirds",
        restore=0.2,
        notices_copies=True,
        shows_as="stuck",
    ),
    "hasty-memory": Mutation(
        "M11 a forgetful node votes once it has caught up",
        core=HastyMemory,
        nodes=3,
        restore=0.3,
        notices_copies=True,
        checked=ALL,
    ),
    "own-clock": Mutation(
        "M12 attempts are not kept together",
        core=OwnClock,
        nodes=7,
        liars=1,
        rule="two_thirds",
        restore=0.2,
        notices_copies=True,
        shows_as="stuck",
    ),
    "unsynced-result": Mutation(
        "M13 a power cut takes the result of a commit away",
        keeps_results=False,
        nodes=3,
        checked=ALL,
    ),
    "unseen-result": Mutation(
        "M14 voters commit what they do not have",
        core=VotesUnseen,
        nodes=3,
        checked=ALL,
    ),
    "two-keys": Mutation(
        "M15 a given-up key votes beside its successor",
        core=CountsGivenUpKeys,
        nodes=3,
        key_changes=2,
        stolen_keys=True,
        locked_doors=False,
        checked=ALL,
    ),
    "hasty-key": Mutation(
        "M16 a machine takes its next key before others know of it",
        nodes=2,
        key_changes=2,
        waits_for_others=False,
        shows_as="stuck",
    ),
    "strangers": Mutation(
        "M17 a newcomer that left again is not forgotten",
        core=RemembersStrangers,
        nodes=3,
        newcomers=4,
        leavings=3,
        shows_as="stuck",
    ),
    "majority-liar": Mutation("a majority room with a lying leader", nodes=3, liars=1),
}
