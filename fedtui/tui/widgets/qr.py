"""A QR code in half blocks, always dark on light: cameras do not read the other way round."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

INK = Style.parse("#000000 on #ffffff")
CELLS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
BORDER = 2
"""Light modules around it; the standard asks for four, cameras are content with two."""


class QR(Widget):
    """Shows ``text`` as the smallest code there is for it."""

    ALLOW_SELECT = False
    DEFAULT_CSS = "QR { width: auto; height: auto; }"

    def __init__(self, text: str) -> None:
        super().__init__()
        self._rows = modules(text)
        self.styles.width = len(self._rows[0])
        self.lines = (len(self._rows) + 1) // 2
        self.styles.height = self.lines

    def render_line(self, y: int) -> Strip:
        """Two rows of modules."""
        upper = self._rows[2 * y] if 2 * y < len(self._rows) else ()
        lower = self._rows[2 * y + 1] if 2 * y + 1 < len(self._rows) else (False,) * len(upper)
        text = "".join(CELLS[pair] for pair in zip(upper, lower, strict=True))
        return Strip([Segment(text, INK)], len(text))


def modules(text: str) -> list[tuple[bool, ...]]:
    """The dark modules of a code, with a light border."""
    import segno  # 20 ms that only the screen of an invite needs

    matrix = segno.make(text, error="l", boost_error=False, micro=False).matrix_iter(border=BORDER)
    return [tuple(bool(module) for module in row) for row in matrix]
