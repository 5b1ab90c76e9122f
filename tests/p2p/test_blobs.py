"""Blobs are visible only when they hash to their name, and are never half there."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from member_rig import Room

from p2p.blobs.chunks import describe
from p2p.blobs.store import BlobStore, Sink
from p2p.errors import BlobUnavailable, LimitError, NetworkError, StorageError
from p2p.limits import GIB

CONTENT = os.urandom(3 << 20)
NAME = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
REF = describe(CONTENT)

Deliver = Callable[[int], bytes]


class Sources:
    """Stands for the network: per source a function from an offset to the bytes it sends.

    Bytes that end before the blob does are followed by a lost connection.
    """

    def __init__(self, **sources: Deliver | None) -> None:
        self._sources = sources
        self.calls: list[tuple[str, int]] = []

    async def fetch_blob(
        self, peer_id: str, sha256: str, size: int, sink: Sink, *, offset: int = 0
    ) -> None:
        self.calls.append((peer_id, offset))
        deliver = self._sources[peer_id]
        if deliver is None:
            raise BlobUnavailable(f"{peer_id} does not have it")
        data = deliver(offset)
        for at in range(0, len(data), 100_000):
            await sink(data[at : at + 100_000])
        if offset + len(data) < size:
            raise NetworkError(f"{peer_id} was lost")


def honest(offset: int) -> bytes:
    return CONTENT[offset:]


def breaks_after(length: int, content: bytes = CONTENT) -> Deliver:
    return lambda offset: content[offset : offset + length]


FLIPPED = bytearray(CONTENT)
FLIPPED[SIZE // 2] ^= 0x10


def flipped(offset: int) -> bytes:
    return bytes(FLIPPED[offset:])


def files_of(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


# --- putting --------------------------------------------------------------------------------
async def test_a_blob_lies_under_its_hash(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "delta"
    source.write_bytes(CONTENT)
    ref = await store.put(source)
    assert ref == REF
    assert store.path(NAME) == tmp_path / "blobs" / NAME[:2] / NAME[2:]
    assert store.path(NAME).read_bytes() == CONTENT
    assert source.exists(), "the source is copied, not moved"
    assert (await store.put(CONTENT)) == ref
    assert len(files_of(tmp_path / "blobs")) == 1


async def test_a_blob_is_durable_before_it_is_visible(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        order.append("fsync directory" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "fsync")  # noqa: PTH112
        real_fsync(descriptor)

    def replace(self: Path, target: Path) -> Path:
        order.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    await store.put(b"x")
    assert order == ["fsync", "fsync directory", "rename", "fsync directory"]


async def test_unknown_and_malformed_names_are_not_there(store: BlobStore) -> None:
    assert not store.has("0" * 64)
    for name in ("0" * 64, "../../identity.key", "A" * 64, "", "0" * 63 + "\n"):
        with pytest.raises(BlobUnavailable):
            store.path(name)


async def test_a_missing_source_file_is_a_storage_error(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        await store.put(tmp_path / "absent")


async def test_rotten_bytes_are_not_served_and_can_be_fetched_again(store: BlobStore) -> None:
    await store.put(CONTENT)
    reopened = BlobStore(store.path(NAME).parents[1])
    reopened.path(NAME).write_bytes(bytes(FLIPPED))
    with pytest.raises(BlobUnavailable, match="damaged"):
        await reopened.open_verified(NAME)
    assert not reopened.has(NAME)
    await reopened.fetch(Sources(ada=honest), REF, ["ada"])
    assert (await reopened.open_verified(NAME)).read_bytes() == CONTENT


# --- budgets --------------------------------------------------------------------------------
async def test_a_blob_above_the_limit_is_refused_before_a_byte_is_asked_for(
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path, max_blob=SIZE - 1)
    sources = Sources(ada=honest)
    with pytest.raises(LimitError):
        await store.fetch(sources, REF, ["ada"])
    with pytest.raises(LimitError):
        await store.put(CONTENT)
    assert sources.calls == []
    assert files_of(tmp_path) == []


async def test_the_quota_counts_stored_and_arriving_bytes(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, quota=SIZE + 10)
    await store.put(CONTENT)
    with pytest.raises(StorageError, match="quota"):
        await store.put(b"12345678901")
    await store.put(b"1234567890")
    reopened = BlobStore(tmp_path, quota=SIZE + 10)
    with pytest.raises(StorageError, match="quota"):
        await reopened.put(b"1")
    reopened.remove(NAME)
    await reopened.put(b"1")


async def test_free_space_is_kept(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, usage=lambda _: (100 * GIB, 2 * GIB + SIZE - 1))
    sources = Sources(ada=honest)
    with pytest.raises(StorageError, match="free"):
        await store.fetch(sources, REF, ["ada"])
    assert sources.calls == []
    small_disk = BlobStore(tmp_path / "b", usage=lambda _: (1 * GIB, GIB // 20 + SIZE))
    await small_disk.put(CONTENT)


# --- fetching -------------------------------------------------------------------------------
async def test_one_flipped_bit_is_refused_and_nothing_is_left(
    store: BlobStore, tmp_path: Path
) -> None:
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await store.fetch(Sources(eve=flipped), REF, ["eve"])
    assert not store.has(NAME)
    assert files_of(tmp_path) == []


async def test_a_liar_does_not_keep_the_blob_from_us(store: BlobStore) -> None:
    sources = Sources(eve=flipped, ada=honest)
    path = await store.fetch(sources, REF, ["eve", "ada"])
    assert path.read_bytes() == CONTENT
    assert sources.calls == [("eve", 0), ("ada", 0)]


async def test_an_interrupted_transfer_goes_on_with_the_next_source(store: BlobStore) -> None:
    sources = Sources(ada=breaks_after(1 << 20), bob=honest)
    path = await store.fetch(sources, REF, ["ada", "bob"])
    assert path.read_bytes() == CONTENT
    assert sources.calls == [("ada", 0), ("bob", 1 << 20)]


async def test_a_liar_that_breaks_off_cannot_spoil_what_others_send(store: BlobStore) -> None:
    sources = Sources(eve=breaks_after(2 << 20, bytes(FLIPPED)), ada=honest)
    path = await store.fetch(sources, REF, ["eve", "ada"])
    assert path.read_bytes() == CONTENT
    assert sources.calls[-1] == ("ada", 0), "the honest one delivered all of it alone"


async def test_a_transfer_goes_on_after_a_restart(tmp_path: Path) -> None:
    with pytest.raises(BlobUnavailable):
        await BlobStore(tmp_path).fetch(Sources(ada=breaks_after(400_000)), REF, ["ada"])
    reopened = BlobStore(tmp_path)
    assert not reopened.has(NAME)
    sources = Sources(ada=honest)
    await reopened.fetch(sources, REF, ["ada"])
    (call,) = sources.calls
    assert call == ("ada", 1_200_000), "three tries of 400,000 bytes each were kept"


async def test_a_source_without_the_blob_is_asked_once(store: BlobStore) -> None:
    sources = Sources(ada=None, bob=None)
    with pytest.raises(BlobUnavailable, match="ada does not have it"):
        await store.fetch(sources, REF, ["ada", "bob"])
    assert len(sources.calls) == 2
    with pytest.raises(BlobUnavailable, match="no source"):
        await store.fetch(sources, REF, [])


async def test_a_blob_that_is_here_is_not_fetched(store: BlobStore) -> None:
    await store.put(CONTENT)
    sources = Sources()
    assert await store.fetch(sources, REF, ["ada"]) == store.path(NAME)
    assert sources.calls == []


async def test_two_requests_for_one_blob_share_the_transfer(store: BlobStore) -> None:
    sources = Sources(ada=honest)
    paths = await asyncio.gather(*(store.fetch(sources, REF, ["ada"]) for _ in range(5)))
    assert len(set(paths)) == 1
    assert len(sources.calls) == 1


async def test_a_cancelled_transfer_leaves_a_partial_file_that_is_used_later(
    tmp_path: Path,
) -> None:
    store = BlobStore(tmp_path)
    started = asyncio.Event()

    class Stuck:
        async def fetch_blob(
            self, peer_id: str, sha256: str, size: int, sink: Sink, *, offset: int = 0
        ) -> None:
            await sink(CONTENT[: 2 << 20])
            started.set()
            await asyncio.sleep(3600)

    fetching = asyncio.ensure_future(store.fetch(Stuck(), REF, ["ada"]))
    await started.wait()
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)
    sources = Sources(ada=honest)
    await store.fetch(sources, REF, ["ada"])
    assert sources.calls == [("ada", 2 << 20)]


# --- removing -------------------------------------------------------------------------------
async def test_pruning_keeps_what_is_named(store: BlobStore, tmp_path: Path) -> None:
    kept, gone = await store.put(b"kept"), await store.put(b"gone")
    with pytest.raises(BlobUnavailable):
        await store.fetch(Sources(ada=breaks_after(10)), REF, ["ada"])
    assert store.prune({kept.sha256}) == gone.size
    assert files_of(tmp_path) == [store.path(kept.sha256)]


async def test_drafts_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    BlobStore(tmp_path)
    (tmp_path / "partial" / "0123.draft").write_bytes(b"half")
    BlobStore(tmp_path)
    assert files_of(tmp_path) == []


# --- over the network -----------------------------------------------------------------------
async def test_megabytes_move_between_members_from_the_one_that_has_them(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    content = os.urandom(8 << 20)
    ref = await bob.store.put(content)
    path = await ada.store.fetch(ada.client, ref, [eve.id, bob.id])
    assert path.read_bytes() == content


async def test_a_source_that_dies_in_the_middle_is_replaced(room: Room) -> None:
    ada, bob, eve = [await room.add() for _ in range(3)]
    content = os.urandom(24 << 20)
    ref = await bob.store.put(content)
    await eve.store.put(content)
    real_fetch = ada.client.fetch_blob
    offsets: list[tuple[str, int]] = []

    async def fetch_and_kill(
        peer_id: str, sha256: str, size: int, sink: Sink, *, offset: int = 0
    ) -> None:
        offsets.append((peer_id, offset))
        received = 0

        async def counting(part: bytes) -> None:
            nonlocal received
            received += len(part)
            await sink(part)
            if peer_id == bob.id and received > 4 << 20:
                await bob.server.stop()

        await real_fetch(peer_id, sha256, size, counting, offset=offset)

    ada.client.fetch_blob = fetch_and_kill  # type: ignore[method-assign]
    path = await ada.store.fetch(ada.client, ref, [bob.id, eve.id])
    assert path.read_bytes() == content
    assert offsets[0] == (bob.id, 0)
    assert offsets[1][0] == eve.id
    assert offsets[1][1] >= 4 << 20


async def test_a_member_whose_disk_lies_serves_nothing_wrong(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ref = await bob.store.put(CONTENT)
    bob.store._verified.clear()
    bob.store.path(ref.sha256).write_bytes(bytes(FLIPPED))
    with pytest.raises(BlobUnavailable):
        await ada.store.fetch(ada.client, ref, [bob.id])
    assert not bob.store.has(ref.sha256)


async def test_a_member_that_lies_on_purpose_is_caught(room: Room) -> None:
    ada, bob = await room.add(), await room.add()
    ref = await bob.store.put(CONTENT)
    bob.store.path(ref.sha256).write_bytes(bytes(FLIPPED))  # Counts as verified already.
    with pytest.raises(BlobUnavailable, match="other bytes"):
        await ada.store.fetch(ada.client, ref, [bob.id])
    assert not ada.store.has(ref.sha256)
