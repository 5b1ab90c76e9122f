"""The fault simulator on the product's own state machine, and proof that it can see."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from p2p.rounds.state import Timing
from p2p.sim import failover
from p2p.sim.campaign import mixed_scenario, run_campaign
from p2p.sim.mutations import MUTATIONS
from p2p.sim.world import Scenario, Simulation

ROOMS = {
    "majority of 3": Scenario(nodes=3),
    "majority of 4": Scenario(nodes=4),
    "majority of 5": Scenario(nodes=5),
    "majority of 5, 30 % loss": Scenario(nodes=5, loss=0.3),
    "two thirds of 4, one liar": Scenario(nodes=4, rule="two_thirds", liars=1),
    "3 founders, newcomers and removals": Scenario(nodes=3, newcomers=3, removals=1, min_voters=3),
    "5 founders, newcomers and removals": Scenario(nodes=5, newcomers=3, removals=2, min_voters=3),
    "3 founders, newcomers that leave again": Scenario(nodes=3, newcomers=4, leavings=3),
    "a founder alone, later four more": Scenario(nodes=1, newcomers=4),
    "majority of 5 with backups brought back": Scenario(nodes=5, restore=0.15, min_voters=3),
    "two thirds of 4, one liar, newcomers": Scenario(
        nodes=4, rule="two_thirds", liars=1, newcomers=2
    ),
    "majority of 5, present is who answers probes": Scenario(nodes=5, swim=True),
    "majority of 4, new keys, the old ones stolen": Scenario(
        nodes=4, key_changes=2, stolen_keys=True, locked_doors=False
    ),
    "two thirds of 4, one liar, new keys": Scenario(
        nodes=4, rule="two_thirds", liars=1, key_changes=2
    ),
    "two thirds of 7, two liars": Scenario(nodes=7, rule="two_thirds", liars=2),
    "two thirds of 7, one liar, backups brought back": Scenario(
        nodes=7, rule="two_thirds", liars=1, restore=0.2, min_voters=3
    ),
}
SEEDS = 8
SEEDS_UNTIL_CAUGHT = 300


@pytest.mark.parametrize("name", ROOMS)
def test_no_fault_splits_a_room_or_stops_it_for_good(name: str) -> None:
    problems: list[str] = []
    report = run_campaign(
        ROOMS[name], range(SEEDS), tell=lambda seed, problem: problems.append(f"{seed}: {problem}")
    )
    assert not problems
    assert report.live == report.seeds
    assert report.rounds > SEEDS * 10


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_protocol_is_caught(name: str) -> None:
    kind, seeds = MUTATIONS[name].shows_as, range(SEEDS_UNTIL_CAUGHT)
    report = run_campaign(MUTATIONS[name].scenario(), seeds, stop_at_first=kind)
    assert getattr(report, kind) == 1


@pytest.mark.parametrize("noticed", [False, True])
@pytest.mark.parametrize("step", failover.STEPS)
def test_an_aggregator_that_dies_at_any_step_costs_no_more_than_promised(
    step: str, noticed: bool
) -> None:
    took = failover.failover_seconds(4, step, 1, noticed=noticed)
    assert took <= min(failover.MAX_FAILOVER, 2 * Timing().base)


def test_a_machine_that_slept_is_back_in_time() -> None:
    took, missed = failover.return_seconds(3, 1)
    assert missed > 50
    assert took <= failover.MAX_RETURN


def test_one_seed_is_one_execution_whatever_the_hash_seed() -> None:
    code = "from p2p.sim.world import *; s = Simulation(Scenario(), 7); print(s.run(), s.now)"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_the_files_of_the_ledger_hold_what_was_written_through_every_crash() -> None:
    report = run_campaign(Scenario(nodes=3, newcomers=1, ledgers=True, horizon=80.0), range(2))
    assert (report.unsafe, report.live) == (0, 2)


def test_members_really_come_and_go() -> None:
    simulation = Simulation(ROOMS["5 founders, newcomers and removals"], 3)
    simulation.run()
    ahead = max(simulation.machines.values(), key=lambda m: len(m.core.journal.commits)).core
    removed = ahead.facts.membership.removed
    assert removed
    assert len(ahead.facts.members) == 5 + 3 - len(removed)


def test_members_really_change_their_keys() -> None:
    simulation = Simulation(ROOMS["majority of 4, new keys, the old ones stolen"], 1)
    simulation.run()
    honest = {peer for peer, machine in simulation.machines.items() if not machine.liar}
    ahead = max(simulation.machines.values(), key=lambda m: len(m.core.journal.commits)).core
    assert len(ahead.membership.successors) == 2
    assert set(ahead.membership.successors.values()) <= honest == ahead.members.keys()
    assert ahead.membership.successors.keys() == simulation.machines.keys() - honest


def test_faults_really_happen() -> None:
    simulation = Simulation(Scenario(), 3)
    simulation.run()
    assert sum(machine.boot for machine in simulation.machines.values()) > 5
    attempts = [
        record.payload
        for machine in simulation.machines.values()
        for record in machine.disk.commits
    ]
    assert any(b'\\"attempt\\":0' not in payload for payload in attempts)


def test_faults_of_all_kinds_come_together_in_rooms_of_all_sizes() -> None:
    seeds = range(1000, 1005)
    scenarios = [mixed_scenario(seed) for seed in seeds]
    assert {scenario.nodes for scenario in scenarios} == {3, 4, 5, 7, 16}
    report = run_campaign(mixed_scenario, seeds)
    assert (report.unsafe, report.stuck) == (0, 0)


def test_the_command_ends_with_a_summary_in_json() -> None:
    command = [sys.executable, "-m", "p2p.sim", "--seeds", "2", "--nodes", "3", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary.keys() == {"seeds", "unsafe", "live", "rounds", "virtual_s", "wall_s"}
    assert (summary["seeds"], summary["unsafe"], summary["live"]) == (2, 0, 2)
