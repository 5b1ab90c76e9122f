"""``python -m tests.e2e.every_algorithm [NAME...]``: a real demo of every mode and rule, verified.

For each: ``fedtui demo --quick`` with three nodes, ``fedtui verify`` of its room and its adapter,
and again with single bytes changed, in files of every kind. Prints a table; exit code 1 when
anything is not as it should be. A demo takes half a minute on two idle cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "fedtui"))

from damage import (  # noqa: E402
    LEDGER,
    checked_files,
    commit_positions,
    flipped,
    positions,
)

from fedtui import provenance, rooms  # noqa: E402
from fedtui.errors import FedtuiError  # noqa: E402
from fedtui.paths import Profile  # noqa: E402
from fedtui.training import TrainerProcess  # noqa: E402
from fedtui.verifying import verify_room  # noqa: E402
from p2p.errors import P2PError  # noqa: E402

RUNS = {
    "fedex": ("--algorithm", "fedex"),
    "fedavg": ("--algorithm", "fedavg"),
    "stack": ("--algorithm", "stack"),
    "ffa": ("--algorithm", "ffa"),
    "rolora": ("--algorithm", "rolora", "--rounds", "2"),
    "dense": ("--algorithm", "dense"),
    "n_k": ("--rule", "n_k", "--rule-option", "cap=1.5"),
    "uniform": ("--rule", "uniform"),
    "clip": ("--rule", "clip", "--rule-option", "clip=0.9"),
    "multi_krum": ("--rule", "multi_krum", "--rule-option", "byzantine=0"),
    "rfa": ("--rule", "rfa", "--rule-option", "iterations=50"),
    "centered_clip": ("--rule", "centered_clip", "--rule-option", "passes=2"),
    "fednova": ("--rule", "fednova"),
    "fedbuff": ("--rule", "fedbuff"),
    "threshold": ("--rule", "threshold", "--rule-option", "threshold=-0.5"),
}
PATIENCE_S = 1800
FLIPS = 12
"""Changed bytes in the ledger's commits, in the exported adapter and in its record, each; in every
other file its edges and one by chance."""


@dataclass
class Outcome:
    """One line of the table."""

    name: str
    demo: bool = False
    equal: int = 0
    exact: bool = False
    refused: int = 0
    changed: int = 0
    seconds: float = 0.0
    adapter: str = ""

    @property
    def ok(self) -> bool:
        return self.demo and self.equal > 0 and self.exact and 0 < self.changed == self.refused


def fedtui(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FEDTUI_")}
    return subprocess.run(
        [sys.executable, "-m", "fedtui", *arguments],
        env={**kept, "FEDTUI_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def run(name: str, arguments: tuple[str, ...], folder: Path) -> Outcome:
    """One demo and everything that is asked of its output."""
    began, outcome = time.monotonic(), Outcome(name)
    common = ("--nodes", "3", "--steps", "1", "--quick", "--json", "--dir", str(folder))
    rounds = () if "--rounds" in arguments else ("--rounds", "1")
    done = fedtui(folder / "none", "demo", *common, *rounds, *arguments)
    lines = done.stdout.splitlines()
    last = json.loads(lines[-1]) if lines else {}
    outcome.demo = done.returncode == 0 and last.get("type") == "demo.finished" and last["ok"]
    if not outcome.demo:
        print(done.stderr[-2000:], file=sys.stderr)
        return outcome
    outcome.adapter = last["adapter_sha256"][:8]
    home, adapter = folder / "node-1", Path(last["adapter"])
    verdicts = fedtui(home, "verify", "--json")
    found = json.loads(verdicts.stdout) if verdicts.returncode == 0 else []
    outcome.equal = sum(each["outcome"] == "equal" for each in found)
    told = fedtui(home, "verify", str(adapter), "--json")
    outcome.exact = told.returncode == 0 and json.loads(told.stdout)["exact"]
    _damage(home, adapter, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _damage(home: Path, adapter: Path, outcome: Outcome) -> None:
    """Bytes in files of every kind; the first of each kind is shown to the command itself."""
    rng, room = random.Random(outcome.name), rooms.current(Profile(home))
    ledger = room.paths.root / LEDGER
    for path in checked_files(room):
        for place in positions(path.stat().st_size, 1, rng):
            with flipped(path, place, rng.randrange(8)):
                _count(_room_refused(home), f"{path} at {place}", outcome)
    for place in commit_positions(room, FLIPS, rng):
        with flipped(ledger, place, rng.randrange(8)):
            _count(_room_refused(home), f"{ledger} at {place}", outcome)
    record = adapter.with_name("adapter.fedtui.json")
    for path in (adapter, record):
        for _ in range(FLIPS):
            place = rng.randrange(path.stat().st_size)
            with flipped(path, place, rng.randrange(8)):
                _count(_file_refused(adapter), f"{path} at {place}", outcome)
    for path in (checked_files(room)[-1], adapter):
        asked = (str(adapter),) if path == adapter else ()
        with flipped(path, path.stat().st_size // 2):
            _count(fedtui(home, "verify", *asked).returncode == 4, f"{path}, command", outcome)


def _room_refused(home: Path) -> bool:
    """Whether the room is not believed any more; a file is looked at before anything is computed
    with it, and no worker for that has to be started."""

    async def check() -> None:
        arithmetic = TrainerProcess("arithmetic")
        try:
            await verify_room(rooms.current(Profile(home)), arithmetic)
        finally:
            await arithmetic.stop()

    try:
        asyncio.run(check())
    except (FedtuiError, P2PError):
        return True
    return False


def _file_refused(adapter: Path) -> bool:
    try:
        provenance.read(adapter)
    except FedtuiError:
        return True
    return False


def _count(refused: bool, where: str, outcome: Outcome) -> None:
    outcome.changed += 1
    outcome.refused += refused
    if not refused:
        print(f"a changed byte went unnoticed: {where}", file=sys.stderr)


def main() -> int:
    names = sys.argv[1:] or list(RUNS)
    if unknown := set(names) - RUNS.keys():
        print(f"no {', '.join(unknown)}; one of {', '.join(RUNS)}", file=sys.stderr)
        return 2
    failed = 0
    print(f"{'':<14} demo  equal  exact  refused   adapter   seconds", flush=True)
    for name in names:
        with tempfile.TemporaryDirectory(prefix="fedtui-every-") as folder:
            found = run(name, RUNS[name], Path(folder) / "demo")
        failed += not found.ok
        print(
            f"{name:<14} {found.demo!s:<5} {found.equal:>5}  {found.exact!s:<5} "
            f"{found.refused:>3}/{found.changed:<3}  {found.adapter:>9} {found.seconds:>8.0f}"
            f"{'' if found.ok else '   <-- NOT OK'}",
            flush=True,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
