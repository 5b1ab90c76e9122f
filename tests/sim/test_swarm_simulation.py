"""Nodes that fetch a blob while machines, links and members fail, and proof that it would show.

``python -m p2p.sim --blobs`` tries more seeds, with ``--mutations`` every broken part.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from p2p.limits import KIB
from p2p.sim.swarm import Network, SwarmSimulation, hand_out
from p2p.sim.swarm_campaign import (
    GREEDY,
    MUTATIONS,
    SILENT,
    SLOW,
    mixed_network,
    run_campaign,
)
from p2p.sim.swarm_faults import LIARS

SEEDS = 12


def test_everybody_gets_the_right_bytes_whatever_fails() -> None:
    problems: list[str] = []
    report = run_campaign(
        range(SEEDS), tell=lambda seed, problem: problems.append(f"{seed}: {problem}")
    )
    assert not problems
    assert report.complete == SEEDS
    assert report.faults > 10 * SEEDS


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_part_is_caught(name: str) -> None:
    mutation = MUTATIONS[name]
    report = run_campaign(range(SEEDS), mutation=mutation, stop_at_first=True)
    assert getattr(report, mutation.shows_as) == 1


@pytest.mark.parametrize("room", [SILENT, GREEDY])
def test_members_that_send_nothing_or_take_everything_starve_nobody(room: Network) -> None:
    assert hand_out(room).complete


@pytest.mark.parametrize(("takers", "rate"), [(4, 64), (9, 128), (4, 20)])
def test_a_slow_line_delivers_however_many_wait_for_it(takers: int, rate: int) -> None:
    """Its streams get enough each that nobody gives up; nothing says beforehand how slow it is."""
    assert hand_out(replace(SLOW, takers=takers, rates={"giver": rate * KIB})).complete


@pytest.mark.parametrize("liar", LIARS)
def test_a_majority_of_liars_costs_time_and_nothing_else(liar: str) -> None:
    network = Network(takers=2, size=6_000_000, liars=(liar,) * 4, horizon=120.0)  # type: ignore[arg-type]
    assert hand_out(network).complete


def test_one_seed_is_one_execution() -> None:
    outcomes = [SwarmSimulation(mixed_network(3), 3).run() for _ in range(2)]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].faults


def test_the_command_ends_with_a_summary_in_json() -> None:
    command = [sys.executable, "-m", "p2p.sim", "--blobs", "--seeds", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["seeds"], summary["unsafe"], summary["complete"]) == (2, 0, 2)
