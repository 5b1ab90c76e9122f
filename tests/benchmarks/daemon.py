"""What a node costs that only waits: from its start to READY, then a while of having nothing to do.

A room of one that has been founded and starts its rounds only when asked: member port, discovery,
probes, ledger and control API are up. The trainer is another process and not counted; in this
profile it has not been started.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.benchmarks.measure import Line

STARTS = 5
SETTLING = 5.0
IDLE_SECONDS = 30.0
PATIENCE = 60.0
TARGET_READY = 0.7
TARGET_SHARE = 1.0
TARGET_MIB = 120.0


def run() -> Iterator[Line]:
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder:
        home = Path(folder)
        _found_room(home)
        seconds, cpu = zip(*(_start(home) for _ in range(STARTS)), strict=True)
        yield Line("daemon ready after, best", min(seconds), TARGET_READY, "target")
        yield Line("its CPU time until then, best", min(cpu), TARGET_READY, "target")
        with _daemon(home) as (process, _):
            time.sleep(SETTLING)
            before = _cpu(process)
            time.sleep(IDLE_SECONDS)
            share = 100 * (_cpu(process) - before) / IDLE_SECONDS
            memory = process.memory_info().rss / (1 << 20)
        yield Line("idle daemon, share of a core", share, TARGET_SHARE, "target", "%")
        yield Line("idle daemon, resident memory", memory, TARGET_MIB, "target", "MiB")


def _start(home: Path) -> tuple[float, float]:
    """Wall seconds and CPU seconds from the start of the process to READY."""
    with _daemon(home) as (process, seconds):
        return seconds, _cpu(process)


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


def _environment(home: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("FEDTUI_")}
    return {
        **own,
        "FEDTUI_HOME": str(home / "profile"),
        "FEDTUI_HOST": "127.0.0.1",
        "FEDTUI_INTERFACES": "127.0.0.1",
    }


def _found_room(home: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "fedtui", "room", "create", "Attic", "--start-on-request"],
        env=_environment(home), check=True, capture_output=True,
    )  # fmt: skip


@contextmanager
def _daemon(home: Path) -> Iterator[tuple[psutil.Process, float]]:
    """A daemon, and the seconds after which it told that it is ready, as it tells systemd."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        place = home / "ready"
        told.bind(str(place))
        told.settimeout(PATIENCE)
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "fedtui", "--daemon"],
            env={**_environment(home), "NOTIFY_SOCKET": str(place)},
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while told.recv(64) != b"READY=1":
                pass
            yield psutil.Process(process.pid), time.monotonic() - began
        finally:
            process.terminate()
            process.wait(PATIENCE)
            place.unlink()
