"""Building blocks of detail sheets: names with values, bars, headings."""

from __future__ import annotations

from collections.abc import Iterable

from fedtui.tui.lines import Ink, Line, left, width_of, wrapped

NAME = 14
"""Cells for the name of a fact."""


def heading(text: str) -> Line:
    """A section's name."""
    return ((text, "accent"),)


def fact(name: str, *parts: Line) -> Line:
    """A name at the left, spans beside it."""
    return ((left(name, NAME), "muted"), *(span for part in parts for span in part))


def said(name: str, text: str, width: int, ink: Ink = "text") -> list[Line]:
    """A name at the left and a text beside it, broken to the width."""
    rows = wrapped(text, max(8, width - NAME - 1), ink) or [()]
    return [((left(name if i == 0 else "", NAME), "muted"), *row) for i, row in enumerate(rows)]


def bar(share: float, width: int, ink: Ink = "accent") -> Line:
    """A share between 0 and 1: heavy is the share, light the rest."""
    full = round(max(0.0, min(1.0, share)) * width)
    return (("━" * full, ink), ("─" * (width - full), "faint"))


def flowing(parts: Iterable[Line], width: int, gap: str = "  ") -> list[Line]:
    """Parts one after another, on as many lines as they need."""
    lines: list[Line] = []
    current: Line = ()
    for part in parts:
        longer = (*current, (gap, "text"), *part) if current else part
        if current and width_of(longer) > width:
            lines.append(current)
            longer = part
        current = longer
    return [*lines, current] if current else lines
