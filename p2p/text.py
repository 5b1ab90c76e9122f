"""Text that came from a peer, made harmless before anything stores or shows it.

A name can carry terminal escapes, direction overrides, line breaks and invisible letters; a
terminal, a log file and a person reading a question are all attacked through it.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from p2p.errors import ProtocolError
from p2p.limits import MAX_NAME_CELLS, MAX_NAME_CHARS

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_HIDDEN_LETTERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters of visible categories that draw nothing: fillers, the joiner, the empty braille."""
_MAX_MARKS_IN_A_ROW: Final = 2


def clean_text(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Returns ``text`` as one line of at most ``limit`` visible characters, in NFC.

    Control, format, surrogate, private, unassigned and separator characters are dropped, blanks
    collapsed, stacked accents thinned out, and the result cut to 40 terminal cells as well (for
    the default limit; in proportion for others). Applying it twice changes nothing.

    Raises:
        ProtocolError: nothing visible is left.
    """
    cells = limit * MAX_NAME_CELLS // MAX_NAME_CHARS
    # Bounds the work: everything past this is cut anyway unless it hides behind dropped ones.
    text = text[: 16 * limit]
    visible = "".join(" " if c.isspace() else c for c in text if _is_shown(c) or c.isspace())
    composed = unicodedata.normalize("NFC", " ".join(visible.split()))
    result = _cut(composed, limit, cells).strip()
    if not result:
        raise ProtocolError("a text has no visible character")
    return result


def cell_width(text: str) -> int:
    """Terminal cells that ``text`` takes: 2 for wide characters, 0 for combining ones."""
    return sum(_cells(c) for c in text)


def _is_shown(char: str) -> bool:
    return unicodedata.category(char) not in _HIDDEN_CATEGORIES and char not in _HIDDEN_LETTERS


def _cells(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def _cut(text: str, limit: int, cells: int) -> str:
    kept: list[str] = []
    width = marks = 0
    for char in text:
        is_mark = unicodedata.category(char) in {"Mn", "Me"}
        marks = marks + 1 if is_mark else 0
        if marks > _MAX_MARKS_IN_A_ROW or (is_mark and not kept):
            continue
        width += _cells(char)
        if len(kept) == limit or width > cells:
            break
        kept.append(char)
    return "".join(kept)
