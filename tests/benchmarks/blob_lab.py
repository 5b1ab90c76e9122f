"""Members that move one blob over slow links: network namespaces, token buckets, lost packets."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.netns.lab import Lab

PATIENCE = 900.0


class BlobLab:
    """``count`` members on links of ``rate`` (for example ``100mbit``) each way."""

    def __init__(self, folder: Path, lab: Lab, count: int, size: int, rate: str) -> None:
        self.folder = folder
        self._lab = lab
        self._count = count
        self._size = size
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for index in range(count):
            lab.limit(index, rate)

    def start(self, index: int, *options: str) -> None:
        arguments = [str(self.folder), str(index), str(self._count), str(self._size), *options]
        command = [sys.executable, "-m", "tests.benchmarks.blob_node", *arguments]
        self._processes[index] = subprocess.Popen(self._lab.command(index, *command))
        self.wait(lambda: (self.folder / f"ready{index}").exists())

    def kill(self, index: int) -> None:
        """kill -9."""
        process = self._processes.pop(index)
        process.kill()
        process.wait()
        (self.folder / f"ready{index}").unlink()

    def go(self) -> float:
        """Lets everybody begin; returns when."""
        began = time.monotonic()
        (self.folder / "go").touch()
        return began

    def done(self, index: int) -> float | None:
        """When a member had all of it."""
        path = self.folder / f"done{index}"
        return json.loads(path.read_text()) if path.exists() else None

    def processor_seconds(self) -> float:
        """What all members together have used so far."""
        times = [psutil.Process(each.pid).cpu_times() for each in self._processes.values()]
        return sum(each.user + each.system for each in times)

    def chunks(self, index: int) -> list[int]:
        """Which chunks came to a member, in order, those that came twice too."""
        path = self.folder / f"chunks{index}"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError("a member of the laboratory does not get on")
            time.sleep(0.05)

    def stop(self) -> None:
        for index in list(self._processes):
            self.kill(index)


@contextmanager
def blob_lab(count: int, size: int, rate: str, *, loss: int = 0) -> Iterator[BlobLab]:
    """A laboratory whose members are not started yet; needs root (see ``missing`` of the lab)."""
    lab = Lab(count)
    try:
        with tempfile.TemporaryDirectory(prefix="blob-lab-") as folder:
            members = BlobLab(Path(folder), lab, count, size, rate)
            for index in range(count if loss else 0):
                lab.lose(index, loss)
            try:
                yield members
            finally:
                members.stop()
    finally:
        lab.close()
