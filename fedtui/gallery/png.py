"""What of a PNG is the picture: its pixels without what was written beside them."""

from __future__ import annotations

from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB"})
"""Chunks that say how pixels look (https://www.w3.org/TR/png-3/#4Concepts.Format)."""
LENGTH, KIND, CHECKSUM = 4, 4, 4
"""Bytes of a chunk around its data."""


def pixels_only(data: bytes) -> bytes:
    """The same picture without text, time and what other programs may have added.

    Raises ValueError for what is no whole PNG.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG")
    parts, at, kind = [SIGNATURE], len(SIGNATURE), b""
    while kind != b"IEND":
        kind = data[at + LENGTH : at + LENGTH + KIND]
        end = at + LENGTH + KIND + int.from_bytes(data[at : at + LENGTH]) + CHECKSUM
        if len(kind) < KIND or end > len(data):
            raise ValueError("the PNG is cut short")
        if kind in KEPT:
            parts.append(data[at:end])
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
