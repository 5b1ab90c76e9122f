"""What of a PNG is the picture: its pixels without what was written beside them."""

from __future__ import annotations

from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
"""Chunks that make the picture, in their order (https://www.w3.org/TR/png-3/#5ChunkOrdering)."""
HEADER_BYTES = 13
LENGTH, KIND, CHECKSUM = 4, 4, 4
"""Bytes of a chunk around its data."""


def pixels_only(data: bytes) -> bytes:
    """The same picture without text, time and what other programs may have added.

    Its one header is in front, so that every reader takes the same size from it. Raises
    ValueError for what is no whole PNG.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG")
    parts, at, last = [SIGNATURE], len(SIGNATURE), b""
    while last != b"IEND":
        size, kind = int.from_bytes(data[at : at + LENGTH]), data[at + LENGTH : at + LENGTH + KIND]
        end = at + LENGTH + KIND + size + CHECKSUM
        if len(kind) < KIND or end > len(data):
            raise ValueError("the PNG is cut short")
        if not last and (kind, size) != (b"IHDR", HEADER_BYTES):
            raise ValueError("the PNG does not begin with its header")
        if kind in KEPT:
            again = kind == last == b"IDAT"
            if last and not again and KEPT.index(kind) <= KEPT.index(last):
                raise ValueError("the parts of the PNG are not in order")
            parts.append(data[at:end])
            last = kind
        at = end
    return b"".join(parts)


def width(path: Path) -> int:
    """Of a PNG in pixels; 0 for what cannot be read or is none."""
    try:
        with path.open("rb") as file:
            start = file.read(20)
    except OSError:
        return 0
    return int.from_bytes(start[16:20]) if start[12:16] == b"IHDR" else 0
