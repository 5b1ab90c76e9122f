"""A room that is maltreated for a while: ``python -m tests.soak --minutes 20 --nodes 8``.

Toy nodes as processes on loopback; at random moments one is killed with -9, frozen, or leaves, and
comes back. At the end the ledgers must be equal, and the members that lived through everything must
not have grown. Prints one JSON report; exit code 0 when all held.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.toy_site import ON_LOOPBACK, Site

SURVIVORS = 2
"""Members that are frozen at most: their memory and files are watched."""
PAUSE = (3.0, 10.0)
"""Seconds between two faults, and for which a member is away."""
GROWTH_SHARE = 0.3
GROWTH_KIB = 24 << 10
GROWTH_FILES = 24
"""How much more than after a quarter of the time still counts as flat."""


class Soak:
    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.samples: dict[int, list[tuple[int, int]]] = {i: [] for i in range(SURVIVORS)}
        self.longest_pause = 0.0
        self._back: list[tuple[float, Callable[[], None]]] = []
        self._away: set[int] = set()
        self._progress = (0, time.monotonic())

    def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        next_fault = time.monotonic() + PAUSE[0]
        while time.monotonic() < end:
            now = time.monotonic()
            self._bring_back(now)
            if now >= next_fault:
                next_fault = now + self.random.uniform(*PAUSE)
                self._fault(now)
            self._look(now)
            time.sleep(1.0)
        self._bring_back(float("inf"))

    def _fault(self, now: float) -> None:
        present = set(self.site.running) - self._away
        if len(present) <= self.site.count // 2 + 1:
            return
        victim = self.random.choice(sorted(present))
        kind = "freeze" if victim < SURVIVORS else self.random.choice(["freeze", "kill", "leave"])
        self.faults[kind] += 1
        self._away.add(victim)
        if kind == "freeze":
            self.site.freeze(victim)
            back = self.site.thaw
        else:
            (self.site.kill if kind == "kill" else self.site.leave)(victim)
            back = self.site.start
        self._back.append((now + self.random.uniform(*PAUSE), lambda: self._return(victim, back)))

    def _return(self, victim: int, back: Callable[[int], None]) -> None:
        back(victim)
        self._away.discard(victim)

    def _bring_back(self, now: float) -> None:
        due = [entry for entry in self._back if entry[0] <= now]
        self._back = [entry for entry in self._back if entry[0] > now]
        for _, back in due:
            back()

    def _look(self, now: float) -> None:
        longest = max((len(self.site.ledger(i)) for i in self.site.running), default=0)
        if longest > self._progress[0]:
            self._progress = (longest, now)
        self.longest_pause = max(self.longest_pause, now - self._progress[1])
        for index, samples in self.samples.items():
            seen = self.site.see(index)
            if seen:
                samples.append((seen["memory_kib"], seen["files"]))


def grown(samples: list[tuple[int, int]]) -> dict[str, Any]:
    """Memory (KiB) and open files after a quarter of the time and at the end."""
    quarter, last = samples[len(samples) // 4], samples[-1]
    return {
        "memory_kib": [quarter[0], last[0]],
        "files": [quarter[1], last[1]],
        "flat": last[0] <= quarter[0] * (1 + GROWTH_SHARE) + GROWTH_KIB
        and last[1] <= quarter[1] + GROWTH_FILES,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedtui-soak-") as directory:
        site = Site(Path(directory), options.nodes, options=ON_LOOPBACK, training=1.0)
        soak = Soak(site, options.seed)
        problem = ""
        try:
            site.start()
            site.until("everybody sees everybody", site.all_see_all)
            soak.run(60 * options.minutes)
            site.until("everybody is back", site.all_see_all)
            site.until_rounds(2)
        except AssertionError as error:
            problem = str(error)
        rounds = [len(site.ledger(index)) for index in range(options.nodes)]
        report = {
            "minutes": options.minutes,
            "nodes": options.nodes,
            "seed": options.seed,
            "rounds": rounds,
            "faults": dict(soak.faults),
            "longest_pause_s": round(soak.longest_pause, 1),
            "ledgers_equal": site.agree() and not problem,
            "survivors": {index: grown(s) for index, s in soak.samples.items() if s},
            "problem": problem,
        }
        site.close()
    survivors = report["survivors"]
    assert isinstance(survivors, dict)
    report["ok"] = bool(
        report["ledgers_equal"] and survivors and all(s["flat"] for s in survivors.values())
    )
    print(json.dumps(report))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
