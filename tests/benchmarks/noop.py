"""The no-op round: four members in processes of their own, training that only adds 1.0.

What is left is what the network costs: collect, combine, recompute at every member, vote, commit.
A run counts as finished when every member ends with the right numbers and the same history and
knows who contributed. Seconds per round are from everybody being ready to everybody having applied
the last result, divided by the rounds. Options: ``--runs N`` (fault-free runs at 3.2 MB).
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from tests.benchmarks.measure import Line

COUNT = 4
ROUNDS = 3
RUNS = 3
SMALL, LARGE = 3_200_000, 50_000_000
TARGETS = {SMALL: 0.6, LARGE: 2.0}
TARGET_KILLED = 10.0
PATIENCE = 120.0
MODULE = "tests.benchmarks.noop_node"

Events = list[list[dict[str, Any]]]


@dataclass(frozen=True)
class Outcome:
    """One run: ``events`` of every member that lived to the end."""

    events: Events
    rounds: int

    @property
    def right(self) -> bool:
        results = [e for node in self.events for e in node if e["type"] == "result"]
        heads = {e["head"] for e in results}
        named = {tuple(names) for node in self.events for names in contributors(node)[-1:]}
        return (
            len(results) == len(self.events)
            and all(abs(e["value"] - self.rounds) < 0.01 for e in results)
            and len(heads) == 1
            and len(named) == 1
        )

    @property
    def seconds_per_round(self) -> float:
        begin = max(e["t"] for node in self.events for e in node if e["type"] == "ready")
        return (self.moment("adapter.applied", self.rounds) - begin) / self.rounds

    @property
    def processor_seconds_per_round(self) -> float:
        """Of all members together."""
        used = 0.0
        for node in self.events:
            begin = next(e["cpu"] for e in node if e["type"] == "ready")
            used += next(e["cpu"] for e in node if e["type"] == "result") - begin
        return used / self.rounds

    def moment(self, type: str, round_number: int) -> float:
        """When the last member saw something of a round."""
        return max(
            e["t"]
            for node in self.events
            for e in node
            if e["type"] == type and e["round"] == round_number
        )


def contributors(node: list[dict[str, Any]]) -> list[list[str]]:
    """Per committed round, whose work a member says is in it."""
    commits = [e for e in node if e["type"] == "round.committed"]
    return [[item["peer"] for item in e["inputs"]] for e in commits]


async def play(size: int, rounds: int = ROUNDS, killed: int = 0) -> Outcome:
    """One run in processes; the last ``killed`` members kill themselves in round 1."""
    with tempfile.TemporaryDirectory(prefix="noop-") as folder:
        nodes = [_node(folder, i, size, rounds, i >= COUNT - killed) for i in range(COUNT)]
        processes = [await node for node in nodes]
        try:
            async with asyncio.timeout(PATIENCE):
                read = await asyncio.gather(*(_read(p) for p in processes))
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
            await asyncio.gather(*(p.wait() for p in processes))
    return Outcome(read[: COUNT - killed], rounds)


async def _node(
    folder: str, index: int, size: int, rounds: int, dies: bool
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", MODULE, folder, str(index),
        "--count", str(COUNT), "--size", str(size), "--rounds", str(rounds),
        "--die-in", str(int(dies)),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 20,
    )  # fmt: skip


async def _read(process: asyncio.subprocess.Process) -> list[dict[str, Any]]:
    """A member's events up to its result or its death."""
    assert process.stdout is not None
    events: list[dict[str, Any]] = []
    while line := await process.stdout.readline():
        events.append(json.loads(line))
        if events[-1]["type"] == "result":
            break
    return events


def run(runs: int = RUNS) -> Iterator[Line]:
    for size in (SMALL, LARGE):
        outcome = asyncio.run(play(size))
        name = f"no-op round, {COUNT} processes, {size / 1e6:.4g} MB"
        name += "" if outcome.right else " (WRONG RESULT)"
        yield Line(name, outcome.seconds_per_round, TARGETS[size], "target")
        cores = psutil.cpu_count() or 1
        least = outcome.processor_seconds_per_round / cores
        yield Line(f"its processor time over {cores} processors", least, TARGETS[size], "target")
    outcome = asyncio.run(play(SMALL, rounds=1, killed=1))
    begin = max(e["t"] for node in outcome.events for e in node if e["type"] == "ready")
    named = {len(names) for node in outcome.events for names in contributors(node)}
    name = f"one of {COUNT} killed in round 1, {min(named)} named"
    yield Line(name, outcome.moment("round.committed", 1) - begin, TARGET_KILLED, "target")
    finished = sum(asyncio.run(play(SMALL)).right for _ in range(runs))
    yield Line("fault-free runs that finished", finished, runs, "runs", "runs")
