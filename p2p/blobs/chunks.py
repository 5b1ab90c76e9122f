"""How a blob is cut into chunks, and the one digest that binds them all.

A blob keeps the name people can check, the SHA-256 of its bytes. Beside it everything that is
signed (contribution, result, genesis) carries the digest of the list of its chunks' SHA-256, so a
list may come from anybody, and a source that sends wrong bytes is caught after one chunk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from p2p.errors import ProtocolError, StorageError
from p2p.limits import CHUNK_BYTES

DIGEST_BYTES: Final = 32
_DOMAIN: Final = b"fedtui chunks\0"
_READ_BYTES: Final = 256 << 10
"""Little enough to stay in the processor's cache while it is hashed, and written."""


@dataclass(frozen=True)
class BlobRef:
    """A blob's name, its length in bytes, and the digest of its list of chunks."""

    sha256: str
    size: int
    chunks: str

    @property
    def count(self) -> int:
        """How many chunks it has; at least one, so that an empty blob is fetched like others."""
        return max(1, -(-self.size // CHUNK_BYTES))

    def span(self, index: int) -> range:
        """The bytes of one chunk."""
        return range(index * CHUNK_BYTES, min(self.size, (index + 1) * CHUNK_BYTES))


@dataclass(frozen=True)
class ChunkList:
    """The SHA-256 of every chunk of a blob, in order."""

    digests: tuple[bytes, ...]

    @cached_property
    def digest(self) -> str:
        """What signed messages carry: SHA-256 (hex) of a prefix of ours and the list."""
        return hashlib.sha256(_DOMAIN + self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        return b"".join(self.digests)

    @classmethod
    def of_one(cls, sha256: str) -> ChunkList:
        """The list of a blob of one chunk, which nobody need be asked for."""
        return cls((bytes.fromhex(sha256),))

    @classmethod
    def read(cls, data: bytes, ref: BlobRef) -> ChunkList:
        """The list of a blob from bytes that anybody sent.

        Raises:
            ProtocolError: it is not the list that ``ref`` names.
        """
        digests = tuple(data[at : at + DIGEST_BYTES] for at in range(0, len(data), DIGEST_BYTES))
        found = cls(digests)
        if len(data) != ref.count * DIGEST_BYTES or found.digest != ref.chunks:
            raise ProtocolError("a list of chunks is not the one that was signed")
        return found

    def fits(self, index: int, data: bytes | bytearray | memoryview) -> bool:
        """Whether these are the bytes of a chunk."""
        return hashlib.sha256(data).digest() == self.digests[index]


class Chunker:
    """Takes a blob's bytes in order and gives its name and its chunks."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()
        self._chunk = hashlib.sha256()
        self._digests: list[bytes] = []
        self._size = 0

    def update(self, part: bytes | memoryview) -> None:
        """Adds bytes of any number."""
        view = memoryview(part)
        while view:
            room = CHUNK_BYTES - self._size % CHUNK_BYTES
            taken = view[:room]
            self._whole.update(taken)
            self._chunk.update(taken)
            self._size += len(taken)
            if len(taken) == room:
                self._digests.append(self._chunk.digest())
                self._chunk = hashlib.sha256()
            view = view[room:]

    def finish(self) -> tuple[BlobRef, ChunkList]:
        """The blob's name and its list, after the last bytes."""
        digests = list(self._digests)
        if self._size % CHUNK_BYTES or not digests:
            digests.append(self._chunk.digest())
        found = ChunkList(tuple(digests))
        return BlobRef(self._whole.hexdigest(), self._size, found.digest), found


def describe(source: Path | bytes) -> BlobRef:
    """The name of a file or of bytes, as a store would give it; reads all of it.

    Raises:
        StorageError: the file cannot be read.
    """
    return chunk(source)[0]


def chunk(source: Path | bytes) -> tuple[BlobRef, ChunkList]:
    """Name and chunks of a file or of bytes. Raises StorageError."""
    chunker = Chunker()
    try:
        for part in [source] if isinstance(source, bytes) else read_parts(source):
            chunker.update(part)
    except OSError as error:
        raise StorageError(f"{source!s} cannot be read: {error}") from error
    return chunker.finish()


def read_parts(path: Path) -> Iterator[memoryview]:
    """A file's bytes in order; each part holds until the next one is asked for."""
    buffer = memoryview(bytearray(_READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]
