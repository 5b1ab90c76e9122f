"""Profiles of their own, each with the real commands and a real ``fedtui --daemon``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from demo_rig import PATIENCE, clean_environment

LOOPBACK = {"FEDTUI_HOST": "127.0.0.1", "FEDTUI_INTERFACES": "127.0.0.1"}


class Home:
    """One person's machine: a profile and at most one daemon.

    ``prefix`` goes before every command, for example to enter a network namespace.
    """

    def __init__(
        self, root: Path, prefix: Sequence[str] = (), settings: dict[str, str] | None = None
    ) -> None:
        self.root = root
        self._prefix = list(prefix)
        self._environment = clean_environment(
            FEDTUI_HOME=str(root),
            FEDTUI_PREVIEWS="false",
            FEDTUI_THREADS="1",
            **(LOOPBACK if settings is None else settings),
        )
        self._daemon: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end and checks its exit code."""
        done = subprocess.run(
            self._command(*arguments),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}{self.log}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts a command that waits for somebody."""
        return subprocess.Popen(
            self._command(*arguments),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def serve(self, *arguments: str) -> None:
        """Starts the daemon and waits until it answers."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                self._command("--daemon", *arguments),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.eventually(lambda: self.view() is not None)

    def view(self) -> dict[str, Any] | None:
        """What ``fedtui status --json`` says; None while nothing answers."""
        assert self._daemon is None or self._daemon.poll() is None, self.log
        done = subprocess.run(
            self._command("status", "--json"),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None

    def eventually(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.log
            time.sleep(0.3)

    def stop(self) -> None:
        self.terminate()
        if self._daemon is not None:
            self._daemon.wait(PATIENCE)

    def ended(self) -> None:
        """Waits until the daemon ends by itself."""
        assert self._daemon is not None
        assert self._daemon.wait(PATIENCE) == 0, self.log

    def terminate(self) -> None:
        """Asks the daemon to end."""
        if self._daemon is not None and self._daemon.poll() is None:
            self._daemon.terminate()

    def freeze(self) -> None:
        """Closes the lid: the daemon and its trainers stand still."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        if self._daemon is None or self._daemon.poll() is not None:
            return []
        daemon = psutil.Process(self._daemon.pid)
        return [daemon, *daemon.children(recursive=True)]

    def events(self, type_: str) -> list[dict[str, Any]]:
        """What the node has said so far, of one type."""
        path = self.root / "events.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in told if event["type"] == type_]

    def has(self, type_: str, **fields: object) -> bool:
        """Whether an event has come that says so."""
        return any(fields.items() <= event.items() for event in self.events(type_))

    @property
    def exit_code(self) -> int | None:
        """Of the daemon; None while it runs."""
        assert self._daemon is not None
        return self._daemon.poll()

    @property
    def log(self) -> str:
        path = self.root / "daemon.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def _command(self, *arguments: str) -> list[str]:
        return [*self._prefix, sys.executable, "-m", "fedtui", *arguments]
