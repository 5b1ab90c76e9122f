"""A node under attack, and the member that goes on probing it, in a network namespace of their own.

Strangers keep 200 silent sockets on each of its ports, 1,000 machines ask at its lobby at once with
an invite that nobody made, and 100,000 forged mDNS records name members of the room at addresses
where nobody is. Loopback is exempt from the limits per host: it is as if they came from everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from tests.benchmarks.measure import Line
from tests.netns.lab import missing
from tests.netns.lab import run as ip

TARGET_PROBE = 1.0
TARGET_GROWTH = 64.0
LIMIT_SECONDS = 600


def run() -> Iterator[Line]:
    reason = missing()
    if reason is not None:
        yield Line(f"siege: not run, {reason}", 0, 0, "")
        return
    report = besiege()
    for phase, figures in report["phases"].items():
        asked, answered = figures["asked"], figures["answered"]
        name = f"{phase}: slowest of {asked} probes"
        name += "" if asked == answered else f" ({asked - answered} UNANSWERED)"
        yield Line(name, figures["slowest"], TARGET_PROBE, "target")
    yield Line("memory of the node grows by", report["grown_mib"], TARGET_GROWTH, "target", "MiB")


def besiege() -> dict:
    """The report of one siege; needs root."""
    place = f"fedtui-siege-{os.getpid()}"
    ip("ip", "netns", "add", place)
    try:
        ip("ip", "-n", place, "link", "set", "lo", "up")
        with tempfile.TemporaryDirectory(prefix="siege-") as folder:
            inside = [sys.executable, "-m", "tests.benchmarks.siege_parts", "besieger", folder]
            done = subprocess.run(
                ["ip", "netns", "exec", place, *inside],
                stdout=subprocess.PIPE, check=True, timeout=LIMIT_SECONDS,
            )  # fmt: skip
    finally:
        ip("ip", "netns", "del", place, check=False)
    return json.loads(done.stdout)
