"""The training loss of this machine, step by step over all its rounds, and each round's mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Line, Span, joined, merged, plain, width_of
from fedtui.tui.look import Look
from fedtui.tui.steps import means, stretches
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
DIRECTION = "lower is better"
TITLE_EDGES = 2
"""Cells of the frame's corners, which a title leaves free."""
TALL = 7
"""From this many rows on there is room for the rounds below the curve."""
MEAN = "─"
"""The mean of a round, behind the curve; its value stands below."""


class LossPlot(Drawn, can_focus=True):
    """A curve of dots: eight to a cell in braille, four in blocks for fonts that lack braille."""

    def draw(self, feed: Feed, width: int, height: int) -> Sequence[Line]:
        """The plot, or what will be here."""
        view = feed.view
        if view is None:
            self.entitle((("My loss", "muted"),))
            return []
        told = title(view, width, lined=height >= TALL)
        trainer = trainer_words(view.trainer)
        self.entitle(told, below(told, trainer, width) if view.losses else trainer)
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
        return "the mean loss of the newest round", f"{view.losses[-1].loss:.6f}"


def marker_for(app: object) -> Marker:
    """Braille, unless the person's font lacks it."""
    look: Look = getattr(app, "look", Look())
    return "braille" if look.characters == "unicode" else "block"


def title(view: NodeView, width: int, *, lined: bool = True) -> Line:
    """What the curve and the line are, whether it gets better, and which way that is: as much of it
    as there is room for. The newest value stands in the table of members, and nowhere else."""
    if not view.losses:
        return (("My loss", "muted"),)
    so_far = " so far" if view.trainer.state == "training" else ""
    told: Line = ()
    for curve, line, since, rest in (
        ("My loss per step", "mean of each round", "since round ", f"{so_far}, {DIRECTION}"),
        ("My loss per step", "round mean", "since r", f"{so_far}, {DIRECTION}"),
        ("My loss per step", "round mean", "since r", so_far),
        ("My loss per step", "mean", "since r", ""),
        ("My loss", "mean", "since r", ""),
    ):
        drawn = f"{MEAN} " if lined else ""
        key: Line = ((f"{curve}, ", "muted"), (drawn, "text"), (line, "muted"))
        told = (*key, *trend(view.losses, since), (rest, "muted"))
        if width_of(told) <= width - TITLE_EDGES:
            break
    return told


def below(told: Line, trainer: Line, width: int) -> Line:
    """What the trainer does; before it which way is better, where the title has no room for it."""
    words = joined([((DIRECTION, "muted"),), trainer])
    said = any(DIRECTION in text for text, _ in told)
    return trainer if said or width_of(words) > width - TITLE_EDGES else words


def trend(points: Sequence[LossPoint], since: str) -> Line:
    """The newest round's mean against the first round's; nothing before there are two."""
    every = means(points)
    if len(every) < 2:
        return ()
    oldest, *_, last = every
    first, newest = every[oldest], every[last]
    change = round(100 * (newest - first) / first) if first > 0 else 0
    if not change:
        return ((f" as {since.replace('since', 'in')}{oldest}", "muted"),)
    sign = "↓" if change < 0 else "↑"
    told = f" {sign} {abs(change)} % {since}{oldest}"
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
    """The loss of the steps in ``width`` x ``height`` cells, with its highest and newest value at
    the left and each round's mean across it and below."""
    across, down = (2, 4) if marker == "braille" else (2, 2)
    rows = height - 1 if height >= TALL else height
    columns = width - LABEL
    walked = stretches(points)
    if columns < 4 or rows < 2 or not walked:
        return []
    wide, high = columns * across, rows * down
    began, reach_x = walked[0].at, max(1, walked[-1].at - walked[0].at)
    places = [(each.at - began) * (wide - 1) // reach_x for each in walked]
    edges = boundaries([each.round for each in walked], places, across)
    xs, values = averaged(places, [each.loss for each in walked])
    low, top = min(values), max(values)
    reach = (top - low) or 1.0
    ys = [round((top - value) / reach * (high - 1)) for value in values]
    dots = traced(xs, ys)
    cells = [[0] * columns for _ in range(rows)]
    for x, y in dots:
        bit = BRAILLE[y % 4][x % 2] if marker == "braille" else 1 << (y % 2 * 2 + x % 2)
        cells[y // down][x // across] |= bit
    labels = side_labels(rows, low, top, values[-1], ys[-1] // down)
    every = means(points)
    levels = [
        (edge, round((top - every[number]) / reach * (high - 1)) // down) for edge, number in edges
    ]
    ends = [*(edge for edge, _ in edges[1:]), columns]
    lines = []
    for y in range(rows):
        row = curve_row(cells[y], [edge for edge, _ in edges if edge], marker)
        for (edge, level), end in zip(levels, ends, strict=True):
            if level == y and rows < height:
                for x in range(edge + bool(edge), end):
                    if not cells[y][x]:
                        row[x] = (MEAN, "text")
        lines.append((labels[y], *merged(row)))
    if rows < height:
        lines.append(axis(edges, every, columns))
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


def boundaries(rounds: Sequence[int], xs: Sequence[int], across: int) -> list[tuple[int, int]]:
    """Where each round starts: (cell column, round)."""
    found: list[tuple[int, int]] = []
    for number, x in zip(rounds, xs, strict=True):
        if not found or number != found[-1][1]:
            found.append((x // across, number))
    return found


def curve_row(cells: Sequence[int], edges: Sequence[int], marker: Marker) -> list[Span]:
    """One row of the plot; the rounds' separators show where the curve does not pass."""
    found: list[Span] = [("┊" if x in edges else " ", "faint") for x in range(len(cells))]
    for x, bits in enumerate(cells):
        if bits:
            found[x] = (chr(0x2800 + bits) if marker == "braille" else BLOCKS[bits], "accent")
    return found


def side_labels(rows: int, low: float, top: float, last: float, at: int) -> list[Span]:
    """The highest value above, the lowest below, the newest beside the curve's end if apart."""
    labels: list[Span] = [(" " * LABEL, "text")] * rows
    labels[0] = (f"{loss(top):>{LABEL - 1}} ", "muted")
    if rows > 1:
        labels[-1] = (f"{loss(low):>{LABEL - 1}} ", "muted")
    if 1 < at < rows - 2:
        labels[at] = (f"{loss(last):>{LABEL - 1}} ", "text")
    return labels


def axis(edges: Sequence[tuple[int, int]], every: Mapping[int, float], columns: int) -> Line:
    """The rounds under the places where they start, with their means as far as there is room."""
    text = ""
    ends = [*(x for x, _ in edges[1:]), columns + 1]
    for (x, number), end in zip(edges, ends, strict=True):
        label, mean = f"r{number}", f"r{number} {loss(every[number])}"
        if x + len(mean) < end:
            label = mean
        if (x >= len(text) + 1 or not text) and x + len(label) <= columns:
            text = text.ljust(x) + label
    return ((" " * LABEL, "text"), (text, "faint"))
