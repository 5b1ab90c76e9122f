"""What goes wrong while nodes fetch a blob: machines, links, disks, and members that do not give
what they say they hold, or take all they can get."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from p2p.limits import CHUNK_BYTES
from p2p.sim.links import Flow

if TYPE_CHECKING:
    from p2p.sim.swarm import Node, SwarmSimulation

Liar = Literal["wrong bytes", "wrong list", "has nothing", "always busy", "sends nothing", "greedy"]
"""What a member does that says it holds all of it."""
LIARS: Final[tuple[Liar, ...]] = (
    "wrong bytes", "wrong list", "has nothing", "always busy", "sends nothing", "greedy",
)  # fmt: skip
MEAN_PAUSE: Final = 1.5
"""Virtual seconds between two faults."""
LOST_UNSYNCED: Final = 0.5
"""Share of the unsynced chunks that a power cut takes away."""
GREEDY_REQUESTS: Final = 8
"""What a greedy member asks of each node at once, beyond what anybody may."""
GREEDY_PAUSE: Final = 0.05


class Faults:
    """Decides by the simulation's seed what fails when."""

    def __init__(self, simulation: SwarmSimulation) -> None:
        self._sim = simulation
        self._random = simulation.random
        self._taking: dict[Flow, Node] = {}
        self.count = 0

    def schedule(self) -> None:
        """Plans everything until the calm, in which all machines and links work."""
        for node in self._sim.nodes.values():
            if node.kind == "greedy":
                self._let_take(node)
        kinds = (
            self._kill, self._kill, self._cut_power, self._rot, self._fill,
            self._take_link_down, self._slow_down, self._cut, self._heal,
        )  # fmt: skip
        time = self._random.expovariate(1 / MEAN_PAUSE)
        while time < self._sim.network.calm:
            self._sim.at(time, self._counted(self._random.choice(kinds)))
            time += self._random.expovariate(1 / MEAN_PAUSE)
        self._sim.at(self._sim.network.calm, self._calm_down)

    def vanish(self, node: Node) -> None:
        """For good, and without a word."""
        self._sim.on_crash(node, silently=True)

    def _counted(self, fault: Callable[[], None]) -> Callable[[], None]:
        def happen() -> None:
            self.count += 1
            fault()

        return happen

    def _any(self) -> Node:
        honest = [node for node in self._sim.nodes.values() if node.kind == "honest"]
        return self._random.choice(honest)

    # --- machines --------------------------------------------------------------------------------
    def _kill(self) -> None:
        node = self._any()
        if node.up:
            self._sim.on_crash(node, silently=False)
            self._restart(node, self._random.uniform(0.2, 3.0))

    def _cut_power(self) -> None:
        """What the disk was not told to keep may be gone, or half there."""
        node = self._any()
        if not node.up:
            return
        self._sim.on_crash(node, silently=True)
        for index in sorted(node.unsynced):
            if self._random.random() < LOST_UNSYNCED:
                self._damage(node, index)
        node.unsynced.clear()
        self._restart(node, self._random.uniform(2.0, 8.0))

    def _rot(self) -> None:
        """A machine starts again and finds a chunk of its unfinished file damaged."""
        node = self._any()
        if not node.up or node.whole:
            return
        self._sim.on_crash(node, silently=False)
        self._damage(node, self._random.randrange(self._sim.content.ref.count))
        self._restart(node, self._random.uniform(0.2, 3.0))

    def _restart(self, node: Node, after: float) -> None:
        def restart() -> None:
            node.up = True
            if not node.whole:
                self._sim.begin_fetch(node)

        self._sim.after(after, restart)

    def _damage(self, node: Node, index: int) -> None:
        if node.whole or not node.file.exists():
            return
        data = bytearray(node.file.read_bytes())
        span = self._sim.content.ref.span(index)
        middle = (span.start + span.stop) // 2
        if middle < len(data):
            data[middle : span.stop] = bytes(min(span.stop, len(data)) - middle)
            node.file.write_bytes(data)

    def _fill(self) -> None:
        self._any().full_until = self._sim.now + self._random.uniform(1, 8)

    # --- links -----------------------------------------------------------------------------------
    def _take_link_down(self) -> None:
        self._change_rate(self._any(), 0.0, self._random.uniform(1, 15))

    def _slow_down(self) -> None:
        node = self._any()
        self._change_rate(node, self._sim.rates[node.name] / 20, self._random.uniform(3, 10))

    def _change_rate(self, node: Node, rate: float, seconds: float) -> None:
        sim = self._sim
        sim.links.set_rate(node.name, rate, sim.now)
        if not rate:
            sim.silent.add(node.name)

        def back() -> None:
            sim.links.set_rate(node.name, sim.rates[node.name], sim.now)
            sim.silent.discard(node.name)

        sim.after(seconds, back)

    def _cut(self) -> None:
        """Two machines cannot reach one another; what was on its way between them stands still."""
        one, other = self._any(), self._any()
        self._sim.cut.add(frozenset((one.name, other.name)))
        for taker, giver in ((one, other), (other, one)):
            for getting in taker.gets.values():
                if getting.step.peer == giver.name and getting.flow is not None:
                    self._sim.links.stop(getting.flow, self._sim.now)

    def _heal(self) -> None:
        self._sim.cut.clear()

    def _calm_down(self) -> None:
        self._heal()
        for node in self._sim.nodes.values():
            node.full_until = 0.0

    # --- members that take all they can get ------------------------------------------------------
    def _let_take(self, greedy: Node) -> None:
        for node in self._sim.nodes.values():
            for _ in range(GREEDY_REQUESTS if node.kind == "honest" else 0):
                self._take(greedy, node)

    def on_crash(self, node: Node) -> None:
        """What greedy members were being sent ends too; they go on asking."""
        for flow, greedy in list(self._taking.items()):
            if flow.giver == node.name:
                del self._taking[flow]
                self._sim.links.stop(flow, self._sim.now)
                self._take(greedy, node)

    def _take(self, greedy: Node, node: Node) -> None:
        sim = self._sim
        upload = sim.admit(node, greedy.name, CHUNK_BYTES) if node.up and node.whole else None
        if upload is None:
            sim.after(GREEDY_PAUSE, lambda: self._take(greedy, node))
            return

        def arrived() -> None:
            del self._taking[flow]
            sim.release(node, upload)
            self._take(greedy, node)

        flow = Flow(node.name, greedy.name, CHUNK_BYTES, arrived)
        self._taking[flow] = greedy
        sim.send(upload, flow)
