"""``python -m tests.e2e.every_algorithm [NAME...]``: a real demo of every mode and rule, verified.

For each: ``fedtui demo --quick`` with three nodes, ``fedtui verify`` of its room and its adapter,
and again with single bytes changed, in files of every kind. Prints a table; exit code 1 when
anything is not as it should be. A demo takes half a minute on two idle cores.
"""

from __future__ import annotations

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

from damage import LEDGER, checked_files, commit_positions, flipped  # noqa: E402

from fedtui import rooms  # noqa: E402
from fedtui.paths import Profile  # noqa: E402

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
    "multi_krum": ("--rule", "multi_krum", "--byzantine", "0"),
    "rfa": ("--rule", "rfa", "--rule-option", "iterations=50"),
    "centered_clip": ("--rule", "centered_clip", "--rule-option", "passes=2"),
    "fednova": ("--rule", "fednova"),
    "fedbuff": ("--rule", "fedbuff"),
    "threshold": ("--rule", "threshold", "--rule-option", "threshold=-0.5"),
}
PATIENCE_S = 1800
FLIPS = 6
"""Changed bytes in the room's files and in the ledger; as many in the adapter and its record."""


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
    rng, room = random.Random(outcome.name), rooms.current(Profile(home))
    files = checked_files(room)
    places = [(path, rng.randrange(path.stat().st_size)) for path in rng.sample(files, FLIPS - 2)]
    places += [
        (room.paths.root / LEDGER, place) for place in commit_positions(room, FLIPS // 2, rng)
    ]
    for path, place in places:
        with flipped(path, place, rng.randrange(8)):
            _count(fedtui(home, "verify").returncode != 0, f"{path} at {place}", outcome)
    for path in (adapter, adapter.with_name("adapter.fedtui.json")):
        for _ in range(FLIPS // 2):
            place = rng.randrange(path.stat().st_size)
            with flipped(path, place, rng.randrange(8)):
                refused = fedtui(home, "verify", str(adapter)).returncode == 4
                _count(refused, f"{path} at {place}", outcome)


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
