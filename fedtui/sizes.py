"""Bytes in words, and how far a download is."""

from __future__ import annotations


def sized(count: int) -> str:
    """Bytes in the unit that fits."""
    if count < 1000:
        return f"{count} B"
    if count < 1_000_000:
        return f"{count / 1000:.0f} KB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def downloaded(done: int, total: int, bytes_per_s: float | None) -> str:
    """``1.2 GB of 5.3 GB, 23.0 MB/s, 3 min left``; without a pace, only how much."""
    told = f"{sized(done)} of {sized(total)}"
    if not bytes_per_s:
        return told
    seconds = max(0, total - done) / bytes_per_s
    left = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"{told}, {sized(int(bytes_per_s))}/s, {left} left"
