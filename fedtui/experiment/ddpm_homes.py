"""Layers that stay with their participant while all others are trained together (Phoenix)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from fedtui.experiment.lab import Lab
from trainer.protocol import GraftWhole


class Homes:
    """What every participant keeps to itself: the weights whose names contain one of ``words``.

    Without words nobody keeps anything and no file is made. Everybody's own begin as those of
    ``first``, which the room's state keeps for ever: a contribution carries the state's in place
    of its own, so that their average moves nothing.
    """

    def __init__(self, words: Sequence[str], first: Path) -> None:
        self._words = tuple(words)
        self._first = first
        self._kept: dict[str, Path] = {}

    async def start(self, lab: Lab, node: str, state: Path) -> Path:
        """What a participant begins a round with."""
        return await self._graft(lab, state, self._kept.get(node, self._first))

    async def leave(self, lab: Lab, node: str, trained: Path, state: Path) -> Path:
        """Keeps a participant's own part of what it trained; returns what it hands in."""
        if self._words:
            self._kept[node] = trained
        return await self._graft(lab, trained, state)

    async def everybody(self, lab: Lab, state: Path) -> Sequence[Path]:
        """The models there are: one a participant that has trained, or the room's alone."""
        if not self._words:
            return (state,)
        kept = [self._kept[node] for node in sorted(self._kept)]
        return await asyncio.gather(*(self._graft(lab, state, own) for own in kept))

    async def _graft(self, lab: Lab, path: Path, scion: Path) -> Path:
        if not self._words:
            return path
        request = GraftWhole(str(path), str(scion), self._words, "")
        return await lab.make("putting personal layers in", request)
