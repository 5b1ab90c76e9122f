"""What differs between two adapters, in lines: beside one another, or one page of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedtui.sizes import sized
from fedtui.tui.adapters import Adapter, licence_of, losses_of, note_of, round_of
from fedtui.tui.comparing import ARROW, Row, fact_line
from fedtui.tui.facts import NAME
from fedtui.tui.lines import Line, left, listed, plain, right, width_of, wrapped
from fedtui.tui.wording import NOTHING, count, loss, namer
from fedtui.view import CommitView, NodeView, TimesView

DIFFERS, SAME = "differs", "same"
UNKNOWN = "not known here"
UNREAD = "in the file"
MARK = 9
"""Cells for the word at the end of a fact, with the gap before it."""
PAGE_NAME = 34
"""Cells for each of two values, at most, where both stand in one line."""
KINDS = {"round": "a round's result", "export": "an export", "file": "a file on the shelf"}


@dataclass(frozen=True)
class Side:
    """An adapter with all that is known of it here. ``unread`` says why its file told nothing."""

    adapter: Adapter
    known: dict[str, Any] | None
    sha256: str
    times: TimesView | None
    unread: str = ""


def facts(view: NodeView, old: Side, new: Side) -> list[Row]:
    """All that two adapters can differ in, in one order; a worse or better value has no colour of
    its own, only a lower loss has."""
    one, other = told_of(view, old), told_of(view, new)
    lower = lower_loss(view, old, new)
    return [
        Row(name, value, other[name], "ok" if name in lower else "text")
        for name, value in one.items()
    ]


def told_of(view: NodeView, side: Side) -> dict[str, str]:
    """What each fact is of one of them."""
    adapter, known = side.adapter, side.known
    number = round_of(adapter, known, view)
    commit = next((each for each in view.commits if each.round == number), None)
    mine, mean = losses_of(view, number, side.times) if number else (None, None)
    ours = view.room_name if adapter.round else ""
    return {
        "kind": KINDS.get(adapter.kind, plain(adapter.kind)),
        "room": plain(ours or note_of(known, "room_name")) or NOTHING,
        "round": str(number) if number else NOTHING,
        "made": plain(adapter.modified),
        "size": f"{sized(adapter.bytes)} ({adapter.bytes:,} bytes)",
        "hash": plain(side.sha256) or NOTHING,
        "rank": ranks(known),
        "layers": count(int(known["modules"]), "layer") if known else NOTHING,
        "fits": f"{known['matching']} of {known['modules']}" if known else NOTHING,
        "dialect": plain(str(known["title"])) if known else NOTHING,
        "combined by": (combined(commit) or note_of(known, "algorithm")) or NOTHING,
        "trained by": contributors(view, commit),
        "pictures": str(sum(each.samples for each in commit.inputs)) if commit else NOTHING,
        "left out": str(len(commit.excluded)) if commit else NOTHING,
        "mean loss": loss(mean),
        "my loss": loss(mine),
        "licence": (licence_of(known) or "none stated") if known else NOTHING,
        UNREAD: plain(side.unread) or NOTHING,
    }


def ranks(known: dict[str, Any] | None) -> str:
    """The rank, or how many layers have which."""
    if not known or not known["ranks"]:
        return NOTHING
    found = known["ranks"].items()
    return plain(", ".join(f"{rank} ({n} layers)" if len(found) > 1 else rank for rank, n in found))


def combined(commit: CommitView | None) -> str:
    """How the round's result came about, where this machine computed it."""
    return plain(commit.statistics.mode) if commit and commit.statistics else ""


def contributors(view: NodeView, commit: CommitView | None) -> str:
    """Whose training it is, and of how many."""
    if commit is None or not commit.inputs:
        return NOTHING
    names = map(namer(view), (each.peer for each in commit.inputs))
    return f"{len(commit.inputs)}: {listed(sorted(names, key=str.casefold))}"


def lower_loss(view: NodeView, old: Side, new: Side) -> set[str]:
    """Which losses are lower at the right."""
    pairs = [
        losses_of(view, round_of(side.adapter, side.known, view), side.times) for side in (old, new)
    ]
    names = ("my loss", "mean loss")
    return {
        name
        for name, before, after in zip(names, *pairs, strict=True)
        if before is not None and after is not None and after < before
    }


def pane(rows: list[Row], width: int, *, new: bool) -> list[Line]:
    """One adapter's facts. Both panes break at the same lines, and say in words what differs; where
    one is not known, nothing does."""
    room = max(8, width - NAME - MARK)
    lines: list[Line] = []
    for row in rows:
        if row.old == row.new == NOTHING:
            continue
        word = DIFFERS if row.old != row.new else SAME
        if NOTHING in row[1:3] or row.name == UNREAD:
            word = ""
        ink = (row.ink if new else "text") if word == DIFFERS else "muted"
        told = [UNKNOWN if value == NOTHING else value for value in row[1:3]]
        parts = [wrapped(value, room, ink) for value in told]
        mine = parts[new]
        for i in range(max(map(len, parts))):
            value = mine[i] if i < len(mine) else ()
            name: Line = ((left(row.name if i == 0 else "", NAME), "muted"),)
            mark = right(word if i == 0 else "", MARK - 1)
            gap = " " * max(1, width - NAME - width_of(value) - MARK)
            lines.append(
                (*name, *value, (gap, "text"), (mark, "accent" if word == DIFFERS else "faint"))
            )
    return lines


def page(rows: list[Row], titles: tuple[str, str], width: int) -> list[Line]:
    """Both in one page: first what differs, at the end what is the same."""
    room = max(8, min(PAGE_NAME, (width - NAME - len(ARROW)) // 2))
    lines: list[Line] = [
        ((left("", NAME) + left(titles[0], room + len(ARROW)) + left(titles[1], room), "faint"),)
    ]
    changed = [row for row in rows if row.old != row.new]
    same = [row.name for row in rows if row.old == row.new != NOTHING]
    for row in changed:
        lines += broken(row, room)
    if not changed:
        lines += wrapped("Nothing that is known of them differs.", width, "muted")
    if same:
        lines += [(), *wrapped(f"The same in both: {', '.join(same)}.", width, "muted")]
    return lines


def broken(row: Row, room: int) -> list[Line]:
    """A fact of both, on as many lines as the longer one needs."""
    parts = [
        ["".join(text for text, _ in line) for line in wrapped(value, room)]
        for value in (row.old, row.new)
    ]
    lines: list[Line] = []
    for i in range(max(map(len, parts))):
        old, new = (part[i] if i < len(part) else "" for part in parts)
        if i == 0:
            lines.append(fact_line(Row(row.name, old, new, row.ink), room))
        else:
            lines.append(
                ((left("", NAME) + left(old, room) + " " * len(ARROW), "muted"), (new, row.ink))
            )
    return lines
