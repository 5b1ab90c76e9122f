"""The interface after an hour of a room of 30, and with 50,000 lines of a log.

The hour is not waited for: the room goes on by a second with every view that the interface asks
for, and the interface, whose pause between two views is taken away, asks 3,600 times as fast as it
can. Bursts are drawn once, as always. Every round of a minute brings a commit of 30 contributions,
four pictures of 64x64 and a loss curve; a person goes through all the screens meanwhile.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from fedtui.control.operations import Operations
from fedtui.limits import VIEW_EVENTS, VIEW_LOSSES
from fedtui.tui.places import NUMBERED
from fedtui.view import (
    CommitView,
    EventView,
    InputView,
    LossPoint,
    NodeView,
    PreviewView,
)
from tests.benchmarks.interface import (
    ANSWERS,
    COLUMNS,
    ROWS,
    Anything,
    Room,
    answering,
    serving,
)
from tests.benchmarks.measure import Line
from tests.benchmarks.terminal import Terminal

HOUR_S, ROUND_S, PROMPTS = 3600.0, 60.0, 4
VIEW_S = 1.0
VIEWS = int(HOUR_S / VIEW_S)
LOSSES_A_ROUND = 50
LOG_LINES, CHUNK = 50_000, 5_000
KEYS = 40
PATIENCE_S = 1800.0
PROGRAM = """
import sys
from pathlib import Path
import fedtui.tui.app as interface
interface.POLL_S = 0.0
interface.run(Path(sys.argv[1]))
"""


class Hour(Room):
    """A room of 30 that goes on by a second with every view."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.views = 0

    def view(self) -> NodeView:
        self.views = min(VIEWS, self.views + 1)
        seconds = self.views * VIEW_S
        number = int(seconds / ROUND_S) + 1
        view = super().view()
        peers = tuple(
            replace(peer, step=(self.views * 3 + i) % 200, loss=0.5 + (self.views + i) % 50 / 100)
            for i, peer in enumerate(view.peers)
        )
        now = replace(view.round, number=number, rounds=100, elapsed_s=seconds % ROUND_S)
        losses, previews, commits = self._done(number)
        events = tuple(
            EventView(i, 1e9 + i, "peer.state", f"machine-{i % 30:02d} did what it does, {i}")
            for i in range(max(0, self.views - VIEW_EVENTS), self.views)
        )
        return replace(
            view, round=now, peers=peers, losses=losses, previews=previews, commits=commits,
            events=events,
        )  # fmt: skip

    @cache  # noqa: B019 - one room for each run
    def _done(self, number: int) -> tuple[Any, Any, Any]:
        """What the rounds before ``number`` have left."""
        losses = tuple(
            LossPoint(r, s, 1 / (r + s / LOSSES_A_ROUND))
            for r in range(1, number + 1)
            for s in range(LOSSES_A_ROUND)
        )[-VIEW_LOSSES:]
        previews = tuple(
            PreviewView(r, f"prompt {i}", i, str(self._picture(r, i)))
            for r in range(number)
            for i in range(PROMPTS)
        )
        inputs = tuple(InputView(f"{i:04d}" + "a" * 48, 40, "0f" * 32) for i in range(30))
        commits = tuple(
            CommitView(r, "ab" * 32, "cd" * 32, "ef" * 32, 0, inputs[r % 30].peer, inputs=inputs)
            for r in range(1, number)
        )
        return losses, previews, commits

    def _picture(self, number: int, prompt: int) -> Path:
        path = self._folder / f"r{number}-{prompt}.png"
        if not path.exists():
            Image.effect_noise((64, 64), 20 + number % 60).convert("RGB").save(path)
        return path


@dataclass(frozen=True)
class Asked:
    """The arguments of ``read_log``."""

    source: str = ""
    after: int = 0


async def read_log(asked: Asked) -> dict[str, Any]:
    """The log in pieces, as a node gives it."""
    first = max(0, asked.after)
    last = min(LOG_LINES, first + CHUNK)
    lines = [["12:00:00", "info", f"line {n} of the log"] for n in range(first, last)]
    return {"lines": lines, "next": last, "path": "/log"}


def run() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        yield from hour(Path(folder))
        yield from scrolling(Path(folder))


def hour(folder: Path) -> Iterator[Line]:
    room, control = Hour(folder), folder / "hour.sock"
    with serving(room, control):
        terminal = Terminal([sys.executable, "-c", PROGRAM, str(control)], COLUMNS, ROWS)
        try:
            terminal.wait_for("machine-00")
            process = psutil.Process(terminal.process.pid)
            began, at = time.monotonic(), 0
            while room.views < VIEWS:
                if time.monotonic() - began > PATIENCE_S:
                    raise TimeoutError(f"only {room.views} of {VIEWS} views were asked for")
                terminal.press(NUMBERED[at % len(NUMBERED)].key.encode())
                terminal.drain(1.0)
                at += 1
            terminal.press(b"1")
            terminal.drain(2.0)
            used = process.memory_info().rss / 2**20
            yield Line("memory after an hour of a room of 30", used, 120, "at most", "MiB")
            yield Line("... views looked at", room.views, VIEWS, "in an hour", "")
            yield Line(
                "... that took", time.monotonic() - began, HOUR_S, "seconds of the room", "s"
            )
        finally:
            terminal.close()


def scrolling(folder: Path) -> Iterator[Line]:
    room, control = Room(), folder / "log.sock"
    room.moving = False
    room.operations = Operations()
    for name, answer in ANSWERS.items():
        if name != "read_log":
            room.operations.add(name, Anything, answering(answer))
    room.operations.add("read_log", Asked, read_log)
    with serving(room, control):
        terminal = Terminal([sys.executable, "-c", PROGRAM, str(control)], COLUMNS, ROWS)
        try:
            terminal.wait_for("machine-00")
            terminal.press(b"9")
            terminal.drain(1.0)
            terminal.press(b"s")  # from the events to the node's log
            terminal.wait_for(f"line {LOG_LINES - 1} ", PATIENCE_S)
            times = []
            for n in range(KEYS):
                key, shown = ((b"g", "line 0 "), (b"G", f"line {LOG_LINES - 1} "))[n % 2]
                terminal.press(key)
                times.append(terminal.wait_for(shown))
            yield Line("50,000 lines, end to end, slowest", 1000 * max(times), 50, "at most", "ms")
            process = psutil.Process(terminal.process.pid)
            used = process.memory_info().rss / 2**20
            yield Line("... memory with them", used, 120, "at most", "MiB")
        finally:
            terminal.close()
