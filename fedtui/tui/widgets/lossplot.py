"""The training loss of this machine over all its rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, Line, Span, plain, width_of
from fedtui.tui.look import Look
from fedtui.tui.widgets.drawn import Drawn, notice
from fedtui.tui.wording import clock, loss
from fedtui.view import LossPoint, NodeView, TrainerView

Marker = Literal["braille", "block"]

EMPTY = "Your training loss appears here with the first steps of a round."
WATCHING = (
    "This machine watches and does not train; the table above shows the losses of the others."
)
BRAILLE = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of a braille cell by row and column."""
BLOCKS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
LABEL = 7
"""Cells for a loss and a blank."""
TITLE_EDGES = 2
"""Cells of the frame's corners, which a title leaves free."""
TALL = 7
"""From this many rows on there is room for the rounds below the curve."""


class LossPlot(Drawn, can_focus=True):
    """A curve of dots: eight to a cell in braille, four in blocks for fonts that lack braille."""

    def draw(self, feed: Feed, width: int, height: int) -> Sequence[Line]:
        """The plot, or what will be here."""
        view = feed.view
        if view is None:
            self.entitle((("My loss", "muted"),))
            return []
        self.entitle(title(view, width), trainer_words(view.trainer))
        points = [point for point in view.losses if math.isfinite(point.loss)]
        if not points:
            watching = view.role == "observer"
            return notice(WATCHING if watching else EMPTY, width, height)
        return plot(points, width, height, marker_for(self.app))

    def copy_value(self) -> tuple[str, str] | None:
        """The newest loss."""
        view = self.feed.view
        if view is None or not view.losses:
            return None
        return "the newest loss", f"{view.losses[-1].loss:.6f}"


def marker_for(app: object) -> Marker:
    """Braille, unless the person's font lacks it."""
    look: Look = getattr(app, "look", Look())
    return "braille" if look.characters == "unicode" else "block"


def title(view: NodeView, width: int) -> Line:
    """The panel's name, whether it gets better, and which way that is. The newest value stands in
    the table of members, and nowhere else."""
    name: Line = (("My loss", "muted"),)
    if not view.losses:
        return name
    direction: Line = ((", lower is better", "muted"),)
    for since in ("since round ", "since r"):
        told = (*name, *trend(view.losses, since), *direction)
        if width_of(told) <= width - TITLE_EDGES:
            return told
    return (*name, *trend(view.losses, "since r"))


def trend(points: Sequence[LossPoint], since: str) -> Line:
    """The newest round's mean against the first round's; nothing before there are two."""
    finite = [point for point in points if math.isfinite(point.loss)]
    if not finite or finite[0].round == finite[-1].round:
        return ()
    first, newest = (
        fmean(point.loss for point in finite if point.round == number)
        for number in (finite[0].round, finite[-1].round)
    )
    change = round(100 * (newest - first) / first) if first > 0 else 0
    if not change:
        return ((f" as {since.replace('since', 'in')}{finite[0].round}", "muted"),)
    sign = "↓" if change < 0 else "↑"
    told = f" {sign} {abs(change)} % {since}{finite[0].round}"
    return ((told, "ok" if change < 0 else "warning"),)


def trainer_words(trainer: TrainerView) -> Line:
    """What the trainer process does, and on what."""
    if trainer.state == "off":
        return ()
    words = plain(f"{trainer.device} {trainer.state}")
    if trainer.state == "loading":
        words += f" {clock(trainer.since_s)}"
    return ((words, "error" if trainer.state == "failed" else "muted"),)


def plot(points: Sequence[LossPoint], width: int, height: int, marker: Marker) -> list[Line]:
    """The curve in ``width`` x ``height`` cells, with its highest and newest value at the left."""
    across, down = (2, 4) if marker == "braille" else (2, 2)
    rows = height - 1 if height >= TALL else height
    columns = width - LABEL
    if columns < 4 or rows < 2:
        return []
    wide, high = columns * across, rows * down
    places = [i * (wide - 1) // max(1, len(points) - 1) for i in range(len(points))]
    edges = boundaries(points, places, across)
    xs, values = averaged(places, [point.loss for point in points])
    low, top = min(values), max(values)
    reach = (top - low) or 1.0
    ys = [round((top - value) / reach * (high - 1)) for value in values]
    dots = traced(xs, ys)
    cells = [[0] * columns for _ in range(rows)]
    for x, y in dots:
        bit = BRAILLE[y % 4][x % 2] if marker == "braille" else 1 << (y % 2 * 2 + x % 2)
        cells[y // down][x // across] |= bit
    labels = side_labels(rows, low, top, values[-1], ys[-1] // down)
    lines = [
        (labels[y], *row_spans(cells[y], [x for x, _ in edges if x], marker)) for y in range(rows)
    ]
    if rows < height:
        lines.append(axis(edges, columns))
    return lines


def averaged(places: Sequence[int], values: Sequence[float]) -> tuple[list[int], list[float]]:
    """One value per column of dots, the mean of those that fall on it: the noise is in between."""
    columns: dict[int, list[float]] = {}
    for x, value in zip(places, values, strict=True):
        columns.setdefault(x, []).append(value)
    return list(columns), [sum(column) / len(column) for column in columns.values()]


def traced(xs: Sequence[int], ys: Sequence[int]) -> set[tuple[int, int]]:
    """The dots of the lines from each point to the next."""
    dots = {(xs[0], ys[0])}
    for x0, y0, x1, y1 in zip(xs, ys, xs[1:], ys[1:], strict=False):
        n = max(abs(x1 - x0), abs(y1 - y0), 1)
        dots |= {(x0 + (x1 - x0) * i // n, y0 + (y1 - y0) * i // n) for i in range(n + 1)}
    return dots


def boundaries(
    points: Sequence[LossPoint], xs: Sequence[int], across: int
) -> list[tuple[int, int]]:
    """Where each round starts: (cell column, round)."""
    found: list[tuple[int, int]] = []
    for point, x in zip(points, xs, strict=True):
        if not found or point.round != found[-1][1]:
            found.append((x // across, point.round))
    return found


def row_spans(cells: Sequence[int], edges: Sequence[int], marker: Marker) -> list[Span]:
    """One row of the plot; the rounds' separators show where the curve does not pass."""
    spans: list[Span] = []
    text, ink = "", "accent"
    for x, bits in enumerate(cells):
        if bits:
            char, kind = (chr(0x2800 + bits) if marker == "braille" else BLOCKS[bits]), "accent"
        elif x in edges:
            char, kind = "┊", "faint"
        else:
            char, kind = " ", ink
        if kind != ink and text:
            spans.append((text, as_ink(ink)))
            text = ""
        text, ink = text + char, kind
    spans.append((text, as_ink(ink)))
    return spans


def as_ink(name: str) -> Ink:
    """Narrows the two inks of the plot for the type checker."""
    return "faint" if name == "faint" else "accent"


def side_labels(rows: int, low: float, top: float, last: float, at: int) -> list[Span]:
    """The highest value above, the lowest below, the newest beside the curve's end if apart."""
    labels: list[Span] = [(" " * LABEL, "text")] * rows
    labels[0] = (f"{loss(top):>{LABEL - 1}} ", "muted")
    if rows > 1:
        labels[-1] = (f"{loss(low):>{LABEL - 1}} ", "muted")
    if 1 < at < rows - 2:
        labels[at] = (f"{loss(last):>{LABEL - 1}} ", "text")
    return labels


def axis(edges: Sequence[tuple[int, int]], columns: int) -> Line:
    """The names of the rounds under the places where they start, as far as there is room."""
    text = ""
    for x, number in edges:
        label = f"r{number}"
        if (x >= len(text) + 1 or not text) and x + len(label) <= columns:
            text = text.ljust(x) + label
    return ((" " * LABEL, "text"), (text, "faint"))
