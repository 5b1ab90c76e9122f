"""A demo as a child process whose events can be waited for."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

PATIENCE = 240.0
"""Seconds any single event may take; five processes import torch on two busy cores."""

Event = dict[str, Any]


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FEDTUI_")}
    return {**kept, **extra}


class Demo:
    """``fedtui demo --json`` below ``directory``; ``events`` holds what was waited through."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self.events: list[Event] = []
        self._queue: queue.Queue[Event | None] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fedtui", "demo", "--json", "--dir", str(directory), *arguments],
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._errors: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._read_errors, daemon=True).start()

    def wait_for(self, wanted: Callable[[Event], bool]) -> Event:
        """The first event, among those not seen yet, that is ``wanted``."""
        while (event := self._queue.get(timeout=PATIENCE)) is not None:
            self.events.append(event)
            if wanted(event):
                return event
        raise AssertionError(f"the demo ended before that: {self.stderr}")

    def finish(self) -> Event:
        """Waits for the end; returns ``demo.finished``."""
        finished = self.wait_for(lambda event: event["type"] == "demo.finished")
        self.process.wait(PATIENCE)
        assert self.process.returncode == 0, self.stderr
        return finished

    def processes(self) -> list[psutil.Process]:
        """Everything the demo has started that still runs."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill_node(self, peer_id: str) -> str:
        """kill -9 of the node with this peer id, at once; its trainers notice by themselves."""
        ready = next(e for e in self.events if (e["type"], e["node"]) == ("node.ready", peer_id))
        os.kill(ready["pid"], signal.SIGKILL)
        return str(ready["name"])

    def view(self, number: int) -> Event:
        """What ``fedtui status --json`` says of a node, counted from 1."""
        shown = subprocess.run(
            [sys.executable, "-m", "fedtui", "status", "--json"],
            env=clean_environment(FEDTUI_HOME=str(self.directory / f"node-{number}")),
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        view: Event = json.loads(shown.stdout)
        return view

    def end(self) -> None:
        """For clean-up: whatever still runs is killed."""
        left = self.processes()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for process in left:
            if process.is_running():
                process.kill()

    @property
    def stderr(self) -> str:
        return "".join(self._errors)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(json.loads(line))
        self._queue.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self._errors.extend(self.process.stderr)
