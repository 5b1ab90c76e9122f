"""Blobs: bytes named by their SHA-256, stored once, visible only when they hash to their name.

Layout below the store's directory: ``ab/cd…`` for the blob ``abcd…``, ``partial/`` for what is
still arriving. Peers never name files. A blob is complete, checked and on disk before it gets its
name (temporary file, fsync, rename, fsync of the directory).
"""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from p2p.blobs.chunks import BlobRef, Chunker, ChunkList, chunk, read_parts
from p2p.blobs.partial import Partial
from p2p.blobs.transfer import Accuse, BlobClient, Sources, Transfer
from p2p.durable import flush, sync_directory
from p2p.errors import BlobUnavailable, LimitError, StorageError
from p2p.limits import (
    CHUNK_BYTES,
    FREE_SPACE_RESERVE_BYTES,
    FREE_SPACE_RESERVE_PERCENT,
    MAX_BLOB_BYTES,
    QUOTA_FOR_OLD_PERCENT,
    ROOM_QUOTA_BYTES,
)

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PARTIAL: Final = "partial"

DiskUsage = Callable[[Path], tuple[int, int]]
"""Total and free bytes of the file system that holds a directory."""


@dataclass(frozen=True)
class Offer:
    """A blob as it can be given to others: ``have`` is a bit mask of the chunks that are here."""

    path: Path
    size: int
    chunks: ChunkList
    have: int

    @property
    def complete(self) -> bool:
        return self.have == (1 << len(self.chunks.digests)) - 1

    def holds(self, span: range) -> bool:
        """Whether all these bytes are here."""
        first, last = span.start // CHUNK_BYTES, max(span.start, span.stop - 1) // CHUNK_BYTES
        wanted = (1 << last + 1) - (1 << first)
        return self.have & wanted == wanted


def disk_usage(directory: Path) -> tuple[int, int]:
    """Total and free bytes where ``directory`` lies."""
    usage = shutil.disk_usage(directory)
    return usage.total, usage.free


class BlobStore:
    """One room's blobs in one directory.

    Methods that touch file contents run in threads; the store itself belongs to one event loop,
    but for what it counts of the blobs that threads publish.
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
        self._volatile: set[str] = set()
        self._arriving: dict[str, Partial] = {}
        self._salt = secrets.token_hex(8)
        self.accuse: Accuse = lambda peer, sha256: None
        self._reserved = 0
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # One at a time: members may ask for any blob, and votes are written by the same threads.
        self._hashing = asyncio.Lock()
        self._publishing = threading.Lock()
        self._counting = threading.Lock()
        try:
            self._partial.mkdir(parents=True, exist_ok=True, mode=0o700)
            for draft in self._partial.glob("*.draft"):
                draft.unlink()
        except OSError as error:
            raise StorageError(f"{directory} cannot be used: {error}") from error
        self._sizes = {path.parent.name + path.name: path.stat().st_size for path in self._files()}
        self._stored = sum(self._sizes.values())
        self._touched: set[str] = set()
        self._pinned: Counter[str] = Counter()

    # --- looking ----------------------------------------------------------------------------
    @property
    def sizes(self) -> Mapping[str, int]:
        """The complete blobs at this moment: name -> bytes."""
        with self._counting:
            return dict(self._sizes)

    @property
    def budget(self) -> int:
        """Bytes that old rounds may use: the rest of the quota, or of the free space, is for
        the next ones."""
        _, free = self._usage(self._directory)
        spare = max(0, free - 2 * FREE_SPACE_RESERVE_BYTES)
        return min(self._quota * QUOTA_FOR_OLD_PERCENT // 100, self._stored + spare)

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
            async with self._hashing:
                await self._verify(sha256)
        return path

    async def _verify(self, sha256: str) -> None:
        if sha256 in self._verified:
            return
        ref, chunks = await asyncio.to_thread(chunk, self.path(sha256))
        if ref.sha256 != sha256:
            self.remove(sha256)
            raise BlobUnavailable(f"{sha256} was damaged on disk and has been removed")
        self._verified[sha256] = chunks

    async def offer(self, sha256: str) -> Offer:
        """What can be given to others of a blob that is here, or of one that is on its way in.

        Raises:
            BlobUnavailable: nothing of it is here.
        """
        if partial := self._arriving.get(sha256):
            return Offer(partial.path, partial.ref.size, partial.chunks, partial.have)
        path = await self.open_verified(sha256)
        chunks = self._verified[sha256]
        try:
            size = path.stat().st_size
        except OSError as error:
            raise BlobUnavailable("the blob has just been removed") from error
        return Offer(path, size, chunks, (1 << len(chunks.digests)) - 1)

    # --- adding -----------------------------------------------------------------------------
    async def put(self, source: Path | bytes) -> BlobRef:
        """Stores a copy of a file or of bytes, durable when this returns.

        Raises:
            LimitError: larger than one blob may be.
            StorageError: no room on disk or in the quota, or the disk failed.
        """
        size = len(source) if isinstance(source, bytes) else await _size_of(source)
        with self._reserve(size):
            ref, chunks = await asyncio.to_thread(self._copy_in, source)
        self._verified[ref.sha256] = chunks
        return ref

    async def take(self, path: Path) -> BlobRef:
        """Stores a file by moving it, which must not be written to afterwards; when its bytes
        reach the disk is left to :meth:`make_durable`.

        A file that is a blob here already, or lies on another disk, is copied. Raises as
        :meth:`put`.
        """
        with self._reserve(await _size_of(path)):
            ref, chunks = await asyncio.to_thread(self._move_in, path)
        self._verified[ref.sha256] = chunks
        self._volatile.add(ref.sha256)
        return ref

    async def make_durable(self, sha256: str) -> None:
        """Returns when a blob that was stored without waiting for the disk is on it.

        Raises:
            BlobUnavailable: it is not here.
            StorageError: the disk refused.
        """
        path = self.path(sha256)
        async with self._fetching.setdefault(sha256, asyncio.Lock()):
            if sha256 in self._volatile:
                with _translated():
                    await asyncio.to_thread(_flush_path, path)
                self._volatile.discard(sha256)

    async def fetch(
        self, client: BlobClient, ref: BlobRef, sources: Sources, *, durable: bool = True
    ) -> Path:
        """Gets a blob in chunks from whoever has them.

        Each chunk is checked when it comes; one that is wrong bans its sender from this blob and
        tells :attr:`accuse`. What has come stays on disk when the fetch fails or the node dies,
        and what is here is served to others meanwhile. ``durable=False`` leaves it to the system
        when the bytes reach the disk; a power cut then costs another fetch.

        Raises:
            BlobUnavailable: nobody who could be reached has it.
            LimitError, StorageError: as :meth:`put`, before any byte is accepted; or the disk
                refused later.
        """
        location = self._location(ref.sha256)
        self._touched.add(ref.sha256)
        async with self._fetching.setdefault(ref.sha256, asyncio.Lock()):
            try:
                if location.is_file():
                    return await self.open_verified(ref.sha256)
            except BlobUnavailable:
                pass
            with self._reserve(ref.size):
                await self._fetch_missing(client, ref, sources, durable)
        return location

    # --- removing ---------------------------------------------------------------------------
    def remove(self, sha256: str) -> None:
        """Forgets a blob; unknown ones are no error."""
        with self._counting:
            self._location(sha256).unlink(missing_ok=True)
            self._stored -= self._sizes.pop(sha256, 0)
        self._verified.pop(sha256, None)
        self._volatile.discard(sha256)

    @contextmanager
    def pinned(self, sha256: str) -> Iterator[None]:
        """Keeps a blob, however long it takes, until somebody else speaks of it."""
        self._pinned[sha256] += 1
        try:
            yield
        finally:
            self._pinned[sha256] -= 1
            self._pinned += Counter()  # Drops what is at zero.

    async def prune(self, doomed: Iterable[str]) -> int:
        """Removes blobs, and downloads that nobody has gone on with; returns the bytes freed.

        Whatever was added or fetched since the call before stays, named or not: a round under way
        may be about to need what no commit speaks of yet. So does what is :meth:`pinned`.
        """
        with self._counting:
            touched, self._touched = self._touched, set()
        touched.update(self._fetching.keys(), self._pinned.elements())
        freed = 0
        for name in doomed:
            if name not in touched and not self._pinned[name]:
                freed += await self._forget_untouched(name)
        for part in list(self._partial.glob("*.part")):
            if part.stem not in touched | self._touched:
                await asyncio.to_thread(part.unlink, missing_ok=True)
        return freed

    async def _forget_untouched(self, sha256: str) -> int:
        """Removes a blob unless somebody has just begun to need it; returns the bytes freed.

        It loses its name first, at once and under the lock: unlinking a large file takes as long
        as some disks like, and the same bytes may be stored again meanwhile.
        """
        gone = self._partial / f"{secrets.token_hex(16)}.draft"
        with self._counting:
            if sha256 in self._touched or sha256 not in self._sizes:
                return 0
            with suppress(FileNotFoundError):
                self._location(sha256).rename(gone)
            size = self._sizes.pop(sha256)
            self._stored -= size
        self._verified.pop(sha256, None)
        self._volatile.discard(sha256)
        await asyncio.to_thread(gone.unlink, missing_ok=True)
        return size

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

    def _copy_in(self, source: Path | bytes, durable: bool = True) -> tuple[BlobRef, ChunkList]:
        chunker = Chunker()
        size = 0
        with self._draft() as draft:
            with draft.open("xb") as file:
                for part in [source] if isinstance(source, bytes) else read_parts(source):
                    size += len(part)
                    if size > self._max_blob:
                        raise LimitError("a blob grew above the room's limit")
                    chunker.update(part)
                    file.write(part)
                if durable:
                    flush(file)
            ref, chunks = chunker.finish()
            self._publish(draft, ref.sha256, durable)
        return ref, chunks

    def _move_in(self, source: Path) -> tuple[BlobRef, ChunkList]:
        if source.is_relative_to(self._directory):
            return self._copy_in(source, durable=False)
        with self._draft() as draft:
            try:
                source.replace(draft)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                return self._copy_in(source, durable=False)
            ref, chunks = chunk(draft)
            self._publish(draft, ref.sha256, durable=False)
        return ref, chunks

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """Where bytes lie until they have a name; nothing is left of them when that fails."""
        draft = self._partial / f"{secrets.token_hex(16)}.draft"
        with _translated():
            try:
                yield draft
            finally:
                draft.unlink(missing_ok=True)

    def _publish(self, draft: Path, sha256: str, durable: bool = True) -> None:
        """Gives a complete, checked, flushed file its name."""
        location = self._location(sha256)
        with self._publishing:
            size = draft.stat().st_size
            if not location.parent.exists():
                location.parent.mkdir(mode=0o700)
                sync_directory(self._directory)
            with self._counting:
                draft.replace(location)
                self._stored += size - self._sizes.get(sha256, 0)
                self._sizes[sha256] = size
                self._touched.add(sha256)
            if durable:
                sync_directory(location.parent)

    async def _fetch_missing(
        self, client: BlobClient, ref: BlobRef, sources: Sources, durable: bool
    ) -> None:
        transfer = Transfer(
            client,
            ref,
            self._partial / f"{ref.sha256}.part",
            sources,
            salt=self._salt,
            began=self._on_began,
            accuse=lambda peer, sha256: self.accuse(peer, sha256),
            sync=durable,
        )
        try:
            partial = await transfer.run()
            hashing = asyncio.to_thread(partial.is_whole)
            whole, _ = await asyncio.gather(
                hashing, asyncio.to_thread(partial.flush if durable else lambda: None)
            )
            if not whole:
                partial.discard()
                raise BlobUnavailable(f"{ref.sha256} was signed with chunks of another file")
            with _translated():
                await asyncio.to_thread(self._publish, partial.path, ref.sha256, durable)
            self._verified[ref.sha256] = partial.chunks
            if not durable:
                self._volatile.add(ref.sha256)
        finally:
            self._arriving.pop(ref.sha256, None)

    def _on_began(self, partial: Partial) -> None:
        self._arriving[partial.ref.sha256] = partial


class _Reservation:
    """Bytes of the budgets held for a blob that is on its way in."""

    def __init__(self, store: BlobStore, size: int) -> None:
        self._store = store
        self._size = size

    def __enter__(self) -> None:
        self._store._reserved += self._size

    def __exit__(self, *_: object) -> None:
        self._store._reserved -= self._size


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"a blob cannot be stored: {error}") from error


def _flush_path(path: Path) -> None:
    with path.open("rb+") as file:
        flush(file)
    sync_directory(path.parent)


async def _size_of(path: Path) -> int:
    try:
        return (await asyncio.to_thread(path.stat)).st_size
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}") from error
