"""A blob on its way in: chunks written where they belong, checked before they count.

Nothing but the bytes themselves is kept between two runs of a node. What is there is hashed again
when the fetch goes on, so no bookkeeping on disk can be wrong: a kill in the middle of a write
costs the chunk it hit, a rotten one is fetched again.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from p2p.blobs.chunks import BlobRef, ChunkList, read_parts
from p2p.durable import flush
from p2p.errors import StorageError

SYNC_BYTES: Final = 32 << 20
"""Written bytes after which the disk is told to begin, so that the end need not wait for it."""


class Partial:
    """The file of one unfinished fetch. Methods but :meth:`close` block: they run in threads.

    ``have`` is a bit mask of the chunks that are there and correct.
    """

    def __init__(self, path: Path, ref: BlobRef, chunks: ChunkList) -> None:
        self.path = path
        self.ref = ref
        self.chunks = chunks
        self.have = 0
        self._file: BinaryIO | None = None
        self._lock = threading.Lock()

    def open(self) -> None:
        """Creates the file, or takes in what an earlier fetch left behind.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _BINARY, 0o600)
            self._file = os.fdopen(descriptor, "r+b", buffering=0)
            if os.fstat(descriptor).st_size > self.ref.size:
                self._file.truncate(self.ref.size)
            self._recognise(self._file)
        except OSError as error:
            self.close()
            raise _refused(error) from error

    def write(self, index: int, data: bytes | bytearray) -> bool:
        """Takes a chunk if it is the right one; says whether.

        Raises:
            StorageError: the disk refuses, for example because it is full.
        """
        if len(data) != len(self.ref.span(index)) or not self.chunks.fits(index, data):
            return False
        with self._lock:
            if self._file is None:
                return False
            try:
                self._file.seek(self.ref.span(index).start)
                rest = memoryview(data)
                while rest:
                    rest = rest[self._file.write(rest) :]
            except OSError as error:
                raise _refused(error) from error
            self.have |= 1 << index
        return True

    def sync(self) -> None:
        """Lets the disk write out what it has so far."""
        with suppress(OSError, ValueError):  # Closed meanwhile; the last flush is what counts.
            if self._file is not None:
                os.fsync(self._file.fileno())

    def flush(self) -> None:
        """Makes every byte durable. Raises StorageError."""
        try:
            with self.path.open("rb+") as file:
                flush(file)
        except OSError as error:
            raise _refused(error) from error

    def is_whole(self) -> bool:
        """Whether the bytes, all of them, hash to the blob's name. Raises StorageError."""
        digest = hashlib.sha256()
        try:
            for part in read_parts(self.path):
                digest.update(part)
        except OSError as error:
            raise _refused(error) from error
        return digest.hexdigest() == self.ref.sha256

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def discard(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    def _recognise(self, file: BinaryIO) -> None:
        """Hashes what is there; a chunk that was never written, or badly, does not fit."""
        length = os.fstat(file.fileno()).st_size
        for index in range(self.ref.count):
            span = self.ref.span(index)
            if span.stop > length:
                continue
            file.seek(span.start)
            if self.chunks.fits(index, file.read(len(span))):
                self.have |= 1 << index


_BINARY: Final = getattr(os, "O_BINARY", 0)


def _refused(error: OSError) -> StorageError:
    return StorageError(f"a blob cannot be stored: {error}")
