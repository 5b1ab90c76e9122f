"""The product's failure detection between simulated machines: who is there is what it finds out.

Probes and their answers travel as all messages do: late, lost, not across a split network, and not
to a machine that sleeps.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from p2p.gossip.core import SwimCore
from p2p.gossip.effects import Effect, HeadSeen, Probe, ProbeThrough, StateChanged
from p2p.gossip.hello import Hello, Said
from p2p.gossip.rumours import Statement
from p2p.limits import PROBE_INTERVAL, REFUTATIONS_PER_START

if TYPE_CHECKING:
    from p2p.sim.world import Machine, Simulation

TICK: Final = PROBE_INTERVAL / 4
_BYTES: Final = bytes(300)
"""In the place of an envelope that nobody opens."""

Packet = tuple[Statement, ...]


class Hearing:
    """One :class:`SwimCore` for each start of a machine."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._cores: dict[str, SwimCore] = {}

    def begin(self, machine: Machine) -> None:
        """The machine starts: nothing of what it knew of others is left."""
        sim, peer = self._sim, machine.id

        def speak(said: Said) -> Statement:
            return Statement(peer, said, _BYTES)

        hello = Hello(
            incarnation=(machine.boot + 1) * REFUTATIONS_PER_START,
            seq=0, round=1, head="", attempt=0, port=1, status={},
        )  # fmt: skip
        self._cores[peer] = SwimCore(
            peer,
            machine.core.members,
            sim.now,
            hello=hello,
            speak=speak,
            choose=random.Random(sim.random.random()),
        )
        self._tick(machine, machine.boot)

    def _tick(self, machine: Machine, boot: int) -> None:
        sim = self._sim
        if not machine.up or machine.boot != boot:
            return
        sim.at(sim.now + TICK * sim.random.uniform(0.9, 1.1), partial(self._tick, machine, boot))
        if sim.now < machine.asleep_until:
            return
        core = self._cores[machine.id]
        core.set_members(machine.core.members, sim.now)
        core.update(sim.now, round=sim.claimed_round(machine), attempt=machine.core.attempt)
        self._act(machine, core.on_timer(sim.now))
        sim.feed(machine, lambda: machine.core.on_alive(core.alive(), sim.clock(machine)))

    def _act(self, machine: Machine, effects: list[Effect]) -> None:
        sim, core = self._sim, self._cores[machine.id]
        for effect in effects:
            match effect:
                case Probe(peer_id, packet, timeout):
                    self._probe(machine, peer_id, packet, timeout)
                case ProbeThrough(peer_id, helper, timeout):
                    self._probe_through(machine, peer_id, helper, timeout)
                case HeadSeen(peer_id, number):
                    machine.rekeying.on_peer_head(peer_id, number)
                    sim.feed(
                        machine,
                        partial(machine.core.on_peer_head, peer_id, number, sim.clock(machine)),
                    )
                case StateChanged():
                    sim.feed(
                        machine,
                        partial(machine.core.on_alive, core.alive(), sim.clock(machine)),
                    )
                case _:
                    pass

    def _probe(self, machine: Machine, to: str, packet: Packet, timeout: float) -> None:
        sim, core, started = self._sim, self._cores[machine.id], self._sim.now

        def end(reply: Packet | None) -> None:
            if reply is None:
                self._act(machine, core.on_failure(to, sim.now))
            else:
                self._act(machine, core.on_packet(to, reply, sim.now, rtt=sim.now - started))

        self._exchange(machine, to, packet, timeout, end)

    def _probe_through(self, machine: Machine, to: str, helper: str, timeout: float) -> None:
        sim, core, boot = self._sim, self._cores[machine.id], machine.boot
        middle = sim.machines.get(helper)

        def report(reply: Packet | None) -> None:
            seen = None if reply is None else reply[0]
            if machine.up and machine.boot == boot:
                self._act(machine, core.on_witness(to, helper, seen, True, sim.now))

        def silence() -> None:
            if machine.up and machine.boot == boot:
                self._act(machine, core.on_witness(to, helper, None, False, sim.now))

        sim.at(sim.now + timeout, silence)
        if middle is not None and sim.reaches(machine, middle):
            packet = self._cores[helper].packet(to, sim.now)
            self._exchange(middle, to, packet, timeout / 2, report)

    def _exchange(
        self,
        source: Machine,
        to: str,
        packet: Packet,
        timeout: float,
        end: Callable[[Packet | None], None],
    ) -> None:
        """A question and its answer, or None when the time is up."""
        sim, boot, target = self._sim, source.boot, self._sim.machines.get(to)
        is_open = True

        def finish(reply: Packet | None) -> None:
            nonlocal is_open
            if not is_open or not source.up or source.boot != boot:
                return
            if sim.now < source.asleep_until:
                sim.at(source.asleep_until, partial(finish, reply))
                return
            is_open = False
            end(reply)

        def arrive() -> None:
            if target is None or not sim.reaches(source, target):
                return
            effects, reply = self._cores[to].answer(source.id, packet, sim.now)
            self._act(target, effects)
            sim.at(sim.now + sim.delay(target), partial(finish, reply))

        sim.at(sim.now + timeout, partial(finish, None))
        sim.at(sim.now + sim.delay(source), arrive)
