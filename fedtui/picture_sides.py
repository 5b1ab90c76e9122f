"""How large the pictures of a folder are, in words: for the interface and ``fedtui data check``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def smaller(report: Mapping[str, Any]) -> str:
    """How many pictures have to be enlarged, of a :class:`trainer.protocol.CheckData` result.

    Empty without pictures, and where the trained size is not known.
    """
    sides, usable = report.get("sides"), int(report.get("usable", 0))
    if not sides or not usable:
        return ""
    few, pixels = int(sides["smaller"]), int(sides["resolution"])
    size = f"a square of {pixels} px" if sides["by"] == "area" else f"{pixels} px"
    if not few:
        return f"none of {usable} is smaller than {size}, the trained size"
    return (
        f"{few} of {usable} {'is' if few == 1 else 'are'} smaller than {size} and will be enlarged"
    )


def span(start: int, end: int) -> str:
    """A bin's sides in pixels; 0 is an open end."""
    if not start:
        return f"under {end + 1}"
    return f"{start} to {end}" if end else f"{start} and more"
