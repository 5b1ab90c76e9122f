"""200 MB over 20 Mbit/s with 2 % of the packets lost, to a receiver that is killed three times."""

from __future__ import annotations

from collections.abc import Iterator

from p2p.blobs.chunks import BlobRef
from tests.benchmarks.blob_lab import blob_lab
from tests.benchmarks.measure import Line
from tests.netns.lab import missing

SIZE = 200_000_000
RATE = "20mbit"
LOSS = 2
KILLS = 3
TARGET_TWICE = 3


def run() -> Iterator[Line]:
    reason = missing()
    if reason is not None:
        yield Line(f"resuming: not run, {reason}", 0, 0, "")
        return
    seconds, twice = killed_three_times()
    yield Line(f"200 MB at {RATE}, {LOSS} % loss, {KILLS} kills", seconds, SIZE * 8 / 20e6,
               "the link's time")  # fmt: skip
    yield Line("chunks of 1 MiB that came twice", twice, TARGET_TWICE, "target", "")


def killed_three_times() -> tuple[float, int]:
    """Seconds until the blob was whole, and how many chunks came twice."""
    chunks = BlobRef("", SIZE, "").count
    with blob_lab(2, SIZE, RATE, loss=LOSS) as members:
        members.start(0)
        members.start(1)
        began = members.go()
        for kill in range(KILLS):
            part = chunks * (kill + 1) // (KILLS + 1)
            members.wait(lambda: len(members.chunks(1)) >= part)  # noqa: B023
            members.kill(1)
            members.start(1)
        members.wait(lambda: members.done(1) is not None)
        came = members.chunks(1)
        return (members.done(1) or 0.0) - began, len(came) - len(set(came))
