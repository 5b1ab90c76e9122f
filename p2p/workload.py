"""The only bridge between agreeing on bytes (p2p) and knowing what they mean (the product)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from p2p.room import Plan


@dataclass(frozen=True)
class Verdict:
    """Whether a blob is a valid contribution to a round under its plan."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True)
class Input:
    """One contribution as :meth:`Workload.combine` sees it.

    ``id`` is its maker's peer id, one contribution each; inputs arrive sorted by it, an order that
    does not depend on which attempt or certificate a round happened to need. ``weight`` is a
    positive integer below 2**29, so that products in float64 stay exact.
    """

    id: str
    path: Path
    weight: int


class Workload(Protocol):
    """What a room computes. Every method may take seconds and must not block the event loop."""

    async def check(self, path: Path, plan: Plan) -> Verdict:
        """Says whether the file may enter a round. Never raises for bad content."""
        ...

    async def combine(self, inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        """Computes the round's result from its inputs.

        The bytes of the returned file are a pure function of the bytes of the inputs, their ids
        and weights, the plan and ``previous``: any member on any machine gets the same file. It
        is taken away afterwards.
        """
        ...

    async def apply(self, path: Path, round_number: int) -> None:
        """Takes a committed result into use: once per commit, in order, after it is durable."""
        ...
