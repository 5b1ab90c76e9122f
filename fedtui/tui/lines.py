"""Lines of plain text with named inks: what every widget of the interface is made of.

A name, a prompt or an event may come from another machine. Here is the only place where such text
becomes cells: control characters, bidirectional overrides and markup never get further.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from rich.cells import cell_len, set_cell_size

from fedtui.tui.limits import NAMES_LISTED, TEXT_CHARS

Ink = Literal["text", "strong", "muted", "faint", "accent", "key", "ok", "warning", "error"]
"""What a piece of text is; each theme says how that looks."""

Span: TypeAlias = tuple[str, Ink]
Line: TypeAlias = tuple[Span, ...]

ELLIPSIS = "…"
DOT: Span = (" · ", "faint")


def plain(text: str, chars: int = TEXT_CHARS) -> str:
    """``text`` without anything but printable characters and single blanks, bounded in length."""
    text = text[:chars]
    return " ".join(printable(text).split())


def printable(text: str) -> str:
    """``text`` without control and format characters: the last gate before the terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text)


def keyed(text: str) -> Line:
    """An aside of ours whose keys, in backquotes, stand out: "`e` packs, `6` draws"."""
    parts = text.split("`")
    return tuple((part, "accent" if i % 2 else "muted") for i, part in enumerate(parts) if part)


def cut(text: str, width: int) -> str:
    """Plain ``text`` in at most ``width`` cells; what was left out shows as an ellipsis."""
    text = plain(text)
    if cell_len(text) <= width:
        return text
    if width <= 0:
        return ""
    return set_cell_size(text, width - 1).rstrip() + ELLIPSIS


def cut_words(text: str, width: int, mark: str = ELLIPSIS) -> str:
    """Like :func:`cut`, giving up whole words; ``mark`` says that some are missing."""
    text = plain(text)
    if cell_len(text) <= width:
        return text
    kept = ""
    for word in text.split(" "):
        longer = f"{kept} {word}" if kept else word
        if cell_len(longer.rstrip(",;")) + cell_len(mark) > width:
            break
        kept = longer
    return kept.rstrip(",;") + mark if kept else cut(text, width)


def cut_middle(text: str, width: int) -> str:
    """Like :func:`cut`, keeping both ends: for paths and hashes, whose end tells them apart."""
    text = plain(text)
    if cell_len(text) <= width:
        return text
    if width < 8:
        return cut(text, width)
    head = (width - 1) // 3
    tail = width - 1 - head
    while tail and cell_len(text[-tail:]) > width - 1 - head:
        tail -= 1
    return set_cell_size(text, head) + ELLIPSIS + text[-tail:]


def cut_path(text: str, width: int) -> str:
    """A path in at most ``width`` cells: folders are left out from the root on."""
    text = plain(text)
    parts = text.split("/")
    for first in range(1, len(parts)):
        if cell_len(text) <= width:
            return text
        text = "/".join([ELLIPSIS, *parts[first:]])
    return text if cell_len(text) <= width else cut_middle(parts[-1], width)


def left(text: str, width: int) -> str:
    """``text`` cut and padded on the right to exactly ``width`` cells."""
    return set_cell_size(cut(text, width), width)


def right(text: str, width: int) -> str:
    """``text`` cut and padded on the left to exactly ``width`` cells."""
    text = cut(text, width)
    return " " * (width - cell_len(text)) + text


def width_of(line: Iterable[Span]) -> int:
    """Cells a line takes."""
    return sum(cell_len(text) for text, _ in line)


def merged(cells: Iterable[Span]) -> Line:
    """Neighbours of one ink as one span."""
    spans: list[Span] = []
    for text, ink in cells:
        if spans and spans[-1][1] == ink:
            spans[-1] = (spans[-1][0] + text, ink)
        else:
            spans.append((text, ink))
    return tuple(spans)


def crop(line: Line, width: int) -> Line:
    """``line`` in at most ``width`` cells, with an ellipsis where it was cut."""
    if width_of(line) <= width:
        return line
    kept: list[Span] = []
    room = width - 1
    for text, ink in line:
        size = cell_len(text)
        if size > room:
            kept.append((set_cell_size(text, room).rstrip() + ELLIPSIS, ink))
            break
        kept.append((text, ink))
        room -= size
    return tuple(kept) if width > 0 else ()


def spread(start: Line, end: Line, width: int) -> Line:
    """``start`` at the left and ``end`` at the right; ``end`` gives way when both do not fit."""
    gap = width - width_of(start) - width_of(end)
    if gap < 1:
        return crop(start, width)
    return (*start, (" " * gap, "text"), *end)


def centred(line: Line, width: int) -> Line:
    """``line`` in the middle of ``width`` cells."""
    line = crop(line, width)
    return ((" " * ((width - width_of(line)) // 2), "text"), *line)


def joined(parts: Iterable[Line], separator: Span = DOT) -> Line:
    """The parts with ``separator`` between them, empty parts left out."""
    spans: list[Span] = []
    for part in parts:
        if part:
            if spans:
                spans.append(separator)
            spans.extend(part)
    return tuple(spans)


def wrapped(text: str, width: int, ink: Ink = "text") -> list[Line]:
    """Plain ``text`` as lines of at most ``width`` cells, broken at blanks where there are any."""
    lines: list[Line] = []
    words = plain(text).split(" ")
    current = ""
    for word in words:
        candidate = f"{current} {word}" if current else word
        if cell_len(candidate) <= width:
            current = candidate
            continue
        if current:
            lines.append(((current, ink),))
        current = cut(word, width)
    if current:
        lines.append(((current, ink),))
    return lines


def listed(names: Iterable[str]) -> str:
    """Names as one phrase: ``amir, lena and 3 more``."""
    every = [plain(name) for name in names]
    if len(every) > NAMES_LISTED:
        return f"{', '.join(every[: NAMES_LISTED - 1])} and {len(every) - NAMES_LISTED + 1} more"
    return ", ".join(every)
