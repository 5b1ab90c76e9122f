"""How a round went, member by member, along one axis of time: a lane each, figures beside it.

Every mark is a moment that the node has noted; what it did not see is left out or said to be not
known. Marks that fall into one cell stand side by side, the figures tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from fedtui.tui.facts import flowing
from fedtui.tui.lines import Ink, Line, Span, left, merged, plain, right, wrapped
from fedtui.tui.wording import AGGREGATOR, NOTHING, clock
from fedtui.view import LaneView, NodeView, TimesView

Name = Callable[[str], str]

TRAINS, SENT, FETCHED, REFUSED, AGREED, SIGNED = "━", "↑", "╌", "✗", "✓", "■"
LEGEND: tuple[tuple[str, str, Ink], ...] = (
    (TRAINS, "trains", "accent"),
    (SENT, "hands in", "text"),
    (FETCHED, "until checked here", "muted"),
    (AGREED, "agrees", "ok"),
    (SIGNED, "signs", "ok"),
)
ABSENT = (
    "Not known: this machine was not there, or it has been long ago. It only notes what it sees "
    "itself."
)
NAME = (10, 18)
"""Cells for a name, at least and at most."""
LANE = 30
"""Cells of a lane, at least, before there are figures beside it."""
FIGURE = 8
"""Cells of a figure, with the gap before it."""
MARKS = 3
"""Cells behind the axis, for marks that share the last one."""
TICK = 9
"""Cells from one tick to the next, at least."""
IDLE_SHARE = 0.3
"""Of the time, from which on a round that nobody has begun is left out."""
STEPS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
HEARD_S = 4.0
"""Members say about once a second that they train, and it takes gossip a while to bring it."""
GROWTH = 6
"""The axis of an open round grows by this part of itself, so that it stands still in between."""


class Axis(NamedTuple):
    """Seconds from ``start`` to ``end`` over ``width`` cells."""

    start: float
    end: float
    width: int

    def cell(self, seconds: float) -> int:
        """Where a moment lies; one outside lies at the end."""
        share = (seconds - self.start) / max(0.01, self.end - self.start)
        return max(0, min(self.width - 1, int(share * self.width)))


class Figure(NamedTuple):
    """A column beside the lanes."""

    title: str
    told: Callable[[LaneView], str]


FIGURES = (
    Figure("sent", lambda lane: moment(lane.sent)),
    Figure("agrees", lambda lane: moment(lane.agreed)),
    Figure("signs", lambda lane: moment(lane.signed)),
    Figure("loss", lambda lane: NOTHING if lane.loss is None else f"{lane.loss:.3f}"),
)


def moment(seconds: float | None) -> str:
    """A time in a round in at most seven characters."""
    if seconds is None:
        return NOTHING
    return f"{seconds:.1f} s" if seconds < 100 else clock(seconds)


def times_of(view: NodeView, number: int) -> TimesView | None:
    """The times of a round, where the view has them."""
    return next((times for times in view.times if times.round == number), None)


def timeline(
    view: NodeView, times: TimesView, aggregator: str, took_part: Iterable[str], width: int
) -> list[Line]:
    """The lanes of a round, the axis above and what the marks mean below.

    ``took_part`` are members who are known to have had a part, seen or not.
    """
    lanes = in_order(view, times, took_part)
    names = {peer.id: plain(peer.name) for peer in view.peers}

    def name(peer: str) -> str:
        mine = " (you)" if peer == view.id else ""
        return (names.get(peer) or plain(peer)[:8]) + mine

    room = max(NAME[0], min(NAME[1], width // 5))
    figures = FIGURES[: max(0, (width - room - 3 - LANE - MARKS) // FIGURE)]
    axis = axis_of(view, times, width - room - 3 - MARKS - FIGURE * len(figures))
    titles = "".join(right(figure.title, FIGURE) for figure in figures)
    ruler = (" " * (room + 3) + ticks(axis)).ljust(width - len(titles))
    now = view.round.elapsed_s if times.seconds is None else times.seconds
    lines: list[Line] = [((ruler + titles, "faint"),)]
    for lane in lanes:
        head: Line = (
            (f"{AGGREGATOR} " if lane.peer == aggregator else "  ", "accent"),
            (left(name(lane.peer), room) + " ", "strong" if lane.peer == view.id else "text"),
        )
        beside = "".join(right(figure.told(lane), FIGURE) for figure in figures)
        lines.append((*head, *lane_line(lane, axis, now, times.seconds is None), (beside, "muted")))
        if lane.refused:
            told = f"{REFUSED} {lane.refused}"
            lines += [((" " * 4, "text"), *row) for row in wrapped(told, width - 5, "warning")]
    lines += [(), *notes(times, name, width)]
    return lines


def in_order(view: NodeView, times: TimesView, took_part: Iterable[str]) -> list[LaneView]:
    """The members with a part in the round, as they stand in every list: me first."""
    known = {lane.peer: lane for lane in times.lanes}
    wanted = {*known, *took_part}
    members = sorted(view.peers, key=lambda peer: not peer.me)
    order = [peer.id for peer in members if peer.id in wanted]
    order += sorted(wanted.difference(order))
    return [known.get(peer, LaneView(peer)) for peer in order]


def axis_of(view: NodeView, times: TimesView, width: int) -> Axis:
    """From the opening of the round, or from the first that happened if that was much later, to
    its commit; while it is open, to a little more than now."""
    first = min((moment for lane in times.lanes for moment in moments(lane)), default=0.0)
    end = times.seconds
    if end is None:
        now = max(view.round.elapsed_s, 0.0)
        begin = first if first > IDLE_SHARE * now else 0.0
        step = step_for((now - begin) / GROWTH)
        begin = step * math.floor(begin / step)
        return Axis(begin, max(step, step * math.ceil((now + 0.01) / step)), width)
    begin = first if first > IDLE_SHARE * end else 0.0
    step = step_for((end - begin) / GROWTH)
    return Axis(step * math.floor(begin / step), max(end, 0.1), width)


def moments(lane: LaneView) -> list[float]:
    """All that is known of when."""
    found = (lane.trains, lane.sent, lane.checked, lane.agreed, lane.signed)
    return [each for each in found if each is not None]


def step_for(seconds: float) -> float:
    """The round number of seconds that is not below this."""
    return next((step for step in STEPS_S if step >= seconds), STEPS_S[-1])


def ticks(axis: Axis) -> str:
    """Times along the axis, as many as stand well apart."""
    span = axis.end - axis.start
    step = step_for(span * TICK / max(TICK, axis.width))
    text, at = "", math.ceil(axis.start / step) * step
    while at < axis.end:
        cell, label = axis.cell(at), tick(at, axis.end)
        if cell + len(label) <= axis.width and (not text or cell > len(text)):
            text += " " * (cell - len(text)) + label
        at += step
    return text


def tick(seconds: float, end: float) -> str:
    """A time on the axis."""
    return f"{seconds:g} s" if end < 100 else clock(seconds)


def lane_line(lane: LaneView, axis: Axis, now: float, is_open: bool) -> Line:
    """One member's part as spans of exactly the axis's width and what stands behind it. What goes
    on reaches to ``now``; of a round that is over, nothing goes on."""
    width = axis.width + MARKS
    if not moments(lane):
        told = "" if is_open else "not known here"
        return ((left(told, width), "faint"),)
    cells: list[Span] = [(" ", "text")] * width
    if lane.trains is not None:
        fill(cells, axis, lane.trains, end_of_training(lane, now), (TRAINS, "accent"))
    if lane.sent is not None:
        until = lane.checked
        if until is None:
            until = now if is_open else lane.sent
        fill(cells, axis, lane.sent, until, (FETCHED, "muted"))
    taken = -1
    for at, mark in marks_of(lane):
        taken = max(axis.cell(at), taken + 1)
        cells[min(taken, width - 1)] = mark
    return merged(cells)


def end_of_training(lane: LaneView, now: float) -> float:
    """When a member's training ended: with its contribution, unless it fell silent long before."""
    if lane.sent is not None and (lane.rests is None or lane.sent - lane.rests < HEARD_S):
        return lane.sent
    return now if lane.rests is None else lane.rests


def marks_of(lane: LaneView) -> list[tuple[float, Span]]:
    """What happened once, in the order in which it did."""
    found: list[tuple[float | None, Span]] = [
        (lane.sent, (SENT, "text")),
        (lane.checked if lane.refused else None, (REFUSED, "warning")),
        (lane.agreed, (AGREED, "ok")),
        (lane.signed, (SIGNED, "ok")),
    ]
    return sorted(((at, mark) for at, mark in found if at is not None), key=lambda each: each[0])


def fill(cells: list[Span], axis: Axis, start: float, end: float, span: Span) -> None:
    """Draws a stretch of time, at least a cell of it."""
    for cell in range(axis.cell(start), axis.cell(end) + 1):
        cells[cell] = span


def notes(times: TimesView, name: Name, width: int) -> list[Line]:
    """Whose turn it was to combine where that changed, and what the marks mean."""
    lines: list[Line] = []
    for number, (at, leader) in enumerate(times.attempts[1:], 2):
        told = f"attempt {number} at {moment(at)}: {name(leader)} combines"
        lines += wrapped(told, width - 1, "warning")
    if not times.whole:
        lines += wrapped("Counted from when this machine came to the round.", width - 1, "muted")
    entries: list[Line] = [((mark, ink), (f" {word}", "muted")) for mark, word, ink in LEGEND]
    return [*lines, *flowing(entries, width)]
