"""The sizes of a folder's pictures as bars, the size they are trained at between them."""

from __future__ import annotations

from typing import Any

from fedtui.picture_sides import smaller, span
from fedtui.tui.lines import Ink, Line, left, wrapped

NONE = "How large the pictures are shows here."
UNKNOWN = "The size they are trained at is not known: the model is not on this machine."
AROUND = 9
"""Cells beside the name of a bin and its bar: a sign, blanks, and a count of five digits."""
SMALL = "!"


def title(report: dict[str, Any] | None) -> Line:
    """Which side is counted."""
    by_area = bool(report and (report.get("sides") or {}).get("by") == "area")
    return (("Sides of squares as large" if by_area else "Shorter sides", "muted"),)


def histogram(report: dict[str, Any] | None, width: int) -> list[Line]:
    """A sentence and a row for each bin; what has to be enlarged stands above the mark."""
    if report is None or not report.get("usable"):
        return wrapped(NONE, width - 1, "muted")
    sides = report.get("sides")
    if not sides:
        return wrapped(UNKNOWN, width - 1, "muted")
    pixels, bins = int(sides["resolution"]), sides["bins"]
    names = [span(start, end) for start, end, _ in bins]
    name = max(map(len, names)) + 1
    room, most = max(4, width - name - AROUND), max(count for *_, count in bins)
    rows: list[Line] = []
    for told, (start, _, count) in zip(names, bins, strict=True):
        small = start < pixels
        ink: Ink = "warning" if small else "accent"
        sign = f"{SMALL if small and count else ' '} "
        full = "━" * max(bool(count), round(room * count / most))
        rows.append(((sign, ink), (left(told, name), "muted"), (full, ink), (f" {count}", "text")))
    at = sum(start < pixels for start, *_ in bins)
    rows.insert(at, ((f"── trained at {pixels} px ".ljust(width - 1, "─"), "muted"),))
    ink = "warning" if sides["smaller"] else "ok"
    return [*wrapped(smaller(report), width - 1, ink), (), *rows]
