"""Blobs: bytes named by their SHA-256, stored once, visible only when they hash to their name.

Layout below the store's directory: ``ab/cd…`` for the blob ``abcd…``, ``partial/`` for what is
still arriving. Peers never name files. A blob is complete, checked and on disk before it gets its
name (temporary file, fsync, rename, fsync of the directory).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import threading
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from weakref import WeakValueDictionary

from p2p.blobs.chunks import BlobRef, Chunker, ChunkList, chunk, read_parts
from p2p.durable import sync_directory
from p2p.errors import BlobUnavailable, LimitError, NetworkError, StorageError, TrustError
from p2p.limits import (
    BLOB_RETRY_DELAY,
    BLOB_TRIES_PER_SOURCE,
    BLOB_WRITE_BYTES,
    FREE_SPACE_RESERVE_BYTES,
    FREE_SPACE_RESERVE_PERCENT,
    MAX_BLOB_BYTES,
    ROOM_QUOTA_BYTES,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTIAL: Final = "partial"

Sink = Callable[[bytes], Awaitable[None]]
"""Takes the next bytes of a transfer."""
DiskUsage = Callable[[Path], tuple[int, int]]
"""Total and free bytes of the file system that holds a directory."""


class BlobClient(Protocol):
    """What :meth:`BlobStore.fetch` needs of :class:`p2p.client.PeerClient`."""

    async def fetch_blob(
        self, peer_id: str, sha256: str, size: int, sink: Sink, *, offset: int = 0
    ) -> None:
        """Gives the bytes ``offset`` to ``size`` to ``sink``. Raises NetworkError, TrustError."""
        ...


def disk_usage(directory: Path) -> tuple[int, int]:
    """Total and free bytes where ``directory`` lies."""
    usage = shutil.disk_usage(directory)
    return usage.total, usage.free


class BlobStore:
    """One room's blobs in one directory.

    Methods that touch file contents run in threads; the store itself belongs to one event loop.
    ``quota`` bounds the bytes of all blobs, ``max_blob`` those of one.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_blob: int = MAX_BLOB_BYTES,
        quota: int = ROOM_QUOTA_BYTES,
        usage: DiskUsage = disk_usage,
    ) -> None:
        self._directory = directory
        self._partial = directory / _PARTIAL
        self._max_blob = max_blob
        self._quota = quota
        self._usage = usage
        self._verified: dict[str, ChunkList] = {}
        self._reserved = 0
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._publishing = threading.Lock()
        try:
            self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
            for draft in self._partial.glob("*.draft"):
                draft.unlink()
        except OSError as error:
            raise StorageError(f"{directory} cannot be used: {error}") from error
        self._stored = sum(path.stat().st_size for path in self._files())

    # --- looking ----------------------------------------------------------------------------
    def has(self, sha256: str) -> bool:
        """Whether the blob is here and complete."""
        return self._location(sha256).is_file()

    def path(self, sha256: str) -> Path:
        """The file of a blob, to be read only.

        Raises:
            BlobUnavailable: it is not here.
        """
        if not self.has(sha256):
            raise BlobUnavailable(f"{sha256} is not stored here")
        return self._location(sha256)

    async def open_verified(self, sha256: str) -> Path:
        """Like :meth:`path`, after the bytes were hashed once since this store was opened.

        A file that rotted on disk is removed, so that it can be fetched again.

        Raises:
            BlobUnavailable: it is not here, or it was damaged.
        """
        path = self.path(sha256)
        if sha256 not in self._verified:
            ref, chunks = await asyncio.to_thread(chunk, path)
            if ref.sha256 != sha256:
                self.remove(sha256)
                raise BlobUnavailable(f"{sha256} was damaged on disk and has been removed")
            self._verified[sha256] = chunks
        return path

    # --- adding -----------------------------------------------------------------------------
    async def put(self, source: Path | bytes) -> BlobRef:
        """Stores a copy of a file or of bytes; durable when this returns.

        Raises:
            LimitError: larger than one blob may be.
            StorageError: no room on disk or in the quota, or the disk failed.
        """
        size = len(source) if isinstance(source, bytes) else await _size_of(source)
        with self._reserve(size):
            ref, chunks = await asyncio.to_thread(self._copy_in, source)
        self._verified[ref.sha256] = chunks
        return ref

    async def fetch(self, client: BlobClient, ref: BlobRef, sources: Sequence[str]) -> Path:
        """Gets a blob from the first source that delivers it.

        An interrupted transfer goes on where it stopped, with the next source and after a
        restart. When the whole does not hash to its name nothing of it is kept, and every source
        must then deliver all of it alone, so that one liar cannot spoil what others send.

        Raises:
            BlobUnavailable: no source delivered it.
            LimitError, StorageError: as :meth:`put`, before any byte is accepted.
        """
        sha256, size = ref.sha256, ref.size
        location = self._location(sha256)
        async with self._fetching.setdefault(sha256, asyncio.Lock()):
            try:
                if location.is_file():
                    return await self.open_verified(sha256)
            except BlobUnavailable:
                pass
            with self._reserve(size):
                await self._fetch_missing(client, sha256, size, sources)
        return location

    # --- removing ---------------------------------------------------------------------------
    def remove(self, sha256: str) -> None:
        """Forgets a blob; unknown ones are no error."""
        location = self._location(sha256)
        with suppress(FileNotFoundError):
            size = location.stat().st_size
            location.unlink()
            self._stored -= size
        self._verified.pop(sha256, None)

    def prune(self, keep: Collection[str]) -> int:
        """Removes every blob and every partial download not named in ``keep``.

        Returns the bytes freed.
        """
        before = self._stored
        for path in list(self._files()):
            if path.parent.name + path.name not in keep:
                self.remove(path.parent.name + path.name)
        for part in self._partial.glob("*.part"):
            if part.stem not in keep:
                part.unlink(missing_ok=True)
        return before - self._stored

    # --- inside -----------------------------------------------------------------------------
    def _files(self) -> Iterator[Path]:
        return (path for path in self._directory.glob("[0-9a-f][0-9a-f]/*") if path.is_file())

    def _location(self, sha256: str) -> Path:
        if not _DIGEST.fullmatch(sha256):
            raise BlobUnavailable("a blob's name has 64 hexadecimal digits")
        return self._directory / sha256[:2] / sha256[2:]

    def _reserve(self, size: int) -> _Reservation:
        """Checks a blob's size against every budget and sets the bytes aside."""
        if not 0 <= size <= self._max_blob:
            raise LimitError(f"a blob of {size} bytes is above the room's limit")
        if self._stored + self._reserved + size > self._quota:
            raise StorageError("the room's disk quota is used up")
        total, free = self._usage(self._directory)
        reserve = min(FREE_SPACE_RESERVE_BYTES, total * FREE_SPACE_RESERVE_PERCENT // 100)
        if free - self._reserved - size < reserve:
            raise StorageError(
                f"{size} more bytes would leave less than {reserve} bytes free on the disk"
            )
        return _Reservation(self, size)

    def _copy_in(self, source: Path | bytes) -> tuple[BlobRef, ChunkList]:
        draft = self._partial / f"{secrets.token_hex(16)}.draft"
        chunker = Chunker()
        size = 0
        with _translated():
            try:
                with draft.open("xb") as file:
                    for part in [source] if isinstance(source, bytes) else read_parts(source):
                        size += len(part)
                        if size > self._max_blob:
                            raise LimitError("a blob grew above the room's limit")
                        chunker.update(part)
                        file.write(part)
                    _flush(file)
                ref, chunks = chunker.finish()
                self._publish(draft, ref.sha256)
            finally:
                draft.unlink(missing_ok=True)
        return ref, chunks

    def _publish(self, draft: Path, sha256: str) -> None:
        """Gives a complete, checked, flushed file its name."""
        location = self._location(sha256)
        with self._publishing:
            added = 0 if location.exists() else draft.stat().st_size
            if not location.parent.exists():
                location.parent.mkdir(mode=0o700)
                sync_directory(self._directory)
            draft.replace(location)
            sync_directory(location.parent)
            self._stored += added

    async def _fetch_missing(
        self, client: BlobClient, sha256: str, size: int, sources: Sequence[str]
    ) -> None:
        incoming = _Incoming(self._partial / f"{sha256}.part", size)
        useless: set[str] = set()
        reasons: list[str] = []
        alone = False
        for source in tuple(sources) * BLOB_TRIES_PER_SOURCE:
            if source in useless:
                continue
            if alone:
                await asyncio.to_thread(incoming.discard)
            try:
                offset, digest = await _continue_from(client, source, sha256, size, incoming)
            except BlobUnavailable as error:
                reasons.append(error.cause)
                useless.add(source)
                continue
            except (NetworkError, TrustError) as error:
                reasons.append(error.cause)
                await asyncio.sleep(BLOB_RETRY_DELAY)
                continue
            if digest == sha256:
                await asyncio.to_thread(self._publish_incoming, incoming, sha256)
                await self.open_verified(sha256)
                return
            await asyncio.to_thread(incoming.discard)
            reasons.append(f"{source} delivered other bytes")
            # From several senders any one may be to blame; a lone one has proved itself useless.
            alone = True
            if offset == 0:
                useless.add(source)
        raise BlobUnavailable(f"{sha256}: " + ("; ".join(dict.fromkeys(reasons)) or "no source"))

    def _publish_incoming(self, incoming: _Incoming, sha256: str) -> None:
        with _translated():
            self._publish(incoming.path, sha256)


class _Reservation:
    """Bytes of the budgets held for a blob that is on its way in."""

    def __init__(self, store: BlobStore, size: int) -> None:
        self._store = store
        self._size = size

    def __enter__(self) -> None:
        self._store._reserved += self._size

    def __exit__(self, *_: object) -> None:
        self._store._reserved -= self._size


class _Incoming:
    """A partial download that survives restarts: opened, added to, closed, maybe opened again."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self._writing = threading.Lock()
        self._digest = hashlib.sha256()

    def open(self) -> int:
        """Reads what is there already; returns its length."""
        self._digest = hashlib.sha256()
        self._buffer.clear()
        with _translated():
            if self.path.exists() and self.path.stat().st_size > self._size:
                self.path.unlink()
            self._file = self.path.open("a+b")
            self._file.seek(0)
            while part := self._file.read(BLOB_WRITE_BYTES):
                self._digest.update(part)
            return self._file.tell()

    async def add(self, part: bytes, /) -> None:
        self._buffer += part
        if len(self._buffer) >= BLOB_WRITE_BYTES:
            await asyncio.to_thread(self._write_out)

    def close(self) -> str:
        """Flushes to disk; returns the SHA-256 of everything received so far."""
        self._write_out()
        with self._writing:
            if self._file is not None:
                with _translated(), self._file as file:
                    _flush(file)
                self._file = None
        return self._digest.hexdigest()

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)

    def _write_out(self) -> None:
        # A cancelled transfer closes the file while the thread of its last write may still run.
        with self._writing, _translated():
            if self._file is None or not self._buffer:
                return
            self._file.write(self._buffer)
            self._digest.update(self._buffer)
            self._buffer.clear()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"a blob cannot be stored: {error}") from error


async def _continue_from(
    client: BlobClient, source: str, sha256: str, size: int, incoming: _Incoming
) -> tuple[int, str]:
    """Lets one source deliver what is missing; returns where it began and the whole's SHA-256."""
    offset = await asyncio.to_thread(incoming.open)
    try:
        if offset < size:
            await client.fetch_blob(source, sha256, size, incoming.add, offset=offset)
    finally:
        digest = await asyncio.to_thread(incoming.close)
    return offset, digest


async def _size_of(path: Path) -> int:
    try:
        return (await asyncio.to_thread(path.stat)).st_size
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
