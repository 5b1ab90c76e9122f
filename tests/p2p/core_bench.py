"""Round state machines on a bench: every message, timer and finished job is delivered by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from p2p.envelope import Envelope
from p2p.messages import Commit, Result, parse, parse_result
from p2p.room import Genesis, Policy
from p2p.rounds.core import RoundCore
from p2p.rounds.effects import (
    UNAVAILABLE,
    Broadcast,
    Combine,
    Effect,
    FetchBlob,
    FetchCommits,
    Journal,
    KeepResult,
    Persist,
    Rejected,
    Send,
    SetTimer,
    TimerName,
    Verify,
)
from p2p.rounds.state import OwnContribution, Timing
from p2p.sim.invariants import ALL, Invariants
from p2p.sim.parts import (
    ROOM_ID,
    SimSigner,
    blob_of,
    combine,
    contribution_blob,
    is_bad,
    simulated_genesis,
)
from p2p.workload import Verdict

Message = tuple[str, str, Envelope]
"""Sender, receiver, envelope."""


def everything(_: Message) -> bool:
    return True


class Bench:
    """A room of cores. Jobs (checks, combinations) are done at once."""

    def __init__(
        self,
        count: int = 4,
        *,
        rule: str = "majority",
        rounds: int = 3,
        min_contributions: int = 1,
        ask: int | None = None,
        carry: bool = False,
        start: bool = True,
        held: bool = False,
        core: type[RoundCore] = RoundCore,
    ) -> None:
        self._core = core
        base = simulated_genesis(count, "majority", 10_000)
        plan = base.plan.model_copy(
            update={
                "rounds": rounds,
                "min_contributions": min_contributions,
                "ask": ask,
                "start_on_request": held or None,
                "late": "carry" if carry else None,
            }
        )
        policy = Policy.model_validate({"quorum": rule, "max_blob": 1 << 20})
        self.genesis: Genesis = base.model_copy(update={"plan": plan, "policy": policy})
        self.peers = [member.peer_id for member in self.genesis.members]
        self.disks = {peer: Journal() for peer in self.peers}
        self.mail: deque[Message] = deque()
        self.timers: dict[tuple[str, TimerName], float] = {}
        self.refused: list[tuple[str, str]] = []
        self.effects: list[tuple[str, Effect]] = []
        self.missing: set[str] = set()
        self.slow: set[str] = set()
        self.mute: set[str] = set()  # Whose ledgers cannot be had.
        self.bad_arithmetic: set[str] = set()
        self.bare: set[str] = set()  # Who gets no result onto its disk.
        self.now = 0.0
        self.invariants = Invariants(ALL, self.genesis)
        self.cores = {peer: self._new(peer) for peer in self.peers}
        # Who leads attempts 0, 1, 2, ... of the first round.
        self.order = self.cores[self.peers[0]].facts.order
        if start:
            for peer in self.peers:
                self.feed(peer, lambda core: core.start(self.now))

    def _new(self, peer: str) -> RoundCore:
        journal = self.disks[peer].copy()
        return self._core(self.genesis, ROOM_ID, SimSigner(peer), journal, Timing())

    def signer(self, peer: str) -> SimSigner:
        return SimSigner(peer)

    def restart(self, peer: str) -> None:
        """kill -9 and a new start from disk."""
        self.mail = deque(m for m in self.mail if m[0] != peer)
        self.cores[peer] = self._new(peer)
        self.feed(peer, lambda core: core.start(self.now))

    # --- acting ----------------------------------------------------------------------------------
    def feed(self, peer: str, event: Callable[[RoundCore], list[Effect]]) -> list[Effect]:
        effects = event(self.cores[peer])
        for effect in effects:
            self.effects.append((peer, effect))
            self._do(peer, effect)
        core = self.cores[peer]
        self.invariants.on_step(peer, self.disks[peer], core.facts, core.quorum)
        return effects

    def _do(self, peer: str, effect: Effect) -> None:
        match effect:
            case Send():
                self.mail.append((peer, effect.to, effect.message))
            case Broadcast():
                self.mail.extend((peer, to, effect.message) for to in self.peers if to != peer)
            case Persist():
                self.disks[peer].apply(effect.record)
                self.invariants.on_persist(peer, effect)
            case SetTimer():
                if effect.after is None:
                    self.timers.pop((peer, effect.name), None)
                else:
                    self.timers[peer, effect.name] = self.now + effect.after
            case FetchBlob():
                blob = effect.contribution.blob
                if blob in self.slow and peer != effect.contribution.peer:
                    return
                verdict = Verdict(False, "not finite") if is_bad(blob) else Verdict(True)
                if blob in self.missing:
                    verdict = UNAVAILABLE
                self.feed(peer, lambda core: core.on_checked(effect.id, verdict, self.now))
            case Combine():
                blob = combine(effect.parts, effect.previous)
                if peer in self.bad_arithmetic:
                    blob = blob_of("f" * 64)
                self.feed(
                    peer,
                    lambda core: core.on_combined(effect.round, effect.attempt, blob, self.now),
                )
            case Verify():
                equal = combine(effect.parts, effect.previous) == effect.result
                verdict = Verdict(equal, "" if equal else "another result")
                self.feed(peer, lambda core: core.on_verified(effect.value, verdict, self.now))
            case KeepResult():
                kept = peer not in self.bare
                sha256 = effect.result.sha256
                self.feed(peer, lambda core: core.on_result_kept(sha256, kept, self.now))
            case FetchCommits():
                if effect.peer in self.mute:
                    return
                records = self.cores[effect.peer].journal.commits[self.cores[peer].round - 1 :]
                for record in records:
                    self.feed(
                        peer,
                        lambda core, p=record.payload: core.on_commit(effect.peer, p, self.now),
                    )
                end = self.cores[peer].round
                self.feed(peer, lambda core: core.on_ledger_end(effect.peer, end, self.now))
            case Rejected():
                self.refused.append((peer, effect.reason))

    def contribute(self, *peers: str, bad: Iterable[str] = ()) -> None:
        for peer in peers or tuple(self.peers):
            core = self.cores[peer]
            blob = contribution_blob(peer, core.round, core.head, peer in bad)
            own = OwnContribution(core.round, blob, samples=10, steps=1)
            self.feed(peer, lambda c, own=own: c.on_contribution(own, self.now))

    def deliver(self, wanted: Callable[[Message], bool] = everything, limit: int = 10_000) -> None:
        """Delivers mail until none is left; what is not wanted is lost."""
        for _ in range(limit):
            if not self.mail:
                return
            message = self.mail.popleft()
            if wanted(message):
                self.hand_over(message)
        raise AssertionError("the room never falls silent")

    def hand_over(self, message: Message) -> None:
        sender, receiver, envelope = message
        self.feed(receiver, lambda core: core.on_message(sender, envelope, self.now))

    def fire(self, peer: str, name: TimerName) -> None:
        self.timers.pop((peer, name), None)
        self.feed(peer, lambda core: core.on_timer(name, self.now))

    def persist_until(
        self,
        done: Callable[[], bool],
        wanted: Callable[[Message], bool],
        timers: Iterable[TimerName] = ("grace", "attempt"),
    ) -> None:
        """Delivers, and lets patience end where the room falls silent, until it is done."""
        for _ in range(20):
            self.deliver(wanted)
            if done():
                return
            for name in timers:
                self.fire_all(name)
                self.deliver(wanted)
        raise AssertionError("the room does not get on")

    def fire_all(self, name: TimerName) -> None:
        for peer in self.peers:
            if (peer, name) in self.timers:
                self.fire(peer, name)

    def alive(self, *peers: str) -> None:
        for peer in peers:
            self.feed(peer, lambda core: core.on_alive(peers, self.now))

    # --- looking ---------------------------------------------------------------------------------
    def values(self, round_number: int = 1) -> set[str]:
        return {
            core.journal.commits[round_number - 1].value
            for core in self.cores.values()
            if len(core.journal.commits) >= round_number
        }

    def committed(self) -> list[int]:
        return [len(core.journal.commits) for core in self.cores.values()]


def kind_is(*kinds: str) -> Callable[[Message], bool]:
    return lambda message: message[2].type in kinds


def kind_is_not(*kinds: str) -> Callable[[Message], bool]:
    return lambda message: message[2].type not in kinds


def result_of(bench: Bench, number: int) -> Result:
    commit = parse(Commit.kind, bench.cores[bench.peers[0]].journal.commits[number - 1].payload)
    assert isinstance(commit, Commit)
    return parse_result(commit.body)


def decide_without(bench: Bench, absent: str) -> None:
    """A round in which nobody hears from ``absent``, which hears the commit alone."""
    present = [peer for peer in bench.peers if peer != absent]
    number = bench.cores[present[0]].round
    bench.contribute(*present)
    bench.alive(*present)

    def heard(message: Message) -> bool:
        return message[0] != absent and (message[1] != absent or message[2].type == Commit.kind)

    bench.persist_until(lambda: bench.committed() == [number] * len(bench.peers), heard)
    bench.alive(*bench.peers)
