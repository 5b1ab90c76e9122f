"""Fetching: from several members at once, past liars and failures, and on after a kill."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from member_rig import Room

from p2p.blobs.chunks import BlobRef, ChunkList, chunk, describe
from p2p.blobs.partial import Partial
from p2p.blobs.store import BlobStore
from p2p.blobs.transfer import Holdings, Received
from p2p.client import PeerClient
from p2p.errors import BlobUnavailable, LimitError, NetworkError, PeerBusy, StorageError
from p2p.limits import CHUNK_BYTES, GIB, MIN_TRANSFER_RATE
from p2p.pacing import Line

COUNT = 6
CONTENT = os.urandom(COUNT * CHUNK_BYTES - 1000)
REF, LIST = chunk(CONTENT)
ALL = (1 << COUNT) - 1

Deliver = Callable[[int], bytes]


def honest(index: int) -> bytes:
    span = REF.span(index)
    return CONTENT[span.start : span.stop]


def lying(index: int) -> bytes:
    data = bytearray(honest(index))
    data[len(data) // 2] ^= 0x10
    return bytes(data)


def cut(index: int) -> bytes:
    return honest(index)[:-1]


def lost(index: int) -> bytes:
    raise NetworkError("the connection was lost")


def busy(index: int) -> bytes:
    raise PeerBusy("no room")


class Sources:
    """Stands for the network: what each member holds, and what it answers to a chunk's number."""

    def __init__(self, **sources: tuple[int, Deliver] | None) -> None:
        self._sources = sources
        self.asked: list[str] = []
        self.got: list[tuple[str, int]] = []
        self.listing = LIST.to_bytes()

    def __call__(self) -> list[str]:
        return list(self._sources)

    async def holdings(self, peer_id: str, ref: BlobRef) -> Holdings:
        self.asked.append(peer_id)
        source = self._sources[peer_id]
        if source is None:
            raise BlobUnavailable(f"{peer_id} does not have it")
        return Holdings(source[0], self.listing)

    async def fetch_chunk(self, peer_id: str, ref: BlobRef, index: int) -> Received:
        self.got.append((peer_id, index))
        source = self._sources[peer_id]
        if source is None or not source[0] >> index & 1:
            raise BlobUnavailable(f"{peer_id} does not have it")
        await asyncio.sleep(0)
        return Received(source[1](index))

    def chunks_of(self, peer_id: str) -> list[int]:
        return [index for peer, index in self.got if peer == peer_id]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def files_of(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


# --- one fetch -------------------------------------------------------------------------------
async def test_members_that_hold_parts_are_enough_together(store: BlobStore) -> None:
    sources = Sources(ada=(0b000111, honest), bob=(0b111000, honest), eve=None)
    path = await store.fetch(sources, REF, sources)
    assert path.read_bytes() == CONTENT
    assert sorted(sources.chunks_of("ada")) == [0, 1, 2]
    assert sorted(sources.chunks_of("bob")) == [3, 4, 5]


async def test_two_members_share_the_work_and_nothing_comes_twice(store: BlobStore) -> None:
    sources = Sources(ada=(ALL, honest), bob=(ALL, honest))
    await store.fetch(sources, REF, sources)
    assert sorted(index for _, index in sources.got) == list(range(COUNT))
    assert sources.chunks_of("ada")
    assert sources.chunks_of("bob")


async def test_a_liar_costs_little_is_named_and_is_not_asked_again(store: BlobStore) -> None:
    accused: list[tuple[str, str]] = []
    store.accuse = lambda peer, sha256: accused.append((peer, sha256))
    sources = Sources(eve=(ALL, lying), ada=(ALL, honest))
    path = await store.fetch(sources, REF, sources)
    assert path.read_bytes() == CONTENT
    assert accused == [("eve", REF.sha256)]
    assert len(sources.chunks_of("eve")) <= 2, "what was under way when the first lie came"
    assert len(sources.got) <= COUNT + 2


async def test_nothing_of_a_lone_liar_is_kept(store: BlobStore, tmp_path: Path) -> None:
    sources = Sources(eve=(ALL, lying))
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await store.fetch(sources, REF, sources)
    assert not store.has(REF.sha256)
    assert all(path.stat().st_size == 0 for path in files_of(tmp_path))


async def test_a_chunk_that_is_too_short_is_a_lie(store: BlobStore) -> None:
    sources = Sources(eve=(ALL, cut), ada=(ALL, honest))
    path = await store.fetch(sources, REF, sources)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("listing", [b"", b"x" * 32, bytes(COUNT * 32), LIST.to_bytes() + b"x"])
async def test_a_false_list_of_chunks_is_refused(store: BlobStore, listing: bytes) -> None:
    accused: list[str] = []
    store.accuse = lambda peer, _: accused.append(peer)
    sources = Sources(eve=(ALL, honest))
    sources.listing = listing
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await store.fetch(sources, REF, sources)
    assert accused == ["eve"]
    assert sources.got == []


async def test_a_member_that_breaks_off_is_tried_again_after_others(store: BlobStore) -> None:
    sources = Sources(eve=(ALL, lost), ada=(ALL, honest))
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT


async def test_a_busy_member_is_asked_again(store: BlobStore) -> None:
    refusals = iter([True, True])

    def busy_at_first(index: int) -> bytes:
        return busy(index) if next(refusals, False) else honest(index)

    sources = Sources(ada=(ALL, busy_at_first))
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT


async def test_a_chunk_that_its_holder_no_longer_has_comes_from_another(store: BlobStore) -> None:
    def gone(index: int) -> bytes:
        raise BlobUnavailable("removed")

    sources = Sources(eve=(ALL, gone), ada=(ALL, honest))
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT


async def test_members_without_the_blob_are_asked_a_few_times(store: BlobStore) -> None:
    sources = Sources(ada=None, bob=None)
    with pytest.raises(BlobUnavailable, match="ada does not have it"):
        await store.fetch(sources, REF, sources)
    assert sources.asked.count("ada") == sources.asked.count("bob") == 3
    with pytest.raises(BlobUnavailable, match="no source"):
        await store.fetch(sources, REF, list)


async def test_a_small_blob_is_asked_of_its_author_without_questions(store: BlobStore) -> None:
    ref = describe(b"small")
    sources = Sources(ada=(1, lambda _: b"small"), bob=(1, lambda _: b"small"))
    await store.fetch(sources, ref, sources)
    assert sources.asked == []
    assert sources.got == [("ada", 0)]


async def test_a_signer_that_named_chunks_of_another_file_gains_nothing(
    store: BlobStore, tmp_path: Path
) -> None:
    sources = Sources(ada=(ALL, honest))
    wrong = BlobRef(describe(b"other").sha256, REF.size, REF.chunks)
    with pytest.raises(BlobUnavailable, match="another file"):
        await store.fetch(sources, wrong, sources)
    small = BlobRef(describe(b"small").sha256, 5, REF.chunks)
    with pytest.raises(BlobUnavailable, match="wrong chunks"):
        await store.fetch(sources, small, sources)
    assert files_of(tmp_path) == []


async def test_a_blob_that_is_here_is_not_fetched(store: BlobStore) -> None:
    await store.put(CONTENT)
    sources = Sources()
    assert await store.fetch(sources, REF, sources) == store.path(REF.sha256)
    assert sources.asked == sources.got == []


async def test_requests_for_one_blob_share_the_transfer(store: BlobStore) -> None:
    sources = Sources(ada=(ALL, honest))
    paths = await asyncio.gather(*(store.fetch(sources, REF, sources) for _ in range(5)))
    assert len(set(paths)) == 1
    assert len(sources.got) == COUNT


async def test_a_blob_above_the_budgets_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    sources = Sources(ada=(ALL, honest))
    for refusing in (
        BlobStore(tmp_path / "a", max_blob=REF.size - 1),
        BlobStore(tmp_path / "b", quota=REF.size - 1),
        BlobStore(tmp_path / "c", usage=lambda _: (100 * GIB, 2 * GIB + REF.size - 1)),
    ):
        with pytest.raises((LimitError, StorageError)):
            await refusing.fetch(sources, REF, sources)
    assert sources.asked == []
    assert files_of(tmp_path) == []


# --- going on later --------------------------------------------------------------------------
async def half_fetched(directory: Path) -> Path:
    """Leaves a store in which three of the chunks have arrived."""
    sources = Sources(ada=(0b010101, honest))
    with pytest.raises(BlobUnavailable):
        await BlobStore(directory).fetch(sources, REF, sources)
    return directory / "partial" / f"{REF.sha256}.part"


async def test_a_fetch_goes_on_after_a_restart(tmp_path: Path) -> None:
    await half_fetched(tmp_path)
    store, sources = BlobStore(tmp_path), Sources(ada=(ALL, honest))
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT
    assert sorted(sources.chunks_of("ada")) == [1, 3, 5]


async def test_a_chunk_that_rotted_meanwhile_is_fetched_again(tmp_path: Path) -> None:
    part = await half_fetched(tmp_path)
    with part.open("r+b") as file:
        file.seek(REF.span(2).start + 7)
        file.write(b"rot")
    store, sources = BlobStore(tmp_path), Sources(ada=(ALL, honest))
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT
    assert sorted(sources.chunks_of("ada")) == [1, 2, 3, 5]


@pytest.mark.parametrize("length", [0, 1, CHUNK_BYTES, REF.span(2).stop - 1, REF.size + 9])
async def test_a_partial_file_of_any_length_is_no_obstacle(tmp_path: Path, length: int) -> None:
    part = await half_fetched(tmp_path)
    os.truncate(part, length)
    store, sources = BlobStore(tmp_path), Sources(ada=(ALL, honest))
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT


async def test_a_cancelled_fetch_keeps_what_came(tmp_path: Path) -> None:
    store, stuck = BlobStore(tmp_path), asyncio.Event()

    class Stuck(Sources):
        async def fetch_chunk(self, peer_id: str, ref: BlobRef, index: int) -> Received:
            if len(self.got) >= 2:
                stuck.set()
                await asyncio.sleep(3600)
            return await super().fetch_chunk(peer_id, ref, index)

    sources = Stuck(ada=(ALL, honest))
    fetching = asyncio.ensure_future(store.fetch(sources, REF, sources))
    await stuck.wait()
    while (offer := await store.offer(REF.sha256)).have.bit_count() < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert not offer.complete
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    with pytest.raises(BlobUnavailable):
        await store.offer(REF.sha256)
    again = Sources(ada=(ALL, honest))
    await store.fetch(again, REF, again)
    assert len(again.got) == COUNT - 2


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """What a full disk looks like to a program."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_full_disk_ends_a_fetch_and_loses_nothing(tmp_path: Path) -> None:
    store, sources = BlobStore(tmp_path), Sources(ada=(ALL, honest))
    with files_no_longer_than(3 * CHUNK_BYTES), pytest.raises(StorageError, match="stored"):
        await store.fetch(sources, REF, sources)
    with files_no_longer_than(3 * CHUNK_BYTES), pytest.raises(StorageError):
        await store.put(CONTENT)
    assert not store.has(REF.sha256)
    assert (await store.fetch(sources, REF, sources)).read_bytes() == CONTENT
    await store.put(b"the budgets are free again")


# --- over real connections -------------------------------------------------------------------
async def test_a_chunk_that_has_not_arrived_is_not_served(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    chunks = ChunkList.read(LIST.to_bytes(), REF)
    partial = Partial(bob.store._partial / "half", REF, chunks)
    partial.open()
    assert partial.write(2, honest(2))
    bob.store._on_began(partial)
    assert (await ada.client.holdings(bob.id, REF)).have == 0b000100
    assert (await ada.client.fetch_chunk(bob.id, REF, 2)).data == honest(2)
    for absent in (0, 1, 3, COUNT - 1):
        with pytest.raises(BlobUnavailable):
            await ada.client.fetch_chunk(bob.id, REF, absent)
    partial.close()


async def test_a_member_passes_on_what_has_arrived(room: Room) -> None:
    """Bob has half of the blob and its first holder is gone: ada gets that half from him."""
    ada, bob, eve = [await room.add() for _ in range(3)]
    half = Sources(eve=(0b000111, honest))
    fetching = asyncio.ensure_future(bob.store.fetch(half, REF, lambda: ["eve"] * 1))
    got = asyncio.ensure_future(ada.store.fetch(ada.client, REF, lambda: [bob.id, eve.id]))
    with pytest.raises(BlobUnavailable):
        await fetching
    with pytest.raises(BlobUnavailable):
        await got
    part = ada.store._partial / f"{REF.sha256}.part"
    assert part.read_bytes() == CONTENT[: 3 * CHUNK_BYTES]


async def test_a_holder_that_dies_in_the_middle_is_replaced(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    content = os.urandom(24 << 20)
    ref = await bob.store.put(content)
    await eve.store.put(content)
    real_fetch, got = ada.client.fetch_chunk, []

    async def fetch_and_kill(peer_id: str, ref: BlobRef, index: int) -> Received:
        received = await real_fetch(peer_id, ref, index)
        got.append(peer_id)
        if peer_id == bob.id and got.count(bob.id) == 3:
            await bob.server.stop()
        return received

    ada.client.fetch_chunk = fetch_and_kill  # type: ignore[method-assign]
    path = await ada.store.fetch(ada.client, ref, lambda: [bob.id, eve.id])
    assert path.read_bytes() == content
    assert got.count(bob.id) >= 3
    assert got.count(eve.id) >= 15


async def test_a_member_that_lies_on_purpose_is_caught_and_left(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    ref = await bob.store.put(CONTENT)
    await eve.store.put(CONTENT)
    damaged = bytearray(CONTENT)
    for index in range(COUNT):
        damaged[REF.span(index).start] ^= 1
    eve.store.path(ref.sha256).write_bytes(bytes(damaged))  # Counts as verified already.
    accused: list[str] = []
    ada.store.accuse = lambda peer, _: accused.append(peer)
    path = await ada.store.fetch(ada.client, ref, lambda: [eve.id, bob.id])
    assert path.read_bytes() == CONTENT
    assert accused == [eve.id]


async def test_a_member_whose_disk_lies_serves_nothing_wrong(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ref = await bob.store.put(CONTENT)
    bob.store._verified.clear()
    bob.store.path(ref.sha256).write_bytes(bytes(len(CONTENT)))
    with pytest.raises(BlobUnavailable):
        await ada.store.fetch(ada.client, ref, lambda: [bob.id])
    assert not bob.store.has(ref.sha256)


async def test_a_slow_member_does_not_hold_up_the_others(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its chunks are asked of a second member when they are late."""
    monkeypatch.setattr("p2p.blobs.swarm.SLOW_CHUNK_SECONDS", 0.2)
    ada, bob, eve = [await room.add() for _ in range(3)]
    ref = await bob.store.put(CONTENT)
    await eve.store.put(CONTENT)
    real_fetch = ada.client.fetch_chunk

    async def slow_from_eve(peer_id: str, ref: BlobRef, index: int) -> Received:
        if peer_id == eve.id:
            await asyncio.sleep(3600)
        return await real_fetch(peer_id, ref, index)

    ada.client.fetch_chunk = slow_from_eve  # type: ignore[method-assign]
    path = await ada.store.fetch(ada.client, ref, lambda: [eve.id, bob.id])
    assert path.read_bytes() == CONTENT


async def test_the_bandwidth_limit_holds_for_all_transfers_together() -> None:
    line = Line(rate=100_000)
    assert line.slice == 5_000
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(line.admit(5_000) for _ in range(25)))
    assert asyncio.get_running_loop().time() - began >= 0.24, "a second's worth, then never sooner"
    await Line().admit(1 << 40)


async def test_limited_members_still_deliver(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ref = await ada.store.put(os.urandom(300_000))
    ada.server._uplink = Line(rate=2_000_000)
    bob.client._downlink = Line(rate=2_000_000)
    path = await bob.store.fetch(bob.client, ref, lambda: [ada.id])
    assert describe(path.read_bytes()) == ref


async def test_a_limited_downlink_is_shared_by_no_more_transfers_than_it_feeds(room: Room) -> None:
    """More of them would all be too slow for their senders, and begin anew for ever."""
    ada, bob = await room.add(), await room.add()
    refs = [await ada.store.put(os.urandom(10_000)) for _ in range(8)]
    client = PeerClient(bob.tls, bob.addresses, download_rate=4 * MIN_TRANSFER_RATE)
    await client.start()
    request, under_way, most = client._request, 0, 0

    @asynccontextmanager
    async def counted(*args: Any, **options: Any) -> AsyncIterator[Any]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        async with request(*args, **options) as response:
            yield response
        under_way -= 1

    client._request = counted  # type: ignore[method-assign]
    await asyncio.gather(*(client.fetch_chunk(ada.id, ref, 0) for ref in refs))
    await client.stop()
    assert most == 2
