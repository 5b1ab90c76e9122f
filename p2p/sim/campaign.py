"""Many seeds of one scenario, and what came of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal

from p2p.rounds.quorum import tolerated_liars
from p2p.sim.invariants import Violation
from p2p.sim.people import FEWEST_VOTERS
from p2p.sim.world import Scenario, Simulation

SIZES: Final = (3, 4, 5, 7, 16)


def mixed_scenario(seed: int) -> Scenario:
    """A room of one of :data:`SIZES` in which any faults come together that it must stand."""
    draw = random.Random(f"scenario {seed}")
    nodes = SIZES[seed % len(SIZES)]
    rule: Literal["majority", "two_thirds"] = "majority"
    if nodes >= 4 and draw.random() < 0.4:
        rule = "two_thirds"
    scenario = Scenario(
        nodes=nodes,
        rule=rule,
        liars=draw.randint(0, tolerated_liars(nodes, rule)),
        loss=draw.choice((0.05, 0.15, 0.3)),
        vote_crash=draw.choice((0.05, 0.15, 0.4)),
        restore=draw.choice((0.0, 0.0, 0.2)),
        newcomers=draw.choice((0, 0, 1, 3)),
        removals=draw.choice((0, 0, 1)),
        min_voters=FEWEST_VOTERS,
        carry=draw.random() < 0.3,
        swim=draw.random() < 0.5,
    )
    # The last draws: what a seed meant before there were these changes stays.
    key_changes, leavings = draw.choice((0, 0, 1, 2)), draw.choice((0, 0, 1, 2))
    # Whoever is cut off while all that it knows go or change their keys needs a new invite.
    known = max(0, nodes - 2 - scenario.removals - scenario.liars - leavings)
    return replace(scenario, key_changes=min(key_changes, known), leavings=leavings)


@dataclass
class Report:
    """Totals over the runs of a campaign; ``rounds`` counts those decided in safe runs."""

    seeds: int = 0
    unsafe: int = 0
    live: int = 0
    rounds: int = 0
    virtual_s: float = 0.0

    @property
    def stuck(self) -> int:
        """Safe runs in which the room did not go on, or not with everybody."""
        return self.seeds - self.unsafe - self.live

    def summary(self) -> dict[str, float]:
        return {
            "seeds": self.seeds,
            "unsafe": self.unsafe,
            "live": self.live,
            "rounds": self.rounds,
            "virtual_s": round(self.virtual_s, 1),
        }


def run_campaign(
    scenario: Scenario | Callable[[int], Scenario],
    seeds: Iterable[int],
    *,
    tell: Callable[[int, str], None] = lambda seed, problem: None,
    stop_at_first: Literal["unsafe", "stuck"] | None = None,
) -> Report:
    """Runs every seed, or until the first problem of a kind; ``scenario`` may depend on the seed,
    ``tell`` hears of each one that was unsafe or got stuck."""
    report = Report()
    for seed in seeds:
        of_seed = scenario if isinstance(scenario, Scenario) else scenario(seed)
        simulation = Simulation(of_seed, seed)
        report.seeds += 1
        try:
            outcome = simulation.run()
        except Violation as violation:
            report.unsafe += 1
            tell(seed, f"{violation} at {simulation.now:.2f} s")
        else:
            report.rounds += outcome.rounds
            report.live += outcome.live
            if not outcome.live:
                tell(seed, f"stuck: {outcome}")
        report.virtual_s += simulation.now
        if stop_at_first is not None and getattr(report, stop_at_first):
            break
    return report
