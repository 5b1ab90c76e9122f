"""Virtual time, a faulty network and dying machines around :class:`p2p.rounds.core.RoundCore`.

What fails is in :mod:`p2p.sim.faults`, who comes and goes in :mod:`p2p.sim.people`, whose key
changes in :mod:`p2p.sim.keys`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from p2p.envelope import Envelope
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
    OperationHeard,
    Persist,
    RoundOpened,
    Send,
    SetTimer,
    TimerName,
    Verify,
)
from p2p.rounds.ledger import Ledger
from p2p.rounds.quorum import Rule, quorum_size
from p2p.rounds.rekeying import Rekeying
from p2p.rounds.state import OwnContribution, Timing
from p2p.sim.faults import Faults
from p2p.sim.hearing import Hearing
from p2p.sim.invariants import ALL, Invariants, Violation
from p2p.sim.keys import Keys
from p2p.sim.liar import Liar, Thief
from p2p.sim.parts import (
    INITIAL,
    ROOM_ID,
    SimSigner,
    combine,
    contribution_blob,
    is_bad,
    open_simulated,
    peer_ids,
    simulated_genesis,
)
from p2p.sim.people import People
from p2p.workload import Verdict

TIMING: Final = Timing(base=2.0, grace=0.3, dead_leader=0.4, resend=0.7)
DEADLINE_MS: Final = 4_000
MAX_FETCHED: Final = 20
MAX_BLOB_TRIES: Final = 4
RETRY_SECONDS: Final = 1.0
FAR_AHEAD: Final = 99_999
"""The round that a liar says it works on."""
TRAINING_SECONDS: Final = (0.2, 1.2)
BAD_CONTRIBUTIONS: Final = 0.05
MAX_DRIFT: Final = 1.25
"""How much faster or slower a clock may run."""


@dataclass(frozen=True)
class Scenario:
    """What to simulate. Times in virtual seconds; faults stop at ``calm``, and by ``horizon`` the
    room should have gone on. It gets :attr:`a_turn` more when silent and lying leaders come first.

    ``vote_crash`` is how likely a node dies right after it sent a vote, ``restore`` how likely a
    machine that starts does so from an old disk image, which a node finds out when it
    ``notices_copies``. ``nodes`` found the room; while it works ``newcomers`` are admitted,
    ``removals`` take place, as many members as ``leavings`` go by themselves, and ``key_changes``
    get new keys, with which they go on once enough others know if the scenario
    ``waits_for_others``; with ``stolen_keys`` somebody has a copy of each key that is given up,
    hears what is said to all, and votes. With ``locked_doors`` nobody listens to whoever is no
    member in its eyes. With ``carry`` late contributions count in the next round. With ``swim`` who
    is there is what the product's failure detection finds; otherwise it is known, with some errors.
    ``keeps_results`` flushes a result before the vote that may commit it. ``ledgers`` puts the
    product's ledger files under the simulated disks.
    """

    nodes: int = 5
    rule: Rule = "majority"
    liars: int = 0
    loss: float = 0.15
    vote_crash: float = 0.15
    restore: float = 0.0
    notices_copies: bool = True
    newcomers: int = 0
    removals: int = 0
    leavings: int = 0
    key_changes: int = 0
    waits_for_others: bool = True
    stolen_keys: bool = False
    min_voters: int = 2
    carry: bool = False
    swim: bool = False
    keeps_results: bool = True
    locked_doors: bool = True
    ledgers: bool = False
    timing: Timing = TIMING
    calm: float = 60.0
    horizon: float = 120.0
    core: type[RoundCore] = RoundCore
    on_crash: Callable[[Journal], None] | None = None
    checked: Collection[str] = ALL

    @property
    def a_turn(self) -> float:
        """How long it takes at most until every member has led once, whoever of them is silent."""
        timing = self.timing
        longest = timing.base * timing.cap * (1 + timing.jitter) * MAX_DRIFT
        return longest * (self.nodes + self.newcomers)


@dataclass(frozen=True)
class Outcome:
    """What a run achieved. ``lag`` is how many rounds the slowest honest node is behind, ``silent``
    how many of those that forgot their votes have not dared to vote again."""

    rounds: int
    rounds_before_calm: int
    lag: int
    silent: int
    steps: int

    @property
    def live(self) -> bool:
        """Whether rounds were decided after the faults stopped, and everybody takes part again."""
        return self.rounds > self.rounds_before_calm and self.lag <= 2 and not self.silent


@dataclass
class Machine:
    """A simulated computer. ``disk`` is what survives; ``boot`` counts its starts.
    ``unsynced`` are blobs that a power cut takes away. ``vouched`` are the ids of the changes that
    came with its admission. ``id`` is its key, ``next_key`` the one that is to take its place."""

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
    slow_until: float = 0.0
    full_until: float = 0.0
    clock: float = 0.0
    images: list[Journal] = field(default_factory=list)
    unsynced: set[str] = field(default_factory=set)
    ledger: Ledger | None = None
    timers: dict[TimerName, int] = field(default_factory=dict)
    vouched: frozenset[str] = frozenset()
    next_key: str = ""
    rekeying: Rekeying = field(init=False)

    def __post_init__(self) -> None:
        self.run(self.core)

    def run(self, core: RoundCore) -> None:
        """Starts with a fresh state machine."""
        self.core = core
        self.rekeying = Rekeying(core)


class Simulation:
    """One execution, decided by its seed. :meth:`run` raises :class:`Violation`."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = random.Random(seed)
        self.now = 0.0
        self.steps = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._blobs: dict[str, set[str]] = defaultdict(set)
        self._genesis = simulated_genesis(
            scenario.nodes,
            scenario.rule,
            DEADLINE_MS,
            admin=scenario.nodes - 1,
            min_voters=scenario.min_voters,
            carry=scenario.carry,
        )
        self.first_admin = self._genesis.admins[0]
        self.invariants = Invariants(scenario.checked, self._genesis)
        self.machines: dict[str, Machine] = {}
        self._faults, self._people, self._hearing = Faults(self), People(self), Hearing(self)
        self._keys = Keys(self)
        self._files = ExitStack()

    def run(self) -> Outcome:
        with self._files:
            return self._run()

    def run_until(self, stop: Callable[[], bool]) -> None:
        """Runs until ``stop`` says so, or to the horizon."""
        with self._files:
            self._set_up()
            while not stop() and self._queue and self._queue[0][0] <= self.scenario.horizon:
                self._step()

    def _set_up(self) -> None:
        for index, peer in enumerate(peer_ids(self.scenario.nodes)):
            self.switch_on(peer, Journal(), liar=index < self.scenario.liars, begin=False)
        for machine in list(self.machines.values()):
            self._begin(machine)
        self._faults.schedule()
        self._people.schedule()
        self._keys.schedule()
        self.at(self.scenario.calm, self._faults.heal)

    def _step(self) -> None:
        self.now, _, action = heapq.heappop(self._queue)
        self.steps += 1
        action()

    def _run(self) -> Outcome:
        self._set_up()
        self._go_to(self.scenario.calm)
        before, end = self._longest(), self.scenario.horizon
        self._go_to(end)
        while not self._outcome(before).live and end < self.scenario.horizon + self.scenario.a_turn:
            end += self.scenario.timing.base
            self._go_to(end)
        return self._outcome(before)

    def _go_to(self, time: float) -> None:
        while self._queue and self._queue[0][0] <= time:
            self._step()

    def _outcome(self, before: int) -> Outcome:
        honest, rounds = self._honest(), self._longest()
        shortest = min(len(machine.core.journal.commits) for machine in honest)
        silent = sum(machine.core.journal.amnesia for machine in honest)
        return Outcome(rounds, before, rounds - shortest, silent, self.steps)

    def _honest(self) -> list[Machine]:
        """Those who must come to know every round: members in the eyes of the longest ledger."""
        honest = [machine for machine in self.machines.values() if not machine.liar]
        ahead = max(honest, key=lambda machine: len(machine.core.journal.commits))
        now, members = ahead.core.membership.now, ahead.core.members
        return [machine for machine in honest if now(machine.id) in members]

    def _longest(self) -> int:
        return max(len(machine.core.journal.commits) for machine in self._honest())

    def can_spare(self, machine: Machine) -> bool:
        """Whether the room stands one more voter that is silent or removed, for good or until the
        next commit, beside those that are already, and the liars. What that one alone knows may be
        lost with it, unless it is somebody's new key: nobody else would let that one in."""
        if self._keys.is_last_to_know(machine):
            return False
        others = [m for m in self.machines.values() if m is not machine]
        ahead = max(others, key=lambda m: len(m.disk.commits), default=machine)
        core = ahead.core
        if not ahead.up or core.round != ahead.disk.round:
            return False  # Who votes next is not for its memory to say.
        removed = set[str]().union(*(m.core.membership.removed for m in self.machines.values()))
        known = set[str]().union(*(m.core.members for m in self.machines.values()))
        now = core.membership.now
        lost = {
            m.id if m.liar else now(m.id)
            for m in self.machines.values()
            if m.liar or m.disk.amnesia or m.id in removed or m.id not in m.core.members
        }
        lost.add(now(machine.id))
        # Whoever comes back gets its vote back, even before it dares to use it, and a commit makes
        # a voter of whom one leader knows, who may have forgotten or gone by then.
        voters = {*core.facts.voters} | (lost & known)
        return len(voters & lost) <= len(voters) - quorum_size(len(voters), self.scenario.rule)

    def is_awake(self, machine: Machine) -> bool:
        """Whether it takes in now what its people want."""
        return machine.up and self.now >= machine.asleep_until

    @property
    def is_calm(self) -> bool:
        return self.now >= self.scenario.calm

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (time, next(self._order), action))

    # --- machines --------------------------------------------------------------------------------
    def _new_core(
        self, peer: str, liar: bool, journal: Journal, vouched: frozenset[str]
    ) -> RoundCore:
        kind: type[RoundCore] = self.scenario.core
        if liar:
            kind = Thief if peer in self._keys.stolen else Liar
        timing = self.scenario.timing
        return kind(self._genesis, ROOM_ID, SimSigner(peer), journal, timing, vouched)

    def switch_on(
        self, peer: str, journal: Journal, *, liar: bool = False, begin: bool = True
    ) -> None:
        """A machine that was not there yet."""
        vouched = frozenset(journal.operations)
        core = self._new_core(peer, liar, journal.copy(), vouched)
        drift = self.random.uniform(1 / MAX_DRIFT, MAX_DRIFT)
        machine = Machine(peer, core, liar, drift, journal, vouched=vouched)
        if self.scenario.ledgers:
            folder = self._files.enter_context(TemporaryDirectory(prefix="fedtui-sim-"))
            machine.ledger = Ledger(Path(folder), ROOM_ID, open_=open_simulated)
            self._files.callback(machine.ledger.close)
            for operation in journal.operations.values():
                machine.ledger.write(OperationHeard(1, operation))
        self.machines[peer] = machine
        if begin:
            self._begin(machine)

    def _begin(self, machine: Machine) -> None:
        self._start(machine)
        if not self.scenario.swim:
            self._every(machine, 0.7, self._gossip)

    def _start(self, machine: Machine) -> None:
        if self.scenario.swim:
            self._hearing.begin(machine)
        self._execute(machine, machine.core.start(self.clock(machine)))

    def clock(self, machine: Machine) -> float:
        """What the machine's clock shows."""
        return self.now + machine.clock

    def feed(self, machine: Machine, event: Callable[[], list[Effect]]) -> None:
        """Delivers an event now."""
        self._deliver_event(machine, machine.boot, event)

    def _deliver_event(
        self, machine: Machine, boot: int, event: Callable[[], list[Effect]]
    ) -> None:
        """Delivers an event, later when the machine sleeps, never when it has died since."""
        if not machine.up or machine.boot != boot:
            return
        if self.now < machine.asleep_until:
            self.at(machine.asleep_until, lambda: self._deliver_event(machine, boot, event))
            return
        self._execute(machine, event())

    def _after(self, machine: Machine, delay: float, event: Callable[[], list[Effect]]) -> None:
        boot = machine.boot
        self.at(self.now + delay, lambda: self._deliver_event(machine, boot, event))

    def _every(self, machine: Machine, period: float, action: Callable[[Machine], None]) -> None:
        def tick() -> None:
            self.at(self.now + period * self.random.uniform(0.9, 1.1), tick)
            if self.is_awake(machine):
                action(machine)

        self.at(self.random.uniform(0, period), tick)

    def crash(self, machine: Machine, *, power_cut: bool = False) -> None:
        if not machine.up:
            return
        if power_cut:
            for blob in machine.unsynced:
                self._blobs[blob].discard(machine.id)
                if not self._blobs[blob]:
                    self.invariants.on_lost(blob)
            machine.unsynced.clear()
        machine.up = False
        machine.boot += 1
        quick = self.random.random() < 0.5
        pause = self.random.uniform(0.01, 0.2) if quick else self.random.uniform(0.2, 6.0)
        self.at(self.now + pause, lambda: self._restart(machine))

    def _restart(self, machine: Machine) -> None:
        if machine.up:
            return
        machine.up = True
        machine.asleep_until = 0.0
        machine.timers.clear()
        if self.scenario.on_crash is not None:
            self.scenario.on_crash(machine.disk)
        if machine.ledger is not None and machine.ledger.journal() != machine.disk:
            raise Violation("S8", f"{machine.id[:1]} finds another journal than it wrote")
        machine.disk = self._faults.image_for(machine)
        disk = machine.disk.copy()
        machine.run(self._new_core(machine.id, machine.liar, disk, machine.vouched))
        self._watch(machine)
        self._start(machine)

    def rename(self, machine: Machine, key: str) -> None:
        """From its next start on a machine has another key."""
        before, machine.id = machine.id, key
        machines = list(self.machines.values())
        self.machines.clear()
        self.machines.update({each.id: each for each in machines})
        for holders in self._blobs.values():
            if before in holders:
                holders.remove(before)
                holders.add(key)
        if self.first_admin == before:
            self.first_admin = key

    # --- effects ---------------------------------------------------------------------------------
    def _execute(self, machine: Machine, effects: list[Effect]) -> None:
        for effect in self._faults.strike(machine, effects):
            match effect:
                case Persist():
                    if self.now < machine.full_until:
                        self.crash(machine)
                        return
                    machine.disk.apply(effect.record)
                    if machine.ledger is not None:
                        machine.ledger.write(effect.record)
                    self._faults.keep_image(machine)
                    if not machine.liar:
                        self.invariants.on_persist(machine.id, effect)
                case Send():
                    self._transmit(machine, effect.to, effect.message)
                case Broadcast():
                    for peer in (*machine.core.members, *self._keys.stolen):
                        if peer != machine.id:
                            self._transmit(machine, peer, effect.message)
                case SetTimer():
                    self._set_timer(machine, effect)
                case RoundOpened():
                    self._train(machine, effect.round, effect.parent)
                case FetchBlob():
                    self._fetch_blob(machine, effect, MAX_BLOB_TRIES)
                case Combine() as work:
                    self._combine(machine, work)
                case Verify() as work:
                    self._verify(machine, work)
                case KeepResult() as work:
                    self._keep_result(machine, work)
                case FetchCommits():
                    self._fetch_commits(machine, effect)
        self._watch(machine)
        self._keys.look_at(machine)

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
            return machine.core.on_timer(name, self.clock(machine))

        self._after(machine, effect.after * machine.drift, fire)

    def _train(self, machine: Machine, round_number: int, parent: str) -> None:
        bad = self.random.random() < BAD_CONTRIBUTIONS
        blob = contribution_blob(machine.id, round_number, parent, bad)
        previous = machine.core.facts.previous.sha256
        samples = self.random.randint(1, 60)

        def finish() -> list[Effect]:
            if not self._obtain(machine, previous):
                self._after(machine, RETRY_SECONDS, finish)
                return []
            self._blobs[blob.sha256].add(machine.id)
            own = OwnContribution(round_number, blob, samples, steps=10)
            return machine.core.on_contribution(own, self.clock(machine))

        self._after(machine, self.random.uniform(*TRAINING_SECONDS), finish)

    def _fetch_blob(self, machine: Machine, effect: FetchBlob, tries: int) -> None:
        blob = effect.contribution.blob

        def arrive() -> list[Effect]:
            if self._obtain(machine, blob, synced=False):
                verdict = Verdict(False, "not finite") if is_bad(blob) else Verdict(True)
                return machine.core.on_checked(effect.id, verdict, self.clock(machine))
            if tries == 1:
                return machine.core.on_checked(effect.id, UNAVAILABLE, self.clock(machine))
            self._fetch_blob(machine, effect, tries - 1)
            return []

        self._after(machine, self.random.uniform(0.02, 0.3), arrive)

    def _obtain(self, machine: Machine, blob: str, *, synced: bool = True) -> bool:
        """Whether the machine has a blob, or gets it from somebody it reaches."""
        holders = self._blobs[blob]
        if blob == INITIAL.sha256 or machine.id in holders:
            return True
        if not any(self._connected(self.machines[holder], machine) for holder in holders):
            return False
        self._keep(machine, blob, synced=synced)
        return True

    def _keep(self, machine: Machine, blob: str, *, synced: bool) -> None:
        if machine.id not in self._blobs[blob] and not synced:
            machine.unsynced.add(blob)
        self._blobs[blob].add(machine.id)

    def _combine(self, machine: Machine, work: Combine) -> None:
        blob = combine(work.parts, work.previous)

        def finish() -> list[Effect]:
            if not self._obtain(machine, work.previous.sha256):
                return []  # The next leader tries again.
            self._keep(machine, blob.sha256, synced=False)
            return machine.core.on_combined(work.round, work.attempt, blob, self.clock(machine))

        self._after(machine, self.random.uniform(0.02, 0.4), finish)

    def _verify(self, machine: Machine, work: Verify) -> None:
        blob = combine(work.parts, work.previous)
        verdict = Verdict(True) if blob == work.result else Verdict(False, "another result")

        def finish() -> list[Effect]:
            if not self._obtain(machine, work.previous.sha256):
                return machine.core.on_verified(work.value, UNAVAILABLE, self.clock(machine))
            self._keep(machine, blob.sha256, synced=False)
            return machine.core.on_verified(work.value, verdict, self.clock(machine))

        self._after(machine, self.random.uniform(0.02, 0.4), finish)

    def _keep_result(self, machine: Machine, work: KeepResult) -> None:
        blob = work.result.sha256

        def finish() -> list[Effect]:
            kept = self.now >= machine.full_until and self._have_result(machine, work)
            if kept and self.scenario.keeps_results:
                machine.unsynced.discard(blob)
            return machine.core.on_result_kept(blob, kept, self.clock(machine))

        self._after(machine, self.random.uniform(0.0, 0.2), finish)

    def _have_result(self, machine: Machine, work: KeepResult) -> bool:
        """Whether it is there, can be fetched, or follows from what is there."""
        if self._obtain(machine, work.result.sha256, synced=False):
            return True
        inputs_here = all(machine.id in self._blobs[part.blob] for part in work.parts)
        if not work.parts or not inputs_here or not self._obtain(machine, work.previous.sha256):
            return False
        self._keep(machine, work.result.sha256, synced=False)
        return True

    def _fetch_commits(self, machine: Machine, effect: FetchCommits) -> None:
        source = self.machines.get(effect.peer)
        if source is None:
            return  # Admitted, and not switched on yet.
        boot, first = machine.boot, machine.core.round

        def answer() -> None:
            if not source.up or not self._connected(source, machine):
                return
            found = source.core.journal.commits[first - 1 :][:MAX_FETCHED]
            if source.liar:
                found = found[: self.random.randrange(2)]
            for record in found:
                self._deliver_event(
                    machine,
                    boot,
                    lambda payload=record.payload: machine.core.on_commit(  # type: ignore[misc]
                        source.id, payload, self.clock(machine)
                    ),
                )
            self._deliver_event(machine, boot, end if not found else go_on)

        def end() -> list[Effect]:
            return machine.core.on_ledger_end(source.id, first, self.clock(machine))

        def go_on() -> list[Effect]:
            if machine.core.round > first:
                self._fetch_commits(machine, effect)
            return []

        self.at(self.now + self.delay(source), answer)

    # --- the network -----------------------------------------------------------------------------
    def _admits(self, a: Machine, b: Machine) -> bool:
        """Whether both are members in each other's eyes: TLS lets nobody else in."""
        both = a.id in b.core.members and b.id in a.core.members
        return both or not self.scenario.locked_doors

    def reaches(self, source: Machine, target: Machine) -> bool:
        """Whether a small message arrives: a lost one does not."""
        return self._connected(source, target) and self.random.random() >= self._loss

    @property
    def _loss(self) -> float:
        return 0.01 if self.is_calm else self.scenario.loss

    def _connected(self, a: Machine, b: Machine) -> bool:
        return self._admits(a, b) and self.in_touch(a, b)

    def in_touch(self, a: Machine, b: Machine) -> bool:
        """Whether the network is there between both."""
        if not (a.up and b.up) or a.side != b.side:
            return False
        awake = self.now >= max(a.asleep_until, b.asleep_until)
        return awake and (self.is_calm or self.now >= max(a.alone_until, b.alone_until))

    def delay(self, source: Machine) -> float:
        if self.is_calm:
            return 0.001 + self.random.expovariate(1 / 0.03)
        slow = self.random.uniform(0.5, 3.0) if self.now < source.slow_until else 0.001
        return slow + self.random.expovariate(1 / 0.25)

    def _transmit(self, source: Machine, to: str, message: Envelope) -> None:
        if self.random.random() < self._loss:
            return
        target = self.machines.get(to)
        if target is None:
            return
        for _ in range(2 if self.random.random() < 0.05 else 1):
            self.at(self.now + self.delay(source), lambda: self._deliver(source, target, message))

    def _deliver(self, source: Machine, target: Machine, message: Envelope) -> None:
        lone = not self.is_calm and self.now < max(source.alone_until, target.alone_until)
        awake = self.is_awake(target)
        if awake and source.side == target.side and not lone and self._admits(target, source):
            self._take(source, target, message)

    def hand_over(self, source: Machine, target: Machine, message: Envelope) -> None:
        """A message to a machine that is let in nowhere itself."""
        if self.in_touch(source, target) and source.id in target.core.members:
            self._take(source, target, message)

    def _take(self, source: Machine, target: Machine, message: Envelope) -> None:
        effects = target.core.on_message(source.id, message, self.clock(target))
        target.rekeying.on_message(source.id, message.to_bytes())
        self._execute(target, effects)

    def _gossip(self, machine: Machine) -> None:
        """The liveness layer: who answers, with some errors, and how far the others are."""
        seen = {other.id for other in self.machines.values() if self._connected(machine, other)}
        if not self.is_calm and self.random.random() < 0.1:
            seen.discard(self.random.choice(list(self.machines)))
        self._execute(machine, machine.core.on_alive(seen, self.clock(machine)))
        for peer in sorted(seen - {machine.id}):
            other = self.machines[peer]
            if self.random.random() > self.scenario.loss:
                head = self.claimed_round(other)
                machine.rekeying.on_peer_head(peer, head)
                self._execute(machine, machine.core.on_peer_head(peer, head, self.clock(machine)))

    def claimed_round(self, machine: Machine) -> int:
        """How far a machine says it is; a liar says what it likes."""
        true = machine.core.round
        return self.random.choice((1, true, true + 1, FAR_AHEAD)) if machine.liar else true
