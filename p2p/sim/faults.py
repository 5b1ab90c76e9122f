"""What goes wrong in a simulated room, most of it where it hurts."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from p2p.messages import Commit, Prepared, Vote
from p2p.rounds.effects import Broadcast, CommitRound, Effect, Journal, Send

if TYPE_CHECKING:
    from p2p.sim.world import Machine, Simulation

MEAN_PAUSE = 3.0
"""Virtual seconds between two faults of the scheduled kinds."""
OLD_IMAGES = 4
"""How many states of each disk are kept to be brought back."""


class Faults:
    """Decides by the simulation's seed what fails when."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._random = simulation.random

    def schedule(self) -> None:
        """Plans everything until the calm."""
        kinds = (
            self._crash_one,
            self._crash_one,
            self._sleep_one,
            self._split,
            self._split,
            self.heal,
            self._blackout,
            self._slow_one,
            self._fill_one,
            self._turn_a_clock,
        )
        time = 0.0
        while True:
            time += self._random.expovariate(1 / MEAN_PAUSE)
            if time >= self._sim.scenario.calm:
                return
            self._sim.at(time, self._random.choice(kinds))

    def _any(self) -> Machine:
        return self._random.choice(list(self._sim.machines.values()))

    def _crash_one(self) -> None:
        self._sim.crash(self._any())

    def _sleep_one(self) -> None:
        machine = self._any()
        until = self._sim.now + self._random.uniform(1, 15)
        machine.asleep_until = max(machine.asleep_until, until)

    def _slow_one(self) -> None:
        self._any().slow_until = self._sim.now + self._random.uniform(5, 20)

    def _fill_one(self) -> None:
        """A full disk: the next record cannot be written, and the node falls silent."""
        self._any().full_until = self._sim.now + self._random.uniform(1, 10)

    def _turn_a_clock(self) -> None:
        """Nothing may depend on what a clock shows, only on how fast it goes."""
        self._any().clock += self._random.choice((-1e6, -60.0, 60.0, 1e6))

    def _split(self) -> None:
        for machine in self._sim.machines.values():
            machine.side = self._random.randrange(2)

    def heal(self) -> None:
        for machine in self._sim.machines.values():
            machine.side = 0

    def _power_cut(self) -> None:
        for machine in self._sim.machines.values():
            if self._sim.now >= machine.alone_until:
                self._sim.crash(machine, power_cut=True)

    def _blackout(self) -> None:
        for machine in self._sim.machines.values():
            self._sim.crash(machine, power_cut=True)

    # --- disks -----------------------------------------------------------------------------------
    def keep_image(self, machine: Machine) -> None:
        """Now and then somebody makes a backup."""
        if self._sim.scenario.restore and self._random.random() < 0.3:
            machine.images = [*machine.images[1 - OLD_IMAGES :], machine.disk.copy()]

    def image_for(self, machine: Machine) -> Journal:
        """The disk that a machine starts from: now and then an old one, of no more machines at a
        time than the room can spare."""
        sim = self._sim
        if sim.is_calm or not machine.images or not sim.can_spare(machine):
            return machine.disk
        if self._random.random() >= sim.scenario.restore:
            return machine.disk
        image = self._random.choice(machine.images).copy()
        image.amnesia = sim.scenario.notices_copies
        sim.invariants.on_restored(machine.id)
        return image

    # --- delicate moments ------------------------------------------------------------------------
    def strike(self, machine: Machine, effects: list[Effect]) -> list[Effect]:
        """Certificates that reach only some, a leader that dies right after it committed, a power
        cut while one node alone knows a commit: those are what gives a simulator its power."""
        if self._sim.is_calm or not effects:
            return effects
        kinds = {e.message.type for e in effects if isinstance(e, Send | Broadcast)}
        chance = self._random.random
        formed_commit = Commit.kind in kinds and any(isinstance(e, CommitRound) for e in effects)
        if formed_commit and chance() < 0.25:
            machine.alone_until = self._sim.now + self._random.uniform(5, 20)
            if chance() < 0.5:
                cut = self._sim.now + self._random.uniform(0.01, 1.0)
                self._sim.at(cut, self._power_cut)
            return [e for e in effects if not isinstance(e, Send | Broadcast)]
        if kinds & {Commit.kind, Prepared.kind} and chance() < 0.35:
            machines = list(self._sim.machines)
            count = self._random.randint(0, max(1, len(machines) // 2))
            lucky = self._random.sample(machines, count)
            if chance() < 0.7:
                self._die_after(machine)
            return _only_to(lucky, effects)
        if Vote.kind in kinds and chance() < self._sim.scenario.vote_crash:
            self._die_after(machine)
        elif chance() < 0.002:
            self._die_after(machine)
            return effects[: self._random.randrange(len(effects))]
        return effects

    def _die_after(self, machine: Machine) -> None:
        boot, sim = machine.boot, self._sim
        sim.at(sim.now, lambda: sim.crash(machine) if machine.boot == boot else None)


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
