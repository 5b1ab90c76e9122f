"""The ways from this machine to the others: a ring of names, and a line to each that is reached.

Only what this node measures itself is drawn. How two others reach one another it does not know.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from rich.cells import cell_len

from fedtui.tui.facts import flowing
from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, Line, Span, cut, merged, plain, width_of
from fedtui.tui.widgets.drawn import Drawn, notice
from fedtui.tui.widgets.lossplot import BRAILLE, Marker, marker_for
from fedtui.tui.wording import absent, name_of, names_by_id, peer_sign, rtt, short_id
from fedtui.view import NodeView, PeerView

Cells: TypeAlias = tuple[tuple[Span, ...], ...]
LEGEND: tuple[Line, ...] = (
    (("──", "accent"), (" both ways", "muted")),
    (("╌╌", "warning"), (" one way, or via another", "muted")),
    (("·  ·", "faint"), (" not known yet", "muted")),
    (("no line", "faint"), (" not reached", "muted")),
    (("!", "warning"), (" slow", "muted")),
)
MEMBERS_MOST = 24
LABEL_MOST = 30
"""Cells of a name with what is said of the way to it."""
LABEL_SHARE = 0.34
"""Of the width, for a label at most."""
SLOW_MS = 150.0
"""From here on a way counts as slow: a person notices it."""
ALONE = "Nobody else has been met yet."
GONE = frozenset({"LOST", "LEFT"})
DOT = "·"
DASH = 4
"""Braille dots of a dash, and between two."""
SOLID, DASHED, DOTTED = 1, 2, 6
"""Of so many parts of a line, each a dash long, one is drawn."""
SLOW = "!"


class Way(NamedTuple):
    """How a member is reached, in words and in the ``style`` of its line. Colour repeats it."""

    words: str
    ink: Ink
    style: int = DASHED


class Stroke(NamedTuple):
    """A line from one cell to another, each as column and row."""

    start: tuple[int, int]
    end: tuple[int, int]
    ink: Ink
    style: int


class Spot(NamedTuple):
    """A member's place on the ring: where its label begins, and where its line ends."""

    peer: PeerView
    label: Line
    x: int
    row: int
    end: int


def way_to(view: NodeView, peer: PeerView) -> Way | None:
    """How this machine reaches a member; None where it does not."""
    if peer.state in GONE:
        return None
    if peer.reach == "relayed":
        return Way(f"via {names_by_id(view).get(peer.via, short_id(peer.via))}", "warning")
    if peer.reach == "one_way":
        return Way("one way", "warning")
    if peer.reach == "direct":
        if peer.rtt_ms is not None and peer.rtt_ms >= SLOW_MS:
            return Way(f"{SLOW} {rtt(peer.rtt_ms)}", "warning", SOLID)
        return Way(rtt(peer.rtt_ms), "accent", SOLID)
    return Way("" if peer.rtt_ms is None else rtt(peer.rtt_ms), "faint", DOTTED)


class NetworkMap(Drawn):
    """Me in the middle, the others around, as they stand in the room's list."""

    def draw(self, feed: Feed, width: int, height: int) -> Sequence[Line]:
        """The ring, and below it what the lines mean."""
        view = feed.view
        others = [peer for peer in view.peers if not peer.me] if view else []
        legend = flowing(LEGEND, width, "   ")
        rows = max(1, height - len(legend))
        shown = chosen(others, min(MEMBERS_MOST, 2 * rows))
        some: Line = ((f" to {len(shown)} of {len(others)}", "text"),)
        title: Line = (("Ways from this machine", "muted"),)
        self.entitle((*title, *some) if len(shown) < len(others) else title)
        if view is None or not others:
            return notice(absent(feed) or ALONE, width, height)
        return [*drawn(view, shown, width, rows, marker_for(self.app)), *legend]


def drawn(
    view: NodeView, shown: Sequence[PeerView], width: int, rows: int, marker: Marker
) -> list[Line]:
    """All lines of the map."""
    spots = ring(view, shown, width, rows)
    centre = width // 2, rows // 2
    ends = {spot.peer.id: (spot.end, spot.row) for spot in spots}
    strokes = []
    # What needs attention is drawn over what does not.
    for spot in sorted(spots, key=lambda spot: trouble(spot.peer)):
        way = way_to(view, spot.peer)
        if way is not None:
            start = ends.get(spot.peer.via, centre) if spot.peer.reach == "relayed" else centre
            strokes.append(Stroke(start, (spot.end, spot.row), way.ink, way.style))
    mine = cut(next((name_of(peer) for peer in view.peers if peer.me), plain(view.name)), 20)
    label = f" {mine} (you) "
    at = max(0, centre[0] - cell_len(label) // 2)
    labels: list[list[tuple[int, Line]]] = [[] for _ in range(rows)]
    labels[centre[1]].append((at, ((label, "strong"),)))
    for spot in spots:
        labels[spot.row].append((spot.x, spot.label))
    dots = painted(width, rows, marker, tuple(strokes))
    return [overlaid(dots[row], labels[row]) for row in range(rows)]


def trouble(peer: PeerView) -> int:
    """0 where nothing is remarkable."""
    return 2 if peer.state in GONE else int(peer.reach in ("one_way", "relayed"))


def chosen(others: Sequence[PeerView], most: int) -> list[PeerView]:
    """As many as fit, those with trouble before all, in the order in which they came."""
    kept = {peer.id for peer in sorted(others, key=lambda peer: -trouble(peer))[:most]}
    return [peer for peer in others if peer.id in kept]


def ring(view: NodeView, peers: Sequence[PeerView], width: int, rows: int) -> list[Spot]:
    """Places around the middle, clockwise from the upper right. The labels of a side keep a row
    each, so no two meet."""
    right = (len(peers) + 1) // 2
    most = max(8, min(LABEL_MOST, int(width * LABEL_SHARE)))
    spots = []
    for i, peer in enumerate(peers):
        on_right = i < right
        count = right if on_right else len(peers) - right
        at = i if on_right else len(peers) - 1 - i
        row = min(rows - 1, int((at + 0.5) * rows / count))
        # An ellipse a little higher than the panel: at its poles there would be no room for names.
        height = (2 * (row + 0.5) / rows - 1) * 0.9
        reach = math.sqrt(1 - height * height) * (width / 2 - most - 1)
        end = int(width / 2 + (reach if on_right else -reach))
        label = label_of(view, peer, most, on_right)
        size = width_of(label)
        x = end + 1 if on_right else end - size
        spots.append(Spot(peer, label, max(0, min(width - size, x)), row, end))
    return spots


def label_of(view: NodeView, peer: PeerView, most: int, on_right: bool) -> Line:
    """A member's sign, name, and the way to it where there is room; the sign is at the line."""
    sign, way = peer_sign(peer), way_to(view, peer)
    told = sign.word.lower() if way is None else way.words
    ink: Ink = "faint" if way is None else "muted" if way.ink == "accent" else way.ink
    room = most - 3
    slow = SLOW if told.startswith(SLOW) else ""
    name = cut(name_of(peer), room - len(slow))
    left_over = room - cell_len(name)
    if cell_len(told) > left_over:  # A part of a number would be another number.
        told = cut(told, left_over) if told.startswith("via ") and left_over > 5 else slow
    parts: Line = ((sign.glyph, sign.ink), (f" {name} ", "text"), (told, ink))
    return parts if on_right else parts[::-1]


@lru_cache(4)
def painted(width: int, rows: int, marker: Marker, strokes: tuple[Stroke, ...]) -> Cells:
    """The strokes as rows of cells. Ways change rarely, while the names' figures change often."""
    fine = marker == "braille"
    across, down = (2, 4) if fine else (1, 1)
    bits = [[0] * width for _ in range(rows)]
    inks: list[list[Ink]] = [["faint"] * width for _ in range(rows)]
    dash = DASH if fine else 1
    for stroke in strokes:
        x0, y0 = (stroke.start[0] + 0.5) * across, (stroke.start[1] + 0.5) * down
        x1, y1 = (stroke.end[0] + 0.5) * across, (stroke.end[1] + 0.5) * down
        steps = int(max(abs(x1 - x0), abs(y1 - y0), 1))
        for i in range(steps + 1):
            if i // dash % stroke.style:
                continue
            x, y = int(x0 + (x1 - x0) * i / steps), int(y0 + (y1 - y0) * i / steps)
            column, row = x // across, y // down
            if 0 <= column < width and 0 <= row < rows:
                bits[row][column] |= BRAILLE[y % 4][x % 2] if fine else 1
                inks[row][column] = stroke.ink
    return tuple(
        tuple((cell_of(bits[row][x], fine), inks[row][x]) for x in range(width))
        for row in range(rows)
    )


def cell_of(bits: int, fine: bool) -> str:
    """A cell of dots."""
    if not bits:
        return " "
    return chr(0x2800 + bits) if fine else DOT


def overlaid(cells: Sequence[Span], labels: Iterable[tuple[int, Line]]) -> Line:
    """A row of cells with labels over it, the first of those that meet."""
    spans: list[Span] = []
    at = 0
    for x, label in sorted(labels, key=lambda each: each[0]):
        if x >= at:
            spans += [*merged(cells[at:x]), *label]
            at = x + width_of(label)
    return (*spans, *merged(cells[at:]))
