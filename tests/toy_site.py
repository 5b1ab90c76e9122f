"""Toy nodes as processes of their own, and what each of them shows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from p2p.identity import Identity

DAEMON = Path(__file__).parent / "p2p" / "toy_daemon.py"
ANYWHERE: Mapping[str, Any] = {"host": "0.0.0.0", "interfaces": None}
ON_LOOPBACK: Mapping[str, Any] = {"host": "127.0.0.1", "interfaces": ["127.0.0.1"]}
PATIENCE = 90.0


def peer_id(index: int) -> str:
    return Identity.from_seed(bytes([index + 1]) * 32).peer_id


class Site:
    """``count`` members below ``root``. ``prefix`` is put before a member's command line, for
    example to run it on another machine; ``options`` go to every Peer."""

    def __init__(
        self,
        root: Path,
        count: int,
        *,
        prefix: Callable[[int], list[str]] = lambda _: [],
        options: Mapping[str, Any] = ANYWHERE,
        training: float = 1.0,
    ) -> None:
        self.root = root
        self.count = count
        self._prefix = prefix
        self._options = options
        self._training = training
        self._running: dict[int, subprocess.Popen[str]] = {}

    def start(self, *indices: int, **options: Any) -> None:
        """Starts members (all by default); ``options`` go to their Peers as well."""
        for index in indices or range(self.count):
            (self.root / f"status-{index}.json").unlink(missing_ok=True)
            chosen = json.dumps({**self._options, **options})
            arguments = [str(self.root), str(index), str(self.count), str(self._training), chosen]
            log = (self.root / f"log-{index}.txt").open("a")
            self._running[index] = subprocess.Popen(
                [*self._prefix(index), sys.executable, str(DAEMON), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            log.close()

    def kill(self, index: int) -> None:
        """As a battery that dies: nothing is said and nothing is finished."""
        process = self._running.pop(index)
        process.kill()
        process.wait()

    def leave(self, index: int) -> int:
        """Stops a member cleanly; returns its exit status."""
        process = self._running.pop(index)
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout=PATIENCE)

    def freeze(self, index: int) -> None:
        """As a lid that closes."""
        self._running[index].send_signal(signal.SIGSTOP)

    def thaw(self, index: int) -> None:
        self._running[index].send_signal(signal.SIGCONT)

    def tell(self, index: int, place: str) -> None:
        """``HOST:PORT`` by hand."""
        stdin = self._running[index].stdin
        assert stdin is not None
        print(place, file=stdin, flush=True)

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait()
        self._running.clear()

    # --- looking -------------------------------------------------------------------------------
    @property
    def running(self) -> list[int]:
        return sorted(self._running)

    def see(self, index: int) -> dict[str, Any]:
        """What a member shows; empty before it shows anything."""
        try:
            return dict(json.loads((self.root / f"status-{index}.json").read_text()))
        except FileNotFoundError:
            return {}

    def ledger(self, index: int) -> list[str]:
        return list(self.see(index).get("ledger", ()))

    def state(self, of: int, seen_by: int) -> str:
        return self.path(of, seen_by).get("state", "")

    def path(self, to: int, seen_by: int) -> dict[str, str]:
        return dict(self.see(seen_by).get("peers", {}).get(peer_id(to), {}))

    def all_see_all(self, among: Iterable[int] | None = None) -> bool:
        members = list(self.running if among is None else among)
        return all(
            self.state(other, me) == "alive" for me in members for other in members if me != other
        )

    def agree(self, among: Iterable[int] | None = None) -> bool:
        """Whether every ledger is a prefix of the longest."""
        ledgers = [self.ledger(index) for index in (self.running if among is None else among)]
        longest = max(ledgers, key=len)
        return all(ledger == longest[: len(ledger)] for ledger in ledgers)

    def until(self, what: str, condition: Callable[[], bool], seconds: float = PATIENCE) -> float:
        """Waits; returns how long it took. Raises AssertionError with what everybody shows."""
        started = time.monotonic()
        while not condition():
            if time.monotonic() - started > seconds:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self._picture()}")
            time.sleep(0.1)
        return time.monotonic() - started

    def until_rounds(self, more: int, *among: int) -> None:
        """Waits until these members have committed ``more`` further rounds."""
        members = among or tuple(self.running)
        goal = max(len(self.ledger(index)) for index in members) + more
        self.until(
            f"round {goal}", lambda: all(len(self.ledger(index)) >= goal for index in members)
        )

    def _picture(self) -> str:
        lines = []
        for index in range(self.count):
            seen = self.see(index)
            states = {i: self.state(i, index) for i in range(self.count) if i != index}
            facts = {key: seen.get(key) for key in ("round", "phase", "note", "discovery")}
            age = time.time() - seen["time"] if seen else None
            lines.append(f"{index}: {facts} {states} shown {age} s ago")
        return "\n".join(lines)
