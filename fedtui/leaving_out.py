"""What one contribution did to a round: the round combined again without it, and both drawn.

The arithmetic is the room's own, so the result is exactly what the room would have made of the
others' contributions: same rule, same order of sums, same prompts and seeds. (A room that wants
more than remain would have skipped the round, which tells nothing about a contribution.) The files
it needs are kept for as many rounds as the setting ``keep_rounds`` says.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedtui.control.operations import Operations, Result
from fedtui.drawing import Adapter, Drawing, Generate
from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.history import proven
from fedtui.limits import LEFT_OUT_KEPT
from fedtui.paths import sha256_of
from fedtui.rooms import Room
from fedtui.training import TrainerProcess
from fedtui.view import PreviewView
from fedtui.workload import AdapterWorkload
from p2p.errors import P2PError
from p2p.rounds.proof import ProvenRound
from p2p.workload import Input


@dataclass(frozen=True)
class LeaveOut:
    """A round without one contribution, drawn. ``peer`` is a member's id or the beginning of it,
    or its name; this node when empty. ``round`` 0 is the last one with a contribution of it."""

    peer: str = ""
    round: int = 0


class LeavingOut:
    """Adds its operation to a node's; ``drawing`` draws, ``previews`` are those there are."""

    def __init__(
        self,
        room: Room,
        arithmetic: TrainerProcess,
        drawing: Drawing,
        *,
        me: str,
        name_of: Callable[[str], str],
        previews: Callable[[], Sequence[PreviewView]],
    ) -> None:
        self._room = room
        self._arithmetic = arithmetic
        self._drawing = drawing
        self._me = me
        self._name_of = name_of
        self._previews = previews
        self._combining = asyncio.Lock()

    def offer(self, operations: Operations) -> None:
        """Makes the operation known."""
        operations.add("leave_out", LeaveOut, self.leave_out)

    async def leave_out(self, asked: LeaveOut) -> Result:
        """Result: ``{"round", "peer", "name", "inputs", "same", "without", "with", "pictures"}``.

        ``inputs`` contributions were in the round; ``same``: it gives the same bytes without that
        one. ``pictures`` is a list of ``{"prompt", "seed", "with"}``; the drawing jobs ``without``
        and ``with`` draw them in that order, as the operation ``generations`` tells. ``with`` is 0
        where the room's own previews, whose paths are in the list, are the same pictures.

        Raises :class:`UsageError` where there is no such contribution, :class:`FedtuiError` when
        files it takes are gone, :class:`TrustError` when they are damaged.
        """
        rounds = (await asyncio.to_thread(proven, self._room)).rounds
        peer = self._peer(asked.peer, rounds)
        chosen = self._chosen(peer, asked.round, rounds)
        number = chosen.result.round
        async with self._combining:
            adapter = await self._combined(chosen, peer)
        shown = self._shown(number)
        without = await self._drawn(adapter)
        drawn_again = 0 if all(shown) else await self._drawn(self._room.paths.adapter(number))
        preview = self._room.task.preview
        recipes = [(prompt, seed) for prompt in preview.prompts for seed in preview.seeds]
        return {
            "round": number,
            "peer": peer,
            "name": self._name_of(peer),
            "inputs": len(chosen.result.inputs),
            "same": await asyncio.to_thread(sha256_of, adapter) == chosen.result.result_blob,
            "without": without,
            "with": drawn_again,
            "pictures": [
                {"prompt": prompt, "seed": seed, "with": path}
                for (prompt, seed), path in zip(recipes, shown, strict=True)
            ],
        }

    def _peer(self, wanted: str, rounds: Sequence[ProvenRound]) -> str:
        """The one contributor that is meant."""
        if not wanted:
            return self._me
        every = dict.fromkeys(item.peer for proven in rounds for item in proven.result.inputs)
        found = [p for p in every if p.startswith(wanted) or self._name_of(p) == wanted]
        if len(found) == 1:
            return found[0]
        known = ", ".join(sorted(self._name_of(p) for p in every)) or "nobody yet"
        raise UsageError(
            f"{len(found) or 'no'} contributors are called {wanted!r}",
            f"contributed have {known}",
            "name one by the beginning of its id (`fedtui room members`)",
        )

    def _chosen(self, peer: str, number: int, rounds: Sequence[ProvenRound]) -> ProvenRound:
        having = [r for r in rounds if any(item.peer == peer for item in r.result.inputs)]
        if not number and having:
            return having[-1]
        found = next((r for r in having if r.result.round == number), None)
        if found is None:
            theirs = ", ".join(str(r.result.round) for r in having[-20:])
            raise UsageError(
                f"{self._name_of(peer)} contributed nothing to "
                + (f"round {number}" if number else "a committed round yet"),
                f"there are contributions to round {theirs}" if having else "",
                "choose one of these rounds" if having else "wait for a round with one",
            )
        return found

    async def _combined(self, chosen: ProvenRound, peer: str) -> Path:
        """What the others gave; kept, since it cannot change. Nobody else: the adapter before."""
        result = chosen.result
        out = self._room.paths.left_out / f"round-{result.round:04d}-without-{peer}.safetensors"
        if out.is_file():
            await asyncio.to_thread(os.utime, out)  # In use again: others are deleted first.
            return out
        rest = sorted((i for i in result.inputs if i.peer != peer), key=lambda item: item.peer)
        inputs = [
            Input(item.peer, await self._file(item.blob, result.round), item.weight)
            for item in rest
        ]
        previous = await self._file(chosen.previous.sha256, result.round)
        if not rest:
            return previous
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="combining-", dir=out.parent) as folder:
            workload = AdapterWorkload(
                self._arithmetic,
                Path(folder) / "work",
                max_blob=self._room.genesis.policy.max_blob,
            )
            try:
                made = await workload.combine(inputs, self._room.genesis.plan, previous)
            except P2PError as error:
                raise FedtuiError(
                    f"round {result.round} cannot be combined anew", error.cause
                ) from error
            made.replace(out)
        await asyncio.to_thread(_keep_newest, out.parent)
        return out

    async def _file(self, sha256: str, number: int) -> Path:
        """The bytes of this name: a blob, or the adapter that is kept of the round before."""
        paths = self._room.paths
        places = (paths.blob(sha256), paths.adapter(number - 1) if number > 1 else paths.initial)
        for place in places:
            if place.is_file() and await asyncio.to_thread(sha256_of, place) == sha256:
                return place
        if places[0].is_file():
            raise TrustError(
                f"a file of round {number} is damaged",
                f"{places[0]} is not what its name says",
                "remove it: a running node fetches it again from the others",
            )
        raise FedtuiError(
            f"the contributions of round {number} are not here any more",
            "without them the round cannot be combined anew: a node keeps those of its newest "
            "rounds only, and none from before it joined",
            "choose a later round; `keep_rounds` and `disk_limit` say how many are kept",
        )

    def _shown(self, number: int) -> list[str]:
        """The paths of the round's previews in the order they are drawn in, "" for missing ones.

        What other members drew does not count. Where members have layers of their own, these have
        changed since then: none counts.
        """
        preview = self._room.task.preview
        drawn = () if self._room.task.adapter.personal else self._previews()
        there = {
            (p.prompt, p.seed): p.path
            for p in drawn
            if p.round == number and not p.author and Path(p.path).is_file()
        }
        return [there.get((p, seed), "") for p in preview.prompts for seed in preview.seeds]

    async def _drawn(self, adapter: Path) -> int:
        """The number of the job that draws all previews with ``adapter``."""
        task = self._room.task
        own = self._room.paths.personal
        personal = (own,) if task.adapter.personal and own.is_file() else ()
        job = await self._drawing.generate(
            Generate(
                prompts=tuple(task.preview.prompts),
                seeds=tuple(task.preview.seeds),
                adapters=tuple(Adapter(str(path)) for path in (adapter, *personal)),
                steps=task.preview.steps,
                cfg=task.preview.guidance,
                width=task.resolution,
                height=task.resolution,
            )
        )
        return int(job["id"])


def _keep_newest(folder: Path) -> None:
    """Deletes those that were not asked for lately; what a drawing job waits with was."""
    files = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime)
    for path in files[:-LEFT_OUT_KEPT]:
        path.unlink()
