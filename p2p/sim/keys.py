"""Members of a simulated room that change their keys, and how they hear that it has happened."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from p2p.operations import KeyChange, Operation
from p2p.sim.parts import SimSigner

if TYPE_CHECKING:
    from p2p.sim.world import Machine, Simulation

KEYS: Final = tuple(digit * 52 for digit in "234567")
"""The new keys of one run, in the order in which members take them."""
RETRY: Final = 2.0
FAREWELL: Final = 1.0
"""How often a machine whose key has been given up is called."""
DIES_BEFORE: Final = 0.3
"""How often a machine dies between the word that its next key counts and going on with it."""


class Keys:
    """Has members ask for other keys, and start again with them when it is time."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._random = simulation.random
        self._due: set[tuple[str, int]] = set()
        self.stolen: list[str] = []

    def schedule(self) -> None:
        scenario = self._sim.scenario
        for key in KEYS[: scenario.key_changes]:
            time = self._random.uniform(0.5, 0.8 * scenario.calm)
            self._sim.at(time, partial(self._change_one, key))
        if scenario.key_changes:
            self._sim.at(FAREWELL, self._call)

    def _change_one(self, key: str) -> None:
        sim = self._sim
        able = [
            machine
            for machine in sim.machines.values()
            if sim.is_awake(machine)
            if not machine.liar and not machine.next_key and machine.id in machine.core.members
        ]
        if not able:
            sim.at(sim.now + RETRY, partial(self._change_one, key))
            return
        machine = self._random.choice(able)
        core = machine.core
        wish = KeyChange(
            author=core.me, seq=core.next_number(), after=core.head, key=key, certificate=""
        )
        both = core.sign(wish).joined(Operation.of(SimSigner(key).seal(wish)))
        machine.next_key = key
        sim.feed(machine, lambda: core.on_operation(both, sim.now))
        if both.id not in machine.disk.operations:  # It died before it had written that down.
            machine.next_key = ""
            sim.at(sim.now + RETRY, partial(self._change_one, key))

    def is_last_to_know(self, machine: Machine) -> bool:
        """Whether somebody goes on with a new key that no honest machine knows but this one."""
        machines = [m for m in self._sim.machines.values() if not m.liar]
        return any(
            [m for m in machines if m.id != key and key in m.core.members] == [machine]
            for key in self._sim.machines.keys() & set(KEYS)
        )

    def look_at(self, machine: Machine) -> None:
        """Something has happened to a machine: its next key may be the one that counts now."""
        start = machine.id, machine.boot
        if not machine.next_key or start in self._due or machine.id in machine.core.members:
            return
        is_given_up = machine.id in machine.core.membership.successors
        if is_given_up and (machine.rekeying.is_time or not self._sim.scenario.waits_for_others):
            self._due.add(start)
            time = self._sim.now + self._random.uniform(0.0, 0.5)
            self._sim.at(time, partial(self._switch, machine, machine.boot))

    def _switch(self, machine: Machine, boot: int) -> None:
        if not machine.up or machine.boot != boot:
            return
        before, switches = machine.id, self._random.random() >= DIES_BEFORE
        if switches:
            self._sim.rename(machine, machine.next_key)
            machine.next_key = ""
        self._sim.crash(machine)
        if switches and self._sim.scenario.stolen_keys:
            self.stolen.append(before)
            self._sim.switch_on(before, machine.disk.copy(), liar=True)

    def _call(self) -> None:
        """The product's farewells: whoever knows that a key is given up brings its machine the
        commits, because that one is let in by nobody any more."""
        sim = self._sim
        sim.at(sim.now + FAREWELL, self._call)
        for machine in list(sim.machines.values()):
            for other in list(sim.machines.values()):
                if machine.id not in other.core.membership.successors or other.liar:
                    continue
                if sim.in_touch(other, machine) and other.id in machine.core.members:
                    for envelope in other.core.commits_until_rekeyed(machine.id):
                        time = sim.now + sim.delay(other)
                        sim.at(time, partial(sim.hand_over, other, machine, envelope))
