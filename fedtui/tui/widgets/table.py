"""Rows in columns: only the columns there is room for, nothing clipped, only changes repainted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rich.cells import cell_len
from textual import events
from textual.binding import BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from fedtui.tui.keymap import LIST_KEYS
from fedtui.tui.lines import Ink, Line, Span, left, right, width_of
from fedtui.tui.widgets.drawn import DrawnList, inked, notice, under
from fedtui.tui.wording import NOTHING

Row = TypeVar("Row")
GUTTER = 2
"""Cells between columns."""
RISING, FALLING = "▴", "▾"
FAINT: Ink = "faint"
ORDERED: Ink = "accent"


class Column(NamedTuple, Generic[Row]):
    """A column: ``rank`` 0 is never dropped; it grows from ``least`` to ``most`` cells.

    Rows can be ordered by ``key`` where there is one: those for which it is None, because nothing
    is known, are last either way. ``falling`` is the way round that one wants first.
    """

    title: str
    rank: int
    least: int
    most: int
    cell: Callable[[Row, int], Line]
    flush_right: bool = False
    key: Callable[[Row], Any] | None = None
    falling: bool = False

    @property
    def name(self) -> str:
        """The title without what aligns it."""
        return self.title.strip()


class Order(NamedTuple):
    """Rows by the column of this name, the largest first where it is ``falling``."""

    name: str
    falling: bool = False

    @property
    def mark(self) -> str:
        """Which way the values go down the screen."""
        return FALLING if self.falling else RISING


def one(text: str, width: int, ink: Ink = "text") -> Line:
    """A cell of one span, at the left."""
    return ((left(text, width), ink),)


def number(text: str, width: int, ink: Ink = "text") -> Line:
    """A cell of one span, at the right."""
    return ((right(text, width), "faint" if text == NOTHING else ink),)


def fitted(columns: Sequence[Column[Row]], width: int) -> tuple[tuple[Column[Row], int], ...]:
    """The columns that fit, each with its width; what is left over widens those that can grow."""
    kept = list(columns)
    while len(kept) > 1 and needed(kept) > width:
        kept.remove(max(kept, key=lambda column: column.rank))
    spare = width - needed(kept)
    widths = [column.least for column in kept]
    while spare > 0 and any(w < c.most for c, w in zip(kept, widths, strict=True)):
        for i, column in enumerate(kept):
            if spare and widths[i] < column.most:
                widths[i] += 1
                spare -= 1
    # A window of a few cells still gets a name, only shorter.
    widths[0] = min(widths[0], max(4, width))
    return tuple(zip(kept, widths, strict=True))


def needed(columns: Sequence[Column[Row]]) -> int:
    """Cells that columns and gutters take at least."""
    return sum(column.least for column in columns) + GUTTER * (len(columns) - 1)


def header(columns: Iterable[tuple[Column[Row], int]], order: Order | None = None) -> Line:
    """The names of the columns, aligned as their cells are; the one that gives the order is marked,
    in the gutter where its name leaves no room."""
    spans: list[Span] = []
    gap = GUTTER
    for column, width in columns:
        text, ink = column.title, FAINT
        if order is not None and order.name == column.name:
            text, ink = order.mark + text if column.flush_right else text + order.mark, ORDERED
        over = max(0, len(text) - width)
        pad = " " * (width - len(text))
        if spans:
            spans.append((" " * (gap - over if column.flush_right else gap), "text"))
        spans.append((pad + text if column.flush_right else text + pad, ink))
        gap = GUTTER if column.flush_right else GUTTER - over
    return tuple(spans)


def arranged(rows: Sequence[Row], columns: Iterable[Column[Row]], order: Order | None) -> list[Row]:
    """``rows`` in order; equal ones as they came, those without a value at the end."""
    column = next((each for each in columns if order and each.name == order.name), None)
    if order is None or column is None or column.key is None:
        return list(rows)
    keys = [(column.key(row), row) for row in rows]
    known = sorted((each for each in keys if each[0] is not None), key=first, reverse=order.falling)
    return [row for _, row in known] + [row for key, row in keys if key is None]


def first(pair: tuple[Any, object]) -> Any:
    """What is ordered by."""
    return pair[0]


def difference(old: Line, new: Line) -> tuple[int, int]:
    """The first cell in which two lines differ, and the one behind the last; by whole spans."""
    width = max(width_of(old), width_of(new))
    start = same(old, new)
    if len(old) != len(new) or width_of(old) != width:
        return start, width
    return start, width - same(old[::-1], new[::-1])


def same(old: Line, new: Line) -> int:
    """Cells of the spans that both lines begin with."""
    cells = 0
    for left_span, right_span in zip(old, new, strict=False):
        if left_span != right_span:
            break
        cells += cell_len(left_span[0])
    return cells


class Table(DrawnList, Generic[Row]):
    """Keeps its rows in place; a cell that changes repaints its row and no other.

    ``identity`` tells rows apart, so that the cursor stays with its row when others come and go.
    """

    BINDINGS: ClassVar[list[BindingType]] = LIST_KEYS
    DEFAULT_CSS = "Table { background: $background; }"

    class Moved(Message):
        """Another row is under the cursor, or the row there has changed."""

        def __init__(self, table: Table[Any]) -> None:
            super().__init__()
            self.table = table

        @property
        def control(self) -> Table[Any]:
            """For ``@on`` selectors."""
            return self.table

        def can_replace(self, message: Message) -> bool:
            """A burst collapses to the newest."""
            return isinstance(message, Table.Moved) and message.table is self.table

    class Opened(Moved):
        """The row under the cursor was chosen by a double click or by enter."""

        def can_replace(self, message: Message) -> bool:
            """Each counts."""
            return False

    class HeaderClicked(Message):
        """Somebody wants the rows in the order of a column."""

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    def __init__(
        self,
        columns: Sequence[Column[Row]],
        identity: Callable[[Row], object],
        *,
        empty: str = "",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self._columns = columns
        self._identity = identity
        self._rows: Sequence[Row] = ()
        self._came: Sequence[Row] = ()
        self.order: Order | None = None
        self._drawn: dict[int, Line] = {}
        self._fitted: tuple[int, tuple[tuple[Column[Row], int], ...]] = (-1, ())
        self._cursor = 0
        self._message = empty

    @property
    def rows(self) -> Sequence[Row]:
        """The rows, first to last."""
        return self._rows

    @property
    def selected(self) -> Row | None:
        """The row under the cursor."""
        return self._rows[self._cursor] if self._cursor < len(self._rows) else None

    def fill(self, rows: Sequence[Row], empty: str = "") -> None:
        """Shows ``rows`` in the order that was chosen; without any, the words of ``empty``."""
        self._came = rows
        if self.order is not None:
            rows = arranged(rows, self._columns, self.order)
        chosen, fresh, before = self.selected, len(self._rows), self._rows
        self._rows = rows
        told, self._message = self._message, empty or self._message
        ids = [self._identity(row) for row in rows]
        if chosen is not None and (key := self._identity(chosen)) in ids:
            self._cursor = ids.index(key)
        self._cursor = min(self._cursor, max(0, len(ids) - 1))
        if fresh != len(ids) or (not ids and told != self._message):
            self._measure()
            self.refresh()
        else:
            self._refresh_changed()
        if rows != before:
            self.post_message(self.Moved(self))

    def order_by(self, name: str) -> None:
        """Shows the rows by the column of this name; the other way round when they are already;
        as they come without a name. The cursor stays with its row, in view."""
        column = self._ordering(name)
        falling = column is not None and column.falling
        if self.order is not None and self.order.name == name:
            falling = not self.order.falling
        self.set_order(name, falling=falling)

    def set_order(self, name: str, *, falling: bool) -> None:
        """Shows the rows by the column of this name, or as they come where there is none."""
        self.order = Order(name, falling) if self._ordering(name) else None
        self.fill(self._came)
        self.action_move(0)

    def _ordering(self, name: str) -> Column[Row] | None:
        return next((each for each in self._columns if each.name == name and each.key), None)

    def choose(self, identity: object) -> None:
        """Moves the cursor to the row with this identity, if there is one."""
        for row, each in enumerate(self._rows):
            if self._identity(each) == identity:
                self.action_move(row - self._cursor)

    def _measure(self) -> None:
        width, height = self.room
        self.virtual_size = Size(width, len(self._rows) + 1 if self._rows else height)

    def on_resize(self) -> None:
        """Chooses the columns for the new width."""
        self._measure()
        self.refresh()

    @property
    def _layout_now(self) -> tuple[tuple[Column[Row], int], ...]:
        width = self.room.width
        if self._fitted[0] != width:
            self._fitted = (width, fitted(self._columns, width))
        return self._fitted[1]

    def _visible(self) -> range:
        first = self.scroll_offset.y
        return range(first, min(len(self._rows), first + max(0, self.room.height - 1)))

    def _refresh_changed(self) -> None:
        top, regions = 1 - self.scroll_offset.y, []
        for row in self._visible():
            old, new = self._drawn.get(row, ()), self._line(row)
            if old != new:
                start, end = difference(old, new)
                regions.append(Region(start, row + top, end - start, 1))
        if regions:
            self.refresh(*regions)

    def _line(self, row: int) -> Line:
        spans: list[Span] = []
        for column, width in self._layout_now:
            if spans:
                spans.append((" " * GUTTER, "text"))
            spans.extend(column.cell(self._rows[row], width))
        return tuple(spans)

    def render_line(self, y: int) -> Strip:
        """The header stays; below it the rows that the scroll position shows."""
        width, height = self.room
        if not self._rows:
            lines = notice(self._message, width, height)
            return inked(self, lines[y] if y < len(lines) else (), width)
        if y == 0:
            return inked(self, header(self._layout_now, self.order), width)
        row = self.scroll_offset.y + y - 1
        if row >= len(self._rows):
            return inked(self, (), width)
        line = self._drawn[row] = self._line(row)
        strip = inked(self, line, width)
        if row == self._cursor and self.has_focus:
            return under(strip, self.get_component_rich_style("list--cursor", partial=True))
        return strip

    def action_move(self, rows: int) -> None:
        """Moves the cursor; a step beyond an end stays at the end."""
        before = self._cursor
        self._cursor = max(0, min(len(self._rows) - 1, self._cursor + rows))
        page = max(1, self.room.height - 1)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + page:
            self.scroll_to(y=self._cursor - page + 1, animate=False, immediate=True)
        self.refresh()
        if self._cursor != before:
            self.post_message(self.Moved(self))

    def action_page(self, pages: int) -> None:
        """Moves the cursor by as many rows as are in view."""
        self.action_move(pages * max(1, self.room.height - 1))

    def action_open(self) -> None:
        """Chooses the row under the cursor."""
        if self._rows:
            self.post_message(self.Opened(self))

    def on_focus(self) -> None:
        """Shows the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Hides the cursor."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Selects the row under the pointer; a second click opens it."""
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            self.action_move(self.scroll_offset.y + offset.y - 1 - self._cursor)
            if event.chain == 2:
                self.action_open()
        elif offset is not None and self._rows and (name := self._ordered_at(offset.x)):
            self.post_message(self.HeaderClicked(name))

    def _ordered_at(self, x: int) -> str:
        """The column at a cell of the header, if rows can be ordered by it."""
        end = 0
        for column, width in self._layout_now:
            end += width + GUTTER
            if x < end:
                return column.name if column.key else ""
        return ""
