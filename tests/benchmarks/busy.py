"""Members on machines that compute at full load, on a network that loses packets: who is taken for
gone although it is there, and for how long?

All members share the processors with twice as many processes that only compute, at equal priority
(a trainer's is lower). ``--runs N`` takes N minutes, 10 by itself.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path

import psutil

from tests.benchmarks.load import AT_EQUAL_PRIORITY, busy
from tests.benchmarks.measure import Line
from tests.netns.lab import Lab, missing
from tests.toy_site import Site

COUNT = 5
LOSS = 5
MINUTES = 10
TARGET = 10.0
SAMPLE = 0.25
"""Seconds between two looks at what everybody shows."""


def run(runs: int = MINUTES) -> Iterator[Line]:
    reason = missing()
    if reason is not None:
        yield Line(f"busy: not run, {reason}", 0, 0, "")
        return
    with ExitStack() as stack:
        lab = Lab(COUNT)
        stack.callback(lab.close)
        site = Site(
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="busy-"))),
            COUNT,
            prefix=lambda index: lab.command(index),
        )
        stack.callback(site.close)
        for index in range(COUNT):
            lab.lose(index, LOSS)
        site.start()
        site.until("everybody sees everybody", site.all_see_all)
        stack.enter_context(busy(2 * (psutil.cpu_count() or 1), AT_EQUAL_PRIORITY))
        before = len(site.ledger(0))
        longest, alarms = watched(site, 60.0 * runs)
        rounds = len(site.ledger(0)) - before
        name = f"{COUNT} busy members, {LOSS} % loss, {runs} min, {rounds} rounds"
        yield Line(f"{name}: wrongly unreachable", longest, TARGET, "target")
        yield Line("  how often", alarms, 0, "", "times")


def watched(site: Site, seconds: float) -> tuple[float, int]:
    """The longest time for which a member was taken for gone, in seconds, and how often one was."""
    since: dict[tuple[int, int], float] = {}
    longest, alarms = 0.0, 0
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        for pair in permutations(range(COUNT), 2):
            if site.state(*pair) != "unreachable":
                since.pop(pair, None)
                continue
            alarms += pair not in since
            longest = max(longest, now - since.setdefault(pair, now) + SAMPLE)
        time.sleep(SAMPLE)
    return longest, alarms
