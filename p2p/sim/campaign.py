"""Many seeds of one scenario, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from p2p.sim.invariants import Violation
from p2p.sim.world import Scenario, Simulation


@dataclass
class Report:
    """Totals over the runs of a campaign; ``rounds`` counts those decided in safe runs."""

    seeds: int = 0
    unsafe: int = 0
    live: int = 0
    rounds: int = 0
    virtual_s: float = 0.0

    def summary(self) -> dict[str, float]:
        return {
            "seeds": self.seeds,
            "unsafe": self.unsafe,
            "live": self.live,
            "rounds": self.rounds,
            "virtual_s": round(self.virtual_s, 1),
        }


def run_campaign(
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    tell: Callable[[int, str], None] = lambda seed, problem: None,
    stop_at_first: bool = False,
) -> Report:
    """Runs every seed; ``tell`` hears of each one that was unsafe or got stuck."""
    report = Report()
    for seed in seeds:
        simulation = Simulation(scenario, seed)
        report.seeds += 1
        try:
            outcome = simulation.run()
        except Violation as violation:
            report.unsafe += 1
            tell(seed, f"{violation} at {simulation.now:.2f} s")
            if stop_at_first:
                return report
        else:
            report.rounds += outcome.rounds
            report.live += outcome.live
            if not outcome.live:
                tell(seed, f"stuck: {outcome}")
        report.virtual_s += simulation.now
    return report
