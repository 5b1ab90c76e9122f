"""Blobs are visible only when they hash to their name, and are never half there."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from pathlib import Path

import pytest

from p2p.blobs import store as store_module
from p2p.blobs.chunks import chunk, describe
from p2p.blobs.store import BlobStore
from p2p.errors import BlobUnavailable, LimitError, StorageError
from p2p.limits import GIB

CONTENT = os.urandom(3 << 20)
NAME = hashlib.sha256(CONTENT).hexdigest()
SIZE = len(CONTENT)
REF = describe(CONTENT)

FLIPPED = bytearray(CONTENT)
FLIPPED[SIZE // 2] ^= 0x10


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


async def test_checking_old_blobs_leaves_the_threads_to_others(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart anybody may ask for everything at once; votes are written by the same
    threads."""
    names = [(await store.put(bytes([n]))).sha256 for n in range(8)]
    reopened = BlobStore(store._directory)
    busy, most, hashed = 0, 0, 0

    def slow(path: Path) -> object:
        nonlocal busy, most, hashed
        busy += 1
        hashed += 1
        most = max(most, busy)
        time.sleep(0.01)
        busy -= 1
        return chunk(path)

    monkeypatch.setattr(store_module, "chunk", slow)
    offers = await asyncio.gather(*(reopened.offer(name) for name in names * 3))
    assert all(offer.complete for offer in offers)
    assert (most, hashed) == (1, len(names))


async def test_a_taken_file_is_moved_and_hashed(store: BlobStore, tmp_path: Path) -> None:
    source = tmp_path / "result"
    source.write_bytes(CONTENT)
    inode = source.stat().st_ino
    assert await store.take(source) == REF
    assert not source.exists()
    assert store.path(NAME).stat().st_ino == inode, "not a byte was copied"
    assert (await store.offer(NAME)).complete
    await store.make_durable(NAME)
    assert len(files_of(tmp_path / "blobs")) == 1


async def test_taking_a_blob_of_the_store_leaves_it_there(store: BlobStore) -> None:
    await store.put(CONTENT)
    assert await store.take(store.path(NAME)) == REF
    assert store.path(NAME).read_bytes() == CONTENT


async def test_a_file_on_another_disk_is_copied(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "elsewhere"
    source.write_bytes(CONTENT)
    real_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self == source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real_replace(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert await store.take(source) == REF
    assert store.path(NAME).read_bytes() == CONTENT


async def test_a_file_that_is_too_large_is_not_taken(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs", max_blob=len(CONTENT) - 1)
    source = tmp_path / "result"
    source.write_bytes(CONTENT)
    with pytest.raises(LimitError):
        await store.take(source)
    assert source.exists()
    assert files_of(tmp_path / "blobs") == []


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
    with pytest.raises(BlobUnavailable):
        await reopened.offer(NAME)
    await reopened.put(CONTENT)
    assert (await reopened.open_verified(NAME)).read_bytes() == CONTENT


@pytest.mark.parametrize("length", [0, 1, SIZE // 2, SIZE - 1])
async def test_a_truncated_file_is_not_served(store: BlobStore, length: int) -> None:
    await store.put(CONTENT)
    reopened = BlobStore(store.path(NAME).parents[1])
    os.truncate(reopened.path(NAME), length)
    with pytest.raises(BlobUnavailable):
        await reopened.offer(NAME)
    assert not reopened.has(NAME)


# --- budgets --------------------------------------------------------------------------------
async def test_a_blob_above_the_limit_is_refused(tmp_path: Path) -> None:
    store = BlobStore(tmp_path, max_blob=SIZE - 1)
    with pytest.raises(LimitError):
        await store.put(CONTENT)
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
    with pytest.raises(StorageError, match="free"):
        await store.put(CONTENT)
    small_disk = BlobStore(tmp_path / "b", usage=lambda _: (1 * GIB, GIB // 20 + SIZE))
    await small_disk.put(CONTENT)


# --- removing -------------------------------------------------------------------------------
async def test_drafts_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    BlobStore(tmp_path)
    (tmp_path / "partial" / "0123.draft").write_bytes(b"half")
    BlobStore(tmp_path)
    assert files_of(tmp_path) == []
