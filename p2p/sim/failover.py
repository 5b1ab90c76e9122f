"""What a dead aggregator and a long sleep cost: the product's own timing under virtual time.

Nothing fails but the one machine that is looked at, so the figures are those of the protocol. A
round's training takes no time here; what counts begins when the aggregator dies.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from typing import Final

from p2p.messages import Commit, Prepared, Proposal
from p2p.rounds.effects import (
    Broadcast,
    Combine,
    CommitRound,
    Effect,
    Elected,
    Persist,
    Send,
)
from p2p.rounds.state import Timing
from p2p.sim.parts import peer_ids
from p2p.sim.world import Machine, Scenario, Simulation

STEPS: Final = (
    "collects",
    "combines",
    "before it proposes",
    "after it proposed",
    "before it shows the prepare votes",
    "after it showed the prepare votes",
    "before it shows the commit",
)
"""When the aggregator dies. Before the last one the round is decided and nobody else knows it."""
ROUND: Final = 2
MAX_FAILOVER: Final = 15.0
"""Seconds that a workshop waits at most for a dead aggregator."""
MAX_RETURN: Final = 30.0
"""Seconds until a machine that woke has every commit."""
SLEEP: Final = 300.0
HORIZON: Final = 1000.0


class _Watched(Simulation):
    """A room without faults, and an aggregator that dies for good at a step of round ``ROUND``."""

    def __init__(self, nodes: int, step: str, seed: int, *, noticed: bool) -> None:
        scenario = Scenario(nodes=nodes, loss=0.0, calm=0.0, horizon=HORIZON, timing=Timing())
        super().__init__(scenario, seed)
        self._moment = step
        self._noticed = noticed
        self.died_at: float | None = None

    @property
    def over(self) -> bool:
        done = all(m.core.round > ROUND for m in self.machines.values() if m.up)
        return self.died_at is not None and done

    def _execute(self, machine: Machine, effects: list[Effect]) -> None:
        if self.died_at is not None or not self._is_the_moment(machine, effects):
            super()._execute(machine, effects)
            return
        said = effects if self._moment.startswith("after") else []
        super()._execute(machine, said or [e for e in effects if isinstance(e, Persist)])
        machine.up, self.died_at = False, self.now
        machine.boot += 1

    def _is_the_moment(self, machine: Machine, effects: list[Effect]) -> bool:
        if self._moment == "before it shows the commit":
            decided = any(isinstance(e, CommitRound) and e.record.round == ROUND for e in effects)
            return decided and _sends(effects, Commit.kind)
        core = machine.core
        if core.round != ROUND or core.attempt or core.leader != machine.id:
            return False
        match self._moment:
            case "collects":
                return any(isinstance(effect, Elected) for effect in effects)
            case "combines":
                return any(isinstance(effect, Combine) for effect in effects)
            case "before it proposes" | "after it proposed":
                return _sends(effects, Proposal.kind)
            case _:
                return _sends(effects, Prepared.kind)

    def _gossip(self, machine: Machine) -> None:
        if self._noticed or self.died_at is None:
            super()._gossip(machine)


class _Sleeper(Simulation):
    """A room without faults, in which one machine sleeps for ``SLEEP`` seconds."""

    def __init__(self, nodes: int, seed: int) -> None:
        scenario = Scenario(nodes=nodes, loss=0.0, calm=0.0, horizon=HORIZON, timing=Timing())
        super().__init__(scenario, seed)
        self.missed = 0

    def _begin(self, machine: Machine) -> None:
        super()._begin(machine)
        if machine.id == peer_ids(1)[0]:
            machine.asleep_until = SLEEP

    @property
    def back(self) -> bool:
        rounds = [machine.core.round for machine in self.machines.values()]
        if self.now <= SLEEP:
            self.missed = max(rounds) - min(rounds)
        return self.now > SLEEP and max(rounds) == min(rounds)


def _sends(effects: Iterable[Effect], kind: str) -> bool:
    return any(isinstance(e, Send | Broadcast) and e.message.type == kind for e in effects)


def failover_seconds(nodes: int, step: str, seed: int, *, noticed: bool) -> float:
    """From the aggregator's death until all others have the round's commit. ``noticed``: the
    others see soon that it is away; otherwise only their patience ends."""
    room = _Watched(nodes, step, seed, noticed=noticed)
    room.run_until(lambda: room.over)
    if room.died_at is None or not room.over:
        raise RuntimeError(f"seed {seed}: the room of {nodes} never went on ({step})")
    return room.now - room.died_at


def return_seconds(nodes: int, seed: int) -> tuple[float, int]:
    """From waking until every commit is here, and how many rounds were missed."""
    room = _Sleeper(nodes, seed)
    room.run_until(lambda: room.back)
    return room.now - SLEEP, room.missed


def report(nodes: int, seeds: Iterable[int]) -> Iterator[dict[str, object]]:
    """One line for each step at which the aggregator dies, and one for the return of a sleeper."""
    seeds = list(seeds)
    for noticed in (False, True):
        for step in STEPS:
            took = [failover_seconds(nodes, step, seed, noticed=noticed) for seed in seeds]
            yield {
                "dies": step,
                "noticed": noticed,
                "median_s": round(statistics.median(took), 2),
                "max_s": round(max(took), 2),
                "good": max(took) <= MAX_FAILOVER,
            }
    returns = [return_seconds(nodes, seed) for seed in seeds]
    took = [seconds for seconds, _ in returns]
    yield {
        "slept_s": SLEEP,
        "rounds_missed": max(missed for _, missed in returns),
        "median_s": round(statistics.median(took), 2),
        "max_s": round(max(took), 2),
        "good": max(took) <= MAX_RETURN,
    }
