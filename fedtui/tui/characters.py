"""Terminals and fonts that know ASCII only: every other character becomes the nearest one."""

from __future__ import annotations

from collections.abc import Mapping

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_PAIRS = (
    "─- ━= │| ┃| ┊: ╌- ╭+ ╮+ ╰+ ╯+ ┌+ ┐+ └+ ┘+ ├+ ┤+ ┬+ ┴+ ┼+ ═= ▔- ▏| ▕| ▊| ▎| ▌| ▐| "
    "▁_ ▂_ ▃_ ▅# ▆# ▇# ▀^ ▄_ █# ▘' ▝' ▖, ▗, ▞/ ▚\\ ▛# ▜# ▙# ▟# ░. ▒: ▓# ▲^ ▼v ▸> ▾v ▴^ ■# □o "
    "●* ○o ◌. ✓v ✔v ✗x ▶> ↑^ ↓v ←< →> ◆@ ·. …~ –- —- ×x •* «< »> ’' ⏎<"
)
ASCII: Mapping[int, str] = {ord(pair[0]): pair[1] for pair in _PAIRS.split()}
BRAILLE = range(0x2800, 0x2900)


def as_ascii(text: str) -> str:
    """``text`` in ASCII, as wide as before."""
    if text.isascii():
        return text
    translated = text.translate(ASCII)
    if translated.isascii():
        return translated
    return "".join(c if c.isascii() else _nearest(c) for c in translated)


def _nearest(char: str) -> str:
    if ord(char) in BRAILLE:
        return " " if char == "\u2800" else "*"
    return "?" * cell_len(char)


class AsciiFilter(LineFilter):
    """Applied to every line on its way to the terminal."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """The same segments in ASCII."""
        return [Segment(as_ascii(text), style, control) for text, style, control in segments]
