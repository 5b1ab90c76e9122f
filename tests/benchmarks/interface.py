"""The interface as a process on a terminal of 120x40, watching a room of 30 from a real socket.

Each figure stands beside the one to reach. The keys are pressed while two other processes keep the
machine's cores busy, as a trainer does.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from PIL import Image

from fedtui.control.operations import Operations
from fedtui.control.server import ControlServer
from fedtui.events import Event
from fedtui.tui.widgets.picture import Key, drawn
from fedtui.view import NodeView, PeerView, RoundView
from tests.benchmarks.measure import Line, seconds

COLUMNS, ROWS, PEERS = 120, 40, 30
WATCH_S, KEYS, HZ = 12.0, 100, 2.0
ESCAPES = re.compile(rb"\x1b\[[0-9;?<>=]*[a-zA-Z]")
PROGRAM = """
import sys
from pathlib import Path
from fedtui.tui.app import run
run(Path(sys.argv[1]))
"""
BURN = "while True: pass"


class Room:
    """A node of a room of 30 whose members go on twice a second, or stand still."""

    def __init__(self) -> None:
        self.moving = True
        self.operations = Operations()
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


class Terminal:
    """A pseudo-terminal with the interface in it."""

    def __init__(self, control: Path) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(control)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
            start_new_session=True,
        )
        os.close(theirs)

    def wait_for(self, words: bytes, patience: float = 30.0) -> float:
        """Seconds until ``words`` have been drawn; reads everything on the way."""
        began, shown = time.perf_counter(), b""
        while words not in ESCAPES.sub(b"", shown):
            if time.perf_counter() - began > patience:
                raise TimeoutError(words)
            shown += self._read(0.005)
        return time.perf_counter() - began

    def drain(self, duration: float) -> int:
        """Bytes written in so many seconds."""
        count, end = 0, time.perf_counter() + duration
        while time.perf_counter() < end:
            count += len(self._read(0.05))
        return count

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def close(self) -> None:
        self.press(b"q")
        try:
            end = time.monotonic() + 10
            while self.process.poll() is None and time.monotonic() < end:
                self._read(0.05)
        finally:
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            os.close(self._ours)

    def _read(self, patience: float) -> bytes:
        if not select.select([self._ours], [], [], patience)[0]:
            return b""
        try:
            return os.read(self._ours, 1 << 16)
        except OSError:
            return b""


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but compute, as kindly as a trainer."""
    burning = [subprocess.Popen(["nice", "-n", "10", sys.executable, "-c", BURN])
               for _ in range(processes)]  # fmt: skip
    try:
        yield
    finally:
        for each in burning:
            each.kill()
            each.wait()


def run() -> Iterator[Line]:
    with tempfile.TemporaryDirectory() as folder:
        room, control = Room(), Path(folder) / "control.sock"
        with serving(room, control):
            yield first_paint(control)
            yield from watching(room, control)
            yield pressing(room, control)
        yield from picture(Path(folder))


def first_paint(control: Path) -> Line:
    times = []
    for _ in range(5):
        terminal = Terminal(control)
        terminal.wait_for(b"1 Dash")
        times.append(time.perf_counter() - terminal.began)
        terminal.close()
    return Line("first paint", 1000 * min(times), 400, "at most", "ms")


def watching(room: Room, control: Path) -> Iterator[Line]:
    terminal = Terminal(control)
    try:
        terminal.wait_for(b"machine-00")
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


def pressing(room: Room, control: Path) -> Line:
    del room
    terminal = Terminal(control)
    try:
        terminal.wait_for(b"machine-00")
        for key, shown in ((b"2", b"[2 Peers]"), (b"3", b"[3 Rounds]")):
            terminal.press(key)
            terminal.wait_for(shown)
        with busy(os.cpu_count() or 2):
            terminal.drain(1.0)
            times = []
            for i in range(KEYS):
                key, shown = ((b"2", b"[2 Peers]"), (b"3", b"[3 Rounds]"))[i % 2]
                terminal.press(key)
                times.append(terminal.wait_for(shown))
                terminal.drain(0.05)
        slowest = sorted(times)[int(0.99 * KEYS) - 1]
        return Line("key to screen, busy, 99 %", 1000 * slowest, 50, "at most", "ms")
    finally:
        terminal.close()


def picture(folder: Path) -> Iterator[Line]:
    path = folder / "noise.png"
    Image.effect_noise((256, 256), 80).convert("RGB").save(path)
    key = Key(str(path), 64, 32, "half", (0, 0, 0))
    cold = min(seconds(lambda n=n: drawn(key, n, 0)) for n in range(7))  # type: ignore[misc]
    warm = min(seconds(lambda: drawn(key, 0, 0)) for _ in range(7))
    yield Line("256x256 picture at 64x32 cells, cold", 1000 * cold, 10, "at most", "ms")
    yield Line("... warm", 1000 * warm, 2, "at most", "ms")
