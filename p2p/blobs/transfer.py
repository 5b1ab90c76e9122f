"""One fetch over the network: carries out what :class:`~p2p.blobs.swarm.Swarm` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from p2p import clock
from p2p.blobs.chunks import BlobRef, ChunkList
from p2p.blobs.partial import SYNC_BYTES, Partial
from p2p.blobs.swarm import Ask, Drop, Get, Step, Swarm
from p2p.errors import (
    BlobUnavailable,
    NetworkError,
    P2PError,
    PeerBusy,
    ProtocolError,
    TrustError,
)

Sources = Callable[[], Iterable[str]]
"""Members worth asking now, best first."""
Accuse = Callable[[str, str], None]
"""Hears of a member that sent wrong bytes: peer id and SHA-256 of the blob."""


@dataclass(frozen=True)
class Holdings:
    """What a member holds of a blob: a bit mask of chunks, and its list of them, unchecked."""

    have: int
    listing: bytes


@dataclass(frozen=True)
class Received:
    """The unchecked bytes of a chunk, and what their sender holds by now if it said so."""

    data: bytes | bytearray
    have: int | None = None


class BlobClient(Protocol):
    """What fetching needs of :class:`p2p.client.PeerClient`.

    Both methods raise BlobUnavailable (it has none of it, or not this chunk), PeerBusy (later),
    NetworkError and TrustError.
    """

    async def holdings(self, peer_id: str, ref: BlobRef) -> Holdings: ...

    async def fetch_chunk(self, peer_id: str, ref: BlobRef, index: int) -> Received: ...


class Transfer:
    """Fetches one blob into ``path``; :meth:`run` once.

    ``began`` is called with the partial file as soon as there is one to serve chunks from.
    """

    def __init__(
        self,
        client: BlobClient,
        ref: BlobRef,
        path: Path,
        sources: Sources,
        *,
        salt: str,
        began: Callable[[Partial], None],
        accuse: Accuse,
        sync: bool,
    ) -> None:
        self._client = client
        self._ref = ref
        self._path = path
        self._sources = sources
        self._began = began
        self._accuse = accuse
        self._sync = sync
        self._swarm = Swarm(ref.count, salt)
        self._partial: Partial | None = None
        self._tasks: dict[asyncio.Task[Holdings | Received | bool], Step] = {}
        self._syncing: asyncio.Task[None] | None = None
        self._unsynced = 0
        self._reasons: dict[str, str] = {}

    async def run(self) -> Partial:
        """Returns the closed file with every chunk in place.

        Raises:
            BlobUnavailable: nobody has what is missing.
            StorageError: the disk refuses. What has come is kept for the next try in both cases.
        """
        try:
            if self._ref.count == 1:
                await self._begin_single()
            while not self._swarm.done:
                self._swarm.on_sources(self._sources())
                for step in self._swarm.next(clock.now()):
                    self._start(step)
                if self._swarm.exhausted:
                    raise self._unavailable()
                await self._settle_some()
        finally:
            await self._stop()
        assert self._partial is not None
        return self._partial

    # --- beginning ---------------------------------------------------------------------------
    async def _begin_single(self) -> None:
        """A blob of one chunk has its list in its name, and most likely its first source has it."""
        listing = ChunkList.of_one(self._ref.sha256).to_bytes()
        try:
            chunks = ChunkList.read(listing, self._ref)
        except ProtocolError as error:
            raise BlobUnavailable(f"{self._ref.sha256} was signed with wrong chunks") from error
        await self._begin(chunks)
        for peer in self._sources():
            self._swarm.expect(peer)
            break

    async def _begin(self, chunks: ChunkList) -> None:
        partial = Partial(self._path, self._ref, chunks)
        await asyncio.to_thread(partial.open)
        self._partial = partial
        self._swarm.have = partial.have
        self._swarm.listed = True
        self._began(partial)

    # --- steps -------------------------------------------------------------------------------
    def _start(self, step: Step) -> None:
        match step:
            case Ask():
                self._spawn(self._client.holdings(step.peer, self._ref), step)
            case Get():
                self._spawn(self._get(step), step)
            case Drop():
                for task, running in self._tasks.items():
                    if running == Get(step.peer, step.index):
                        task.cancel()

    def _spawn(self, work: Awaitable[Holdings | Received | bool], step: Step) -> None:
        self._tasks[asyncio.ensure_future(work)] = step

    async def _get(self, step: Get) -> Received | bool:
        """What came with a right chunk, which is on disk now; False when it was a wrong one."""
        assert self._partial is not None
        received = await self._client.fetch_chunk(step.peer, self._ref, step.index)
        fits = await asyncio.to_thread(self._partial.write, step.index, received.data)
        return Received(b"", received.have) if fits else False

    async def _settle_some(self) -> None:
        pause = self._swarm.wait(clock.now())
        if not self._tasks:
            await asyncio.sleep(pause)
            return
        finished, _ = await asyncio.wait(
            self._tasks, timeout=pause, return_when=asyncio.FIRST_COMPLETED
        )
        for task in finished:
            step = self._tasks.pop(task)
            if not task.cancelled():
                await self._settle(step, task)

    async def _settle(self, step: Step, task: asyncio.Task[Holdings | Received | bool]) -> None:
        swarm, peer, now = self._swarm, step.peer, clock.now()
        if peer in swarm.banned:
            return
        index = step.index if isinstance(step, Get) else None
        try:
            outcome = task.result()
        except BlobUnavailable as error:
            self._reasons[peer] = error.cause
            swarm.on_absent(peer, index, now)
        except PeerBusy as error:
            self._reasons[peer] = error.cause
            if index is None:
                swarm.on_failure(peer, None, now)
            else:
                swarm.on_busy(peer, index, now)
        except (NetworkError, TrustError) as error:
            self._reasons[peer] = error.cause
            swarm.on_failure(peer, index, now)
        else:
            match outcome:
                case Holdings():
                    await self._on_holdings(peer, outcome)
                case Received():
                    assert index is not None
                    swarm.on_chunk(peer, index, now, outcome.have)
                    self._sync_sometimes(index)
                case _:
                    self._on_lie(peer, index)

    async def _on_holdings(self, peer: str, holdings: Holdings) -> None:
        if not self._swarm.listed:
            try:
                chunks = ChunkList.read(holdings.listing, self._ref)
            except ProtocolError:
                self._on_lie(peer)
                return
            await self._begin(chunks)
        self._swarm.on_holdings(peer, holdings.have, clock.now())

    def _on_lie(self, peer: str, index: int | None = None) -> None:
        self._reasons[peer] = f"{peer} delivered other bytes"
        self._swarm.on_lie(peer, index)
        self._accuse(peer, self._ref.sha256)

    # --- ending ------------------------------------------------------------------------------
    def _sync_sometimes(self, index: int) -> None:
        self._unsynced += len(self._ref.span(index))
        idle = self._syncing is None or self._syncing.done()
        if self._sync and idle and self._unsynced >= SYNC_BYTES and self._partial is not None:
            self._unsynced = 0
            self._syncing = asyncio.ensure_future(asyncio.to_thread(self._partial.sync))

    async def _stop(self) -> None:
        tasks: list[asyncio.Task[object]] = [*self._tasks]
        for task in tasks:
            task.cancel()
        if self._syncing is not None:
            tasks.append(self._syncing)
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._partial is not None:
            self._partial.close()

    def _unavailable(self) -> P2PError:
        reasons = "; ".join(dict.fromkeys(self._reasons.values())) or "no source"
        return BlobUnavailable(f"{self._ref.sha256}: {reasons}")
