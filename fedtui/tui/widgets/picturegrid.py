"""All rounds of one prompt, as large as they all fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from textual.app import ComposeResult
from textual.containers import Container

from fedtui.tui.limits import GRID_PICTURES
from fedtui.tui.lines import Line, cut
from fedtui.tui.widgets.picturerow import GAP, SMALLEST_ROWS, Frame
from fedtui.view import PreviewView

GRID_ROWS = 4
"""Pictures of a table of pictures may be so small: what counts is how they differ."""


class Grid(Container):
    """Frames in reading order, one of them marked, one perhaps pinned."""

    DEFAULT_CSS = """
    Grid { layout: grid; grid-gutter: 0 2; align: center middle; overflow: hidden; }
    Grid > Frame { display: none; }
    Grid > Frame.-shown { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._frames = [Frame() for _ in range(GRID_PICTURES)]
        self._pictures: Sequence[PreviewView] = ()
        self._current = 0
        self._pinned: int | None = None
        self._names: Mapping[int, str] | None = None
        self._columns = 0

    def compose(self) -> ComposeResult:
        """All frames there can ever be; those without a picture are hidden."""
        yield from self._frames

    def show(
        self,
        pictures: Sequence[PreviewView],
        current: int,
        pinned: int | None,
        names: Mapping[int, str] | None = None,
        columns: int = 0,
    ) -> None:
        """Shows as many of ``pictures`` as fit around the one of round ``current``.

        ``names`` stand below the pictures of these rounds, in place of the rounds. With so many
        ``columns`` they lie in rows of that many while all of them fit.
        """
        self._pictures, self._current, self._pinned = pictures, current, pinned
        self._names, self._columns = names, columns
        self.lay_out()

    def on_resize(self) -> None:
        """Chooses how many pictures fit now."""
        self.lay_out()

    def lay_out(self) -> None:
        """Gives every picture its place."""
        width, height = self.size
        shown: Sequence[PreviewView] = ()
        columns, rows = 1, 1
        if self._pictures and width and height:
            count = len(self._pictures)
            columns, rows = self._columns, rows_of(count, self._columns, width, height)
            if count <= GRID_PICTURES and columns and rows >= GRID_ROWS:
                shown = self._pictures
            else:
                columns, rows, room = spaced(min(count, GRID_PICTURES), width, height)
                shown = around(self._pictures, self._current, room)
        self.styles.grid_size_columns = max(1, min(columns, len(shown) or 1))
        self.styles.grid_columns = f"{2 * rows}"
        self.styles.grid_rows = f"{rows + 1}"
        for i, frame in enumerate(self._frames):
            frame.set_class(i < len(shown), "-shown")
            if i < len(shown):
                frame.show(shown[i], rows, False, self._label(shown[i], 2 * rows))

    def _label(self, preview: PreviewView, width: int) -> Line:
        name = f"r{preview.round}"
        if preview.round == 0 and width > 14:
            name = "r0 base"
        if self._names is not None:
            name = cut(self._names.get(preview.round, ""), width - 2)
            mine = name and preview.round == self._current and len(self._pictures) > 1
            return ((f"[{name}]", "accent"),) if mine else ((name, "muted"),)
        pinned = (" pinned", "muted") if preview.round == self._pinned else ("", "muted")
        if preview.round == self._current:
            return ((f"[{name}]", "accent"), (pinned[0], "muted"))
        return ((name, "muted"), (pinned[0], "muted"))


def spaced(count: int, width: int, height: int) -> tuple[int, int, int]:
    """Columns, rows of cells per picture, and how many pictures, for a room in cells.

    As many pictures as there are while each stays large enough to tell them apart.
    """
    for wanted in range(count, 1, -1):
        columns, rows = widest(wanted, width, height)
        if rows >= SMALLEST_ROWS:
            return columns, rows, wanted
    _, rows = widest(1, width, height)
    return 1, rows, 1


def widest(count: int, width: int, height: int) -> tuple[int, int]:
    """The number of columns in which ``count`` square pictures become largest, and their rows."""
    best = (1, 1)
    for columns in range(1, count + 1):
        rows = rows_of(count, columns, width, height)
        if rows > best[1]:
            best = (columns, rows)
    return best


def rows_of(count: int, columns: int, width: int, height: int) -> int:
    """How high each of ``count`` square pictures can be in so many columns; 0 for no column."""
    if not columns:
        return 0
    lines = -(-count // columns)
    return min(height // lines - 1, (width - GAP * (columns - 1)) // columns // 2)


def around(pictures: Sequence[PreviewView], current: int, room: int) -> Sequence[PreviewView]:
    """The first picture, and of the others ``room - 1`` around the current one."""
    if len(pictures) <= room or room < 2:
        return pictures if len(pictures) <= room else [p for p in pictures if p.round == current]
    rest = pictures[1:]
    at = next((i for i, picture in enumerate(rest) if picture.round == current), 0)
    start = max(0, min(len(rest) - (room - 1), at - (room - 1) // 2))
    return [pictures[0], *rest[start : start + room - 1]]
