"""A round with and without one contribution: which pictures belong side by side, and their sheet.

The node draws the two ways as jobs of its own; whoever asked for them (a command, a screen) waits
for the jobs and shows what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DONE = ("finished", "failed", "cancelled")
"""States of a drawing job that nothing follows."""


@dataclass(frozen=True)
class Pair:
    """One prompt's pictures; a path is empty while there is none."""

    present: str
    absent: str

    @property
    def whole(self) -> bool:
        return bool(self.present and self.absent)


@dataclass(frozen=True)
class Comparison:
    """``told`` is the node's answer to ``leave_out``."""

    told: Mapping[str, Any]

    @property
    def jobs(self) -> tuple[int, ...]:
        """The drawing jobs to wait for: without the contribution, and with it unless the round's
        own previews are that already."""
        return tuple(int(self.told[name]) for name in ("without", "with") if self.told[name])

    def pairs(self, paths: Mapping[int, Sequence[str]]) -> list[Pair]:
        """By prompt; ``paths`` are what each job has drawn so far."""
        told = self.told
        without, again = (paths.get(int(told[name]), ()) for name in ("without", "with"))
        return [
            Pair(_at(again, n) if told["with"] else str(each["with"]), _at(without, n))
            for n, each in enumerate(told["pictures"])
        ]

    def sheet(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """The arguments of ``export_sheet`` for all of them."""
        name = str(self.told["name"])
        return {
            "columns": [f"with {name}", f"without {name}"],
            "labels": [f"{each['prompt']}, seed {each['seed']}" for each in self.told["pictures"]],
            "pictures": [[pair.present, pair.absent] for pair in pairs],
        }


def _at(paths: Sequence[str], number: int) -> str:
    return str(paths[number]) if number < len(paths) else ""
