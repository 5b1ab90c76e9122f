"""The fault simulator: virtual seconds against the wall clock."""

from __future__ import annotations

from collections.abc import Iterator

from p2p.sim.campaign import run_campaign
from p2p.sim.world import Scenario
from tests.benchmarks.measure import Line, seconds

SEEDS = 20


def run() -> Iterator[Line]:
    reports = []
    wall = seconds(lambda: reports.append(run_campaign(Scenario(), range(SEEDS))))
    virtual = reports[0].virtual_s
    yield Line(f"{SEEDS} simulated histories of 5 nodes", wall, virtual, "virtual time")
