"""Virtual time, a faulty network and dying machines around :class:`p2p.rounds.core.RoundCore`.

The faults are those that found bugs, most of them aimed at the protocol's delicate steps as in
FoundationDB's simulation: certificates that reach only some, a leader that dies right after it
committed, a power cut while one node alone knows a commit.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Final

from p2p.envelope import Envelope
from p2p.messages import Commit, Prepared, Vote
from p2p.rounds.core import RoundCore
from p2p.rounds.effects import (
    UNAVAILABLE,
    Broadcast,
    Combine,
    CommitRound,
    Effect,
    FetchBlob,
    FetchCommits,
    Journal,
    Persist,
    RoundOpened,
    Send,
    SetTimer,
    TimerName,
    Verify,
)
from p2p.rounds.quorum import Rule
from p2p.rounds.state import OwnContribution, Timing
from p2p.sim.invariants import ALL, Invariants
from p2p.sim.liar import Liar
from p2p.sim.parts import (
    ROOM_ID,
    SimSigner,
    combine,
    contribution_blob,
    is_bad,
    peer_ids,
    simulated_genesis,
)
from p2p.workload import Verdict

TIMING: Final = Timing(base=2.0, grace=0.3, dead_leader=0.4, resend=0.7)
DEADLINE_MS: Final = 4_000
MAX_FETCHED: Final = 20
MAX_BLOB_TRIES: Final = 4
TRAINING_SECONDS: Final = (0.2, 1.2)
BAD_CONTRIBUTIONS: Final = 0.05


@dataclass(frozen=True)
class Scenario:
    """What to simulate. Times in virtual seconds; faults stop at ``calm``.

    ``vote_crash`` is how likely a node dies right after it sent a vote.
    """

    nodes: int = 5
    rule: Rule = "majority"
    liars: int = 0
    loss: float = 0.15
    vote_crash: float = 0.15
    timing: Timing = TIMING
    calm: float = 60.0
    horizon: float = 120.0
    core: type[RoundCore] = RoundCore
    on_crash: Callable[[Journal], None] | None = None
    checked: Collection[str] = ALL


@dataclass(frozen=True)
class Outcome:
    """What a run achieved. ``lag`` is how many rounds the slowest honest node is behind."""

    rounds: int
    rounds_before_calm: int
    lag: int
    steps: int

    @property
    def live(self) -> bool:
        """Whether rounds were decided after the faults stopped, and everybody followed."""
        return self.rounds > self.rounds_before_calm and self.lag <= 2


@dataclass
class Machine:
    """A simulated computer. ``disk`` is what survives; ``boot`` counts its starts."""

    id: str
    core: RoundCore
    liar: bool
    drift: float
    disk: Journal = field(default_factory=Journal)
    up: bool = True
    asleep_until: float = 0.0
    boot: int = 0
    side: int = 0
    alone_until: float = 0.0
    timers: dict[TimerName, int] = field(default_factory=dict)


class Simulation:
    """One execution, decided by its seed. :meth:`run` raises :class:`Violation`."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = random.Random(seed)
        self.now = 0.0
        self.invariants = Invariants(scenario.checked)
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._blobs: dict[str, set[str]] = defaultdict(set)
        self._genesis = simulated_genesis(scenario.nodes, scenario.rule, DEADLINE_MS)
        self.machines: dict[str, Machine] = {}
        for index, peer in enumerate(peer_ids(scenario.nodes)):
            liar = index < scenario.liars
            core = self._new_core(peer, liar, Journal())
            self.machines[peer] = Machine(peer, core, liar, self.random.uniform(0.8, 1.25))

    def run(self) -> Outcome:
        for machine in self.machines.values():
            self._start(machine)
            self._every(machine, 0.7, self._gossip)
        self._schedule_faults()
        before = 0
        self._at(self.scenario.calm, self._heal)
        while self._queue and self._queue[0][0] <= self.scenario.horizon:
            was_calm = self.now >= self.scenario.calm
            self.now, _, action = heapq.heappop(self._queue)
            if not was_calm and self.now >= self.scenario.calm:
                before = self._longest()
            self.steps += 1
            action()
        shortest = min(len(m.core.journal.commits) for m in self._honest())
        return Outcome(self._longest(), before, self._longest() - shortest, self.steps)

    def _honest(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if not machine.liar]

    def _longest(self) -> int:
        return max(len(machine.core.journal.commits) for machine in self._honest())

    @property
    def _is_calm(self) -> bool:
        return self.now >= self.scenario.calm

    def _at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time, next(self._order), action))

    # --- machines --------------------------------------------------------------------------------
    def _new_core(self, peer: str, liar: bool, journal: Journal) -> RoundCore:
        kind: type[RoundCore] = self.scenario.core
        if liar:
            kind = Liar
        return kind(self._genesis, ROOM_ID, SimSigner(peer), journal, self.scenario.timing)

    def _start(self, machine: Machine) -> None:
        self._execute(machine, machine.core.start(self.now))

    def _feed(self, machine: Machine, boot: int, event: Callable[[], list[Effect]]) -> None:
        """Delivers an event, later when the machine sleeps, never when it has died since."""
        if not machine.up or machine.boot != boot:
            return
        if self.now < machine.asleep_until:
            self._at(machine.asleep_until, lambda: self._feed(machine, boot, event))
            return
        self._execute(machine, event())

    def _after(self, machine: Machine, delay: float, event: Callable[[], list[Effect]]) -> None:
        boot = machine.boot
        self._at(self.now + delay, lambda: self._feed(machine, boot, event))

    def _every(self, machine: Machine, period: float, action: Callable[[Machine], None]) -> None:
        def tick() -> None:
            self._at(self.now + period * self.random.uniform(0.9, 1.1), tick)
            if machine.up and self.now >= machine.asleep_until:
                action(machine)

        self._at(self.random.uniform(0, period), tick)

    def _crash(self, machine: Machine) -> None:
        if not machine.up:
            return
        machine.up = False
        machine.boot += 1
        quick = self.random.random() < 0.5
        pause = self.random.uniform(0.01, 0.2) if quick else self.random.uniform(0.2, 6.0)
        self._at(self.now + pause, lambda: self._restart(machine))

    def _restart(self, machine: Machine) -> None:
        if machine.up:
            return
        machine.up = True
        machine.asleep_until = 0.0
        machine.timers.clear()
        if self.scenario.on_crash is not None:
            self.scenario.on_crash(machine.disk)
        machine.core = self._new_core(machine.id, machine.liar, _copy(machine.disk))
        self._watch(machine)
        self._start(machine)

    # --- effects ---------------------------------------------------------------------------------
    def _execute(self, machine: Machine, effects: list[Effect]) -> None:
        for effect in self._buggify(machine, effects):
            match effect:
                case Persist():
                    machine.disk.apply(effect.record)
                    if not machine.liar:
                        self.invariants.on_persist(machine.id, effect)
                case Send():
                    self._transmit(machine, effect.to, effect.message)
                case Broadcast():
                    for peer in self.machines:
                        if peer != machine.id:
                            self._transmit(machine, peer, effect.message)
                case SetTimer():
                    self._set_timer(machine, effect)
                case CommitRound():
                    if not machine.liar:
                        self.invariants.on_commit(machine.id, effect)
                case RoundOpened():
                    self._train(machine, effect.round, effect.parent)
                case FetchBlob():
                    self._fetch_blob(machine, effect, MAX_BLOB_TRIES)
                case Combine() as work:
                    self._combine(machine, work)
                case Verify() as work:
                    self._verify(machine, work)
                case FetchCommits():
                    self._fetch_commits(machine, effect)
        self._watch(machine)

    def _watch(self, machine: Machine) -> None:
        if not machine.liar:
            core = machine.core
            self.invariants.on_step(machine.id, machine.disk, core.facts, core.quorum)

    def _set_timer(self, machine: Machine, effect: SetTimer) -> None:
        token = next(self._order)
        machine.timers[effect.name] = token
        if effect.after is None:
            return
        name = effect.name

        def fire() -> list[Effect]:
            if machine.timers.get(name) != token:
                return []
            return machine.core.on_timer(name, self.now)

        self._after(machine, effect.after * machine.drift, fire)

    def _train(self, machine: Machine, round_number: int, parent: str) -> None:
        bad = self.random.random() < BAD_CONTRIBUTIONS
        blob = contribution_blob(machine.id, round_number, parent, bad)
        samples = self.random.randint(1, 60)

        def finish() -> list[Effect]:
            self._blobs[blob.sha256].add(machine.id)
            own = OwnContribution(round_number, blob, samples, steps=10)
            return machine.core.on_contribution(own, self.now)

        self._after(machine, self.random.uniform(*TRAINING_SECONDS), finish)

    def _fetch_blob(self, machine: Machine, effect: FetchBlob, tries: int) -> None:
        blob = effect.contribution.blob

        def arrive() -> list[Effect]:
            holders = (self.machines[peer] for peer in self._blobs[blob])
            if any(holder is machine or self._connected(holder, machine) for holder in holders):
                self._blobs[blob].add(machine.id)
                verdict = Verdict(False, "not finite") if is_bad(blob) else Verdict(True)
                return machine.core.on_checked(effect.id, verdict, self.now)
            if tries == 1:
                return machine.core.on_checked(effect.id, UNAVAILABLE, self.now)
            self._fetch_blob(machine, effect, tries - 1)
            return []

        self._after(machine, self.random.uniform(0.02, 0.3), arrive)

    def _combine(self, machine: Machine, work: Combine) -> None:
        blob = combine(work.parts, work.previous)
        self._after(
            machine,
            self.random.uniform(0.02, 0.4),
            lambda: machine.core.on_combined(work.round, work.attempt, blob, self.now),
        )

    def _verify(self, machine: Machine, work: Verify) -> None:
        equal = combine(work.parts, work.previous) == work.result
        verdict = Verdict(equal, "" if equal else "another result")
        self._after(
            machine,
            self.random.uniform(0.02, 0.4),
            lambda: machine.core.on_verified(work.value, verdict, self.now),
        )

    def _fetch_commits(self, machine: Machine, effect: FetchCommits) -> None:
        source = self.machines[effect.peer]
        boot = machine.boot

        def answer() -> None:
            if not source.up or source.liar or not self._connected(source, machine):
                return
            found = source.core.journal.commits[effect.first - 1 :][:MAX_FETCHED]
            for record in found:
                self._feed(
                    machine,
                    boot,
                    lambda payload=record.payload: machine.core.on_commit(  # type: ignore[misc]
                        source.id, payload, self.now
                    ),
                )

        self._at(self.now + self._delay(), answer)

    # --- the network -----------------------------------------------------------------------------
    def _connected(self, a: Machine, b: Machine) -> bool:
        if not (a.up and b.up) or a.side != b.side:
            return False
        awake = self.now >= max(a.asleep_until, b.asleep_until)
        return awake and (self._is_calm or self.now >= max(a.alone_until, b.alone_until))

    def _delay(self) -> float:
        return 0.001 + self.random.expovariate(1 / (0.03 if self._is_calm else 0.25))

    def _transmit(self, source: Machine, to: str, message: Envelope) -> None:
        if self.random.random() < (0.01 if self._is_calm else self.scenario.loss):
            return
        target = self.machines[to]
        for _ in range(2 if self.random.random() < 0.05 else 1):
            self._at(self.now + self._delay(), lambda: self._deliver(source, target, message))

    def _deliver(self, source: Machine, target: Machine, message: Envelope) -> None:
        lone = not self._is_calm and self.now < max(source.alone_until, target.alone_until)
        awake = target.up and self.now >= target.asleep_until
        if awake and source.side == target.side and not lone:
            core = target.core
            self._execute(target, core.on_message(source.id, message, self.now))

    def _gossip(self, machine: Machine) -> None:
        """The liveness layer: who answers, with some errors, and how far the others are."""
        seen = {other.id for other in self.machines.values() if self._connected(machine, other)}
        if not self._is_calm and self.random.random() < 0.1:
            seen.discard(self.random.choice(list(self.machines)))
        self._execute(machine, machine.core.on_alive(seen, self.now))
        for peer in sorted(seen - {machine.id}):
            other = self.machines[peer]
            if not other.liar and self.random.random() > self.scenario.loss:
                head = other.core.round
                self._execute(machine, machine.core.on_peer_head(peer, head, self.now))

    # --- faults ----------------------------------------------------------------------------------
    def _schedule_faults(self) -> None:
        time = 0.0
        kinds = (self._crash_one, self._crash_one, self._sleep_one, self._split, self._split,
                 self._unsplit)  # fmt: skip
        while True:
            time += self.random.expovariate(1 / 3.0)
            if time >= self.scenario.calm:
                return
            self._at(time, self.random.choice(kinds))

    def _crash_one(self) -> None:
        self._crash(self.random.choice(list(self.machines.values())))

    def _sleep_one(self) -> None:
        machine = self.random.choice(list(self.machines.values()))
        machine.asleep_until = max(machine.asleep_until, self.now + self.random.uniform(1, 15))

    def _split(self) -> None:
        for machine in self.machines.values():
            machine.side = self.random.randrange(2)

    def _unsplit(self) -> None:
        for machine in self.machines.values():
            machine.side = 0

    def _power_cut(self) -> None:
        for machine in self.machines.values():
            if self.now >= machine.alone_until:
                self._crash(machine)

    def _heal(self) -> None:
        self._unsplit()

    def _buggify(self, machine: Machine, effects: list[Effect]) -> list[Effect]:
        """Hits where it hurts: around certificates and votes."""
        if self._is_calm or not effects:
            return effects
        kinds = {e.message.type for e in effects if isinstance(e, Send | Broadcast)}
        chance = self.random.random
        formed_commit = Commit.kind in kinds and any(isinstance(e, CommitRound) for e in effects)
        if formed_commit and chance() < 0.25:
            machine.alone_until = self.now + self.random.uniform(5, 20)
            if chance() < 0.5:
                self._at(self.now + self.random.uniform(0.01, 1.0), self._power_cut)
            return [e for e in effects if not isinstance(e, Send | Broadcast)]
        if kinds & {Commit.kind, Prepared.kind} and chance() < 0.35:
            count = self.random.randint(0, max(1, len(self.machines) // 2))
            lucky = self.random.sample(list(self.machines), count)
            if chance() < 0.7:
                self._die_after(machine)
            return _only_to(lucky, effects)
        if Vote.kind in kinds and chance() < self.scenario.vote_crash:
            self._die_after(machine)
        elif chance() < 0.002:
            self._die_after(machine)
            return effects[: self.random.randrange(len(effects))]
        return effects

    def _die_after(self, machine: Machine) -> None:
        boot = machine.boot
        self._at(self.now, lambda: self._crash(machine) if machine.boot == boot else None)


def _only_to(lucky: Collection[str], effects: list[Effect]) -> list[Effect]:
    """Certificates reach only some members; everything else is untouched."""
    kept: list[Effect] = []
    for effect in effects:
        certificate = isinstance(effect, Send | Broadcast) and effect.message.type in (
            Commit.kind,
            Prepared.kind,
        )
        if isinstance(effect, Broadcast) and certificate:
            kept += [Send(peer, effect.message) for peer in lucky]
        elif not (isinstance(effect, Send) and certificate and effect.to not in lucky):
            kept.append(effect)
    return kept


def _copy(journal: Journal) -> Journal:
    return replace(
        journal,
        commits=list(journal.commits),
        votes=dict(journal.votes),
        proposals=dict(journal.proposals),
    )
