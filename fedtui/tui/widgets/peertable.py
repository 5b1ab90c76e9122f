"""The members as a table: one row each, only the columns there is room for, nothing clipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len
from textual import events
from textual.geometry import Region, Size
from textual.strip import Strip

from fedtui.tui.keymap import LIST_KEYS
from fedtui.tui.lines import DOT, Ink, Line, Span, cut_words, left, right
from fedtui.tui.widgets.drawn import DrawnList, inked, notice, under
from fedtui.tui.wording import CROWN, NOTHING, ago, loss, name_of, peer_sign, rtt
from fedtui.view import PeerView

EMPTY = "Nobody here yet. Members appear when their machines and this one have found each other."
CONNECTING = "Connecting to the node…"
GUTTER = 2
"""Cells between columns."""


class Column(NamedTuple):
    """A column: ``rank`` 0 is never dropped; it grows from ``least`` to ``most`` cells."""

    title: str
    rank: int
    least: int
    most: int
    cell: Callable[[PeerView, int], Line]
    flush_right: bool = False


def one(text: str, width: int, ink: Ink = "text") -> Line:
    """A cell of one span, at the left."""
    return ((left(text, width), ink),)


def number(text: str, width: int, ink: Ink = "text") -> Line:
    """A cell of one span, at the right."""
    return ((right(text, width), "faint" if text == NOTHING else ink),)


def name_cell(peer: PeerView, width: int) -> Line:
    """The crown of the aggregator, the name, and which one is me."""
    mark: Span = (f"{CROWN} ", "accent") if peer.aggregator else ("  ", "text")
    mine = " (you)" if peer.me else ""
    label = left(name_of(peer), width - 2 - len(mine)).rstrip()
    room = width - 2 - cell_len(label)
    return (mark, (label, "strong" if peer.me else "text"), (left_pad(mine, room), "muted"))


def left_pad(text: str, width: int) -> str:
    """``text`` and blanks up to ``width``; keeps its leading blank."""
    return text + " " * (width - len(text))


def state_cell(peer: PeerView, width: int) -> Line:
    """Glyph and word."""
    sign = peer_sign(peer)
    return ((left(f"{sign.glyph} {sign.word}", width), sign.ink),)


def progress_cell(peer: PeerView, width: int) -> Line:
    """A bar and a percentage; heavy is done, light is ahead."""
    if not peer.steps:
        return ((" " * (width - 1), "text"), (NOTHING, "faint"))
    bar = width - 5
    done = int(bar * peer.progress)
    ink: Ink = "ok" if peer.progress >= 1 else "accent"
    if peer.state in ("SUSPECT", "LOST", "LEFT"):
        ink = "muted"
    percent = f"{int(100 * peer.progress):4}%"
    return (("━" * done, ink), ("─" * (bar - done), "faint"), (percent, "text"))


def tick(yes: bool, width: int) -> Line:
    """Done or not yet."""
    return ((left("✓", width), "ok") if yes else (left(NOTHING, width), "faint"),)


COLUMNS = (
    Column("  name", 0, 14, 30, name_cell),
    Column("state", 1, 9, 9, state_cell),
    Column("progress", 2, 12, 25, progress_cell),
    Column("loss", 3, 6, 6, lambda p, w: number(loss(p.loss), w), True),
    Column("samples", 5, 7, 7, lambda p, w: number(count_of(p), w), True),
    Column("sent", 8, 4, 4, lambda p, w: tick(p.contributed, w)),
    Column("voted", 9, 5, 5, lambda p, w: tick(p.voted, w)),
    Column("seen", 4, 6, 6, lambda p, w: number(NOTHING if p.me else ago(p.last_seen_s), w), True),
    Column("rtt", 7, 6, 6, lambda p, w: number(NOTHING if p.me else rtt(p.rtt_ms), w), True),
    Column(
        "device", 6, 10, 18, lambda p, w: one(cut_words(p.device, w, "") or NOTHING, w, "muted")
    ),
    Column("role", 10, 11, 11, lambda p, w: one(p.role, w, "muted")),
    Column("id", 11, 9, 9, lambda p, w: one(p.short, w, "muted")),
    Column("address", 12, 21, 27, lambda p, w: one(p.address or NOTHING, w, "muted")),
)


def count_of(peer: PeerView) -> str:
    """Samples, or that they are not known."""
    return NOTHING if peer.samples is None else f"{min(peer.samples, 9_999_999)}"


@lru_cache(8)
def fitted(width: int) -> tuple[tuple[Column, int], ...]:
    """The columns that fit, each with its width; what is left over widens those that can grow."""
    kept = list(COLUMNS)
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


def needed(columns: list[Column]) -> int:
    """Cells that columns and gutters take at least."""
    return sum(column.least for column in columns) + GUTTER * (len(columns) - 1)


class PeerTable(DrawnList):
    """Keeps its rows in place; a cell that changes repaints its row and no other."""

    BINDINGS = LIST_KEYS
    DEFAULT_CSS = "PeerTable { background: $background; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._peers: tuple[PeerView, ...] = ()
        self._drawn: dict[int, Line] = {}
        self._cursor = 0
        self._message = CONNECTING

    @property
    def peers(self) -> tuple[PeerView, ...]:
        """The rows, me first."""
        return self._peers

    @property
    def selected(self) -> PeerView | None:
        """The member under the cursor."""
        return self._peers[self._cursor] if self._cursor < len(self._peers) else None

    def watch_feed(self) -> None:
        """Repaints the rows in view that read differently now."""
        view = self.feed.view
        chosen = self.selected
        fresh = len(self._peers)
        self._peers = tuple(sorted(view.peers, key=lambda p: not p.me)) if view else ()
        self._message = EMPTY if view else CONNECTING
        ids = [peer.id for peer in self._peers]
        if chosen and chosen.id in ids:
            self._cursor = ids.index(chosen.id)
        self._cursor = min(self._cursor, max(0, len(ids) - 1))
        self.entitle(self._title())
        if fresh != len(ids):
            self._measure()
            self.refresh()
            return
        self._refresh_changed()

    def _title(self) -> Line:
        if not self._peers:
            return (("Peers", "muted"),)
        words: list[Span] = [("Peers ", "muted"), (f"{len(self._peers)}", "text")]
        tally = Counter(peer_sign(peer).word for peer in self._peers)
        told: tuple[tuple[str, str, Ink], ...] = (
            ("TRAIN", "training", "accent"),
            ("SUSPECT", "suspect", "warning"),
            ("LOST", "lost", "error"),
            ("LEFT", "left", "muted"),
            ("UNSEEN", "not seen yet", "muted"),
        )
        for state, word, ink in told:
            if tally[state]:
                words += [DOT, (f"{tally[state]} {word}", ink)]
        return tuple(words)

    def _measure(self) -> None:
        width, height = self.room
        self.virtual_size = Size(width, len(self._peers) + 1 if self._peers else height)

    def on_resize(self) -> None:
        """Chooses the columns for the new width."""
        self._measure()
        self.refresh()

    def _visible(self) -> range:
        first = self.scroll_offset.y
        return range(first, min(len(self._peers), first + max(0, self.room.height - 1)))

    def _refresh_changed(self) -> None:
        changed = [row for row in self._visible() if self._drawn.get(row) != self._line(row)]
        top = 1 - self.scroll_offset.y
        if changed:
            self.refresh(*(Region(0, row + top, self.room.width, 1) for row in changed))

    def _line(self, row: int) -> Line:
        spans: list[Span] = []
        for column, width in fitted(self.room.width):
            if spans:
                spans.append((" " * GUTTER, "text"))
            spans.extend(column.cell(self._peers[row], width))
        return tuple(spans)

    def render_line(self, y: int) -> Strip:
        """The header stays; below it the rows that the scroll position shows."""
        width, height = self.room
        if not self._peers:
            lines = notice(self._message, width, height)
            return inked(self, lines[y] if y < len(lines) else (), width)
        if y == 0:
            return inked(self, header(fitted(width)), width)
        row = self.scroll_offset.y + y - 1
        if row >= len(self._peers):
            return inked(self, (), width)
        line = self._drawn[row] = self._line(row)
        strip = inked(self, line, width)
        if row == self._cursor and self.has_focus:
            return under(strip, self.get_component_rich_style("list--cursor", partial=True))
        return strip

    def action_move(self, rows: int) -> None:
        """Moves the cursor; a step beyond an end stays at the end."""
        self._cursor = max(0, min(len(self._peers) - 1, self._cursor + rows))
        page = max(1, self.room.height - 1)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False, immediate=True)
        elif self._cursor >= top + page:
            self.scroll_to(y=self._cursor - page + 1, animate=False, immediate=True)
        self.refresh()

    def action_page(self, pages: int) -> None:
        """Moves the cursor by as many rows as are in view."""
        self.action_move(pages * max(1, self.room.height - 1))

    def on_focus(self) -> None:
        """Shows the cursor."""
        self.refresh()

    def on_blur(self) -> None:
        """Hides the cursor."""
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Selects the row under the pointer."""
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0:
            self.action_move(self.scroll_offset.y + offset.y - 1 - self._cursor)

    def copy_value(self) -> tuple[str, str] | None:
        """The whole id of the member under the cursor: the short one is for eyes only."""
        peer = self.selected
        return (f"the id of {name_of(peer)}", peer.id) if peer else None


def header(columns: Iterable[tuple[Column, int]]) -> Line:
    """The names of the columns, aligned as their cells are."""
    spans: list[Span] = []
    for column, width in columns:
        if spans:
            spans.append((" " * GUTTER, "text"))
        text = column.title
        pad = " " * (width - len(text))
        spans.append((pad + text if column.flush_right else text + pad, "faint"))
    return tuple(spans)
