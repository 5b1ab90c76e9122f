"""What waits to be sent to one member: little, and nothing that is outdated."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from p2p.limits import MAX_QUEUED_BYTES, MAX_QUEUED_MESSAGES


@dataclass(frozen=True)
class Queued:
    """One envelope; a newer one of the same ``kind`` replaces it. ``queued`` is when, on the
    clock of the event loop."""

    data: bytes
    kind: str | None
    queued: float


class Outbox:
    """The bounded queue of one peer, read by one task."""

    def __init__(self) -> None:
        self._messages: deque[Queued] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self.woken = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def put(self, message: Queued) -> None:
        if message.kind is not None:
            for queued in [m for m in self._messages if m.kind == message.kind]:
                self._messages.remove(queued)
                self._bytes -= len(queued.data)
        self._messages.append(message)
        self._bytes += len(message.data)
        self._trim()
        self._filled.set()

    def put_back(self, message: Queued) -> None:
        """Returns a message that could not be sent, unless a newer one of its kind is waiting."""
        if message.kind is not None and any(m.kind == message.kind for m in self._messages):
            return
        self._messages.appendleft(message)
        self._bytes += len(message.data)
        self._trim()
        self._filled.set()

    async def get(self) -> Queued:
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        message = self._messages.popleft()
        self._bytes -= len(message.data)
        return message

    def clear(self) -> None:
        self._messages.clear()
        self._bytes = 0

    async def pause(self, seconds: float) -> None:
        self.woken.clear()
        try:
            async with asyncio.timeout(seconds):
                await self.woken.wait()
        except TimeoutError:
            pass

    def _trim(self) -> None:
        while len(self._messages) > MAX_QUEUED_MESSAGES or self._bytes > MAX_QUEUED_BYTES:
            if len(self._messages) == 1:
                return
            self._bytes -= len(self._messages.popleft().data)
