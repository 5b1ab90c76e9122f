"""Computing results: by the aggregator, by every voter again, and ahead of a proposal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from p2p.blobs.chunks import BlobRef
from p2p.blobs.store import BlobStore
from p2p.room import Plan
from p2p.rounds.effects import Part
from p2p.tasks import TaskOwner
from p2p.workload import Input, Workload


class Computing:
    """Has the workload combine contributions, once for the same inputs however often they are
    proposed. ``fetch`` gets a blob of the room's history from here or from whoever has it."""

    def __init__(
        self,
        blobs: BlobStore,
        workload: Workload,
        plan: Plan,
        tasks: TaskOwner,
        fetch: Callable[[BlobRef], Awaitable[Path]],
    ) -> None:
        self._blobs = blobs
        self._workload = workload
        self._plan = plan
        self._tasks = tasks
        self._fetch = fetch
        self._one_at_a_time = asyncio.Lock()
        self._results: dict[
            tuple[tuple[Part, ...], BlobRef], asyncio.Task[BlobRef | Exception]
        ] = {}

    @property
    def is_busy(self) -> bool:
        """Whether a result is being computed."""
        return any(not task.done() for task in self._results.values())

    def forget(self) -> None:
        """A round is over: its results will not be asked for again."""
        self._results = {key: task for key, task in self._results.items() if not task.done()}

    async def result_of(self, parts: tuple[Part, ...], previous: BlobRef) -> BlobRef:
        """The result of these inputs, in the blob store. Raises whatever the workload does, and
        BlobUnavailable when an input or the previous result cannot be had."""
        key = (parts, previous)
        task = self._results.get(key)
        if task is None or (task.done() and not isinstance(task.result(), BlobRef)):
            task = self._tasks.spawn(self._compute(parts, previous), "compute")
            self._results[key] = task
        outcome = await asyncio.shield(task)
        if isinstance(outcome, BlobRef):
            return outcome
        raise outcome

    async def _compute(self, parts: tuple[Part, ...], previous: BlobRef) -> BlobRef | Exception:
        try:
            return await self._combine_parts(parts, previous)
        except Exception as error:  # Handed to everybody who waits for this result.
            return error

    async def _combine_parts(self, parts: tuple[Part, ...], previous: BlobRef) -> BlobRef:
        before = await self._fetch(previous)
        inputs = [
            Input(part.peer, await self._blobs.open_verified(part.blob), part.weight)
            for part in sorted(parts, key=lambda part: part.peer)
        ]
        # One at a time: a workload may write every result to the same path.
        async with self._one_at_a_time:
            path = await self._workload.combine(inputs, self._plan, before)
            ref = await self._blobs.take(path)
        # The disk works while votes travel; the commit waits for it.
        self._tasks.spawn(self._blobs.make_durable(ref.sha256), "flush")
        return ref
