"""The interface as a process on a terminal of 120x40, watching a room of 30 from a real socket.

Each figure stands beside the one to reach. The keys are pressed while other processes, lowered as a
trainer is, keep all cores of the machine busy.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from PIL import Image

from fedtui.control.operations import Operations
from fedtui.control.server import ControlServer
from fedtui.events import Event
from fedtui.tui.places import NUMBERED, Place
from fedtui.tui.widgets.picture import Key, drawn
from fedtui.view import NodeView, PeerView, RoundView
from tests.benchmarks.load import busy
from tests.benchmarks.measure import Line, seconds
from tests.benchmarks.terminal import Terminal

COLUMNS, ROWS, PEERS = 120, 40, 30
WATCH_S, KEYS, PAUSE_S, HZ = 12.0, 200, 0.2, 2.0
PROGRAM = """
import sys
from pathlib import Path
from fedtui.tui.app import run
run(Path(sys.argv[1]))
"""


ANSWERS: dict[str, dict[str, Any]] = {
    "list_adapters": {"shelf": "/shelf", "adapters": []},
    "check_folder": {"folder": "x", "usable": 0, "pictures": [], "problems": []},
    "generations": {"jobs": []},
    "members": {"members": []},
    "read_log": {"lines": [], "next": 0, "path": "/log"},
}


@dataclass(frozen=True)
class Anything:
    """The arguments of all operations that screens ask for by themselves."""

    folder: str = ""
    source: str = ""
    after: int = 0


def answering(answer: dict[str, Any]) -> Callable[[Anything], Awaitable[dict[str, Any]]]:
    """An operation with always the same result."""

    async def run(_: Anything) -> dict[str, Any]:
        return answer

    return run


class Room:
    """A node of a room of 30 whose members go on twice a second, or stand still."""

    def __init__(self) -> None:
        self.moving = True
        self.operations = Operations()
        for name, answer in ANSWERS.items():
            self.operations.add(name, Anything, answering(answer))
        self._started = time.monotonic()

    def view(self) -> NodeView:
        tick = int((time.monotonic() - self._started) * HZ) if self.moving else 0
        peers = tuple(
            PeerView(
                f"{i:04d}" + "a" * 48,
                f"machine-{i:02d}",
                me=i == 0,
                state="TRAIN",
                step=(tick * 3 + i) % 200,
                steps=200,
                loss=0.5 + (tick + i) % 50 / 100,
                samples=40,
                last_seen_s=1.0,
                rtt_ms=2.0,
            )
            for i in range(PEERS)
        )
        now = RoundView(2, 8, phase="TRAIN", expected=PEERS, quorum=16, elapsed_s=tick / HZ)
        return NodeView(
            "0000" + "a" * 48, "machine-00", room_id="r" * 64, room_name="bench", dataset="x",
            round=now, peers=peers,
        )  # fmt: skip

    def past_events(self, since: int) -> list[Event]:
        return []

    async def follow_events(self, since: int) -> AsyncIterator[Event]:
        await asyncio.Event().wait()
        yield {}

    def request_stop(self) -> None:
        """Nothing runs."""


@contextmanager
def serving(room: Room, path: Path) -> Iterator[None]:
    """The control API of ``room`` in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = ControlServer(room, path)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def opened(control: Path) -> Terminal:
    """The interface on that node."""
    return Terminal([sys.executable, "-c", PROGRAM, str(control)], COLUMNS, ROWS)


def run() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        room, control = Room(), Path(folder) / "control.sock"
        with serving(room, control):
            yield first_paint(control)
            yield from watching(room, control)
            yield from pressing(control)
        yield from picture(Path(folder))


def first_paint(control: Path) -> Line:
    times = []
    for _ in range(5):
        terminal = opened(control)
        terminal.wait_for("1 Dash")
        times.append(time.perf_counter() - terminal.began)
        terminal.close()
    return Line("first paint", 1000 * min(times), 400, "at most", "ms")


def watching(room: Room, control: Path) -> Iterator[Line]:
    terminal = opened(control)
    try:
        terminal.wait_for("machine-00")
        terminal.drain(3.0)
        process = psutil.Process(terminal.process.pid)
        before = sum(process.cpu_times()[:2])
        count = terminal.drain(WATCH_S)
        used = (sum(process.cpu_times()[:2]) - before) / WATCH_S
        yield Line(f"{PEERS} peers at 2 Hz, of one core", 100 * used, 3, "at most", "%")
        rate = count / WATCH_S / 1024
        yield Line(f"{PEERS} peers at 2 Hz, to the terminal", rate, 16, "at most", "KiB/s")
        yield Line("memory", process.memory_info().rss / 2**20, 120, "at most", "MiB")
        room.moving = False
        terminal.drain(2.0)
        yield Line("nothing changes, to the terminal", terminal.drain(5.0), 0, "at most", "bytes")
        room.moving = True
    finally:
        terminal.close()


def pressing(control: Path) -> Iterator[Line]:
    """From a key to the last cell of what it shows: first visits, then to and fro."""
    terminal = opened(control)
    try:
        terminal.wait_for("machine-00")
        terminal.drain(2.0)
        with busy(os.cpu_count() or 2):
            terminal.drain(1.0)
            first = [switched(terminal, place) for place in NUMBERED[1:]]
            yield Line(
                "key to screen, busy, slowest first visit", 1000 * max(first), 200, "at most", "ms"
            )
            times = sorted(switched(terminal, NUMBERED[i % len(NUMBERED)]) for i in range(KEYS))
        for share in (50, 95, 99):
            slowest = 1000 * times[KEYS * share // 100 - 1]
            yield Line(f"key to screen, busy, {share} %", slowest, 50, "at most", "ms")
    finally:
        terminal.close()


def switched(terminal: Terminal, place: Place) -> float:
    """Seconds from the key of a screen to the last cell of that screen."""
    terminal.drain(PAUSE_S)
    terminal.press(place.key.encode())
    return terminal.wait_for(f"[{place.key} {place.name}]")


def picture(folder: Path) -> Iterator[Line]:
    path = folder / "noise.png"
    Image.effect_noise((256, 256), 80).convert("RGB").save(path)
    key = Key(str(path), 64, 32, "half", (0, 0, 0))
    cold = min(seconds(lambda n=n: drawn(key, n, 0)) for n in range(7))  # type: ignore[misc]
    warm = min(seconds(lambda: drawn(key, 0, 0)) for _ in range(7))
    yield Line("256x256 picture at 64x32 cells, cold", 1000 * cold, 10, "at most", "ms")
    yield Line("... warm", 1000 * warm, 2, "at most", "ms")
