"""Many seeds of one scenario, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

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
    scenario: Scenario,
    seeds: Iterable[int],
    *,
    tell: Callable[[int, str], None] = lambda seed, problem: None,
    stop_at_first: Literal["unsafe", "stuck"] | None = None,
) -> Report:
    """Runs every seed, or until the first problem of a kind; ``tell`` hears of each one that was
    unsafe or got stuck."""
    report = Report()
    for seed in seeds:
        simulation = Simulation(scenario, seed)
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
