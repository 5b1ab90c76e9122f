"""Adapters: rows of the library's table, and what is told of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedtui.sizes import sized
from fedtui.tui.facts import fact, heading, said
from fedtui.tui.lines import Line, cut_path, plain, wrapped
from fedtui.tui.timeline import times_of
from fedtui.tui.widgets.table import Column, number, one
from fedtui.tui.wording import loss, names_by_id, short_id
from fedtui.view import CommitView, NodeView, TimesView

EMPTY = "Adapters land here after each round. i takes in a file from elsewhere."
SIGNS = {"round": "●", "export": "↑", "file": "○"}
MARKED = "✓"
KINDS = {
    "round": "result of a round",
    "export": "exported for other programs",
    "file": "a file on the shelf",
}
LOST = {
    "round": "It can no longer be drawn with, exported or compared on this machine. The round "
    "stays decided, and members that kept it still have it.",
    "export": "e writes it again for as long as its round's adapter is here.",
    "file": "It is gone for good unless there is a copy elsewhere.",
}
"""What deleting one means."""
CHANGED = (
    "Its bytes are not those the room agreed on: the file was changed or the disk has damaged it. "
    "Another member's copy is good if its hash is the room's."
)
METADATA_SHOWN = 12
LICENCES = ("modelspec.license", "license", "licence", "ss_license")
"""Keys under which programs write a licence."""


@dataclass(frozen=True)
class Adapter:
    """An adapter file; ``marked`` to be merged with others."""

    path: str
    name: str
    kind: str
    round: int
    bytes: int
    modified: str
    marked: bool = False


def halves(sha256: str) -> str:
    """A hash that breaks in the middle where a line is too short for it."""
    return f"{sha256[:32]} {sha256[32:]}".strip()


def named(adapter: Adapter, width: int) -> Line:
    """A mark, or what kind of file it is, and its name."""
    if adapter.marked:
        return ((f"{MARKED} ", "accent"), *one(adapter.name, width - 2, "accent"))
    return one(f"{SIGNS.get(adapter.kind, '?')} {adapter.name}", width)


COLUMNS: tuple[Column[Adapter], ...] = (
    Column("adapter", 0, 16, 40, named),
    Column("kind", 1, 6, 6, lambda a, w: one(a.kind, w, "muted")),
    Column("size", 2, 8, 8, lambda a, w: number(sized(a.bytes), w, "muted"), True),
    Column("made", 3, 16, 16, lambda a, w: one(a.modified, w, "faint")),
)


def commit_of(adapter: Adapter | None, view: NodeView | None) -> CommitView | None:
    """The commit whose result the file is, as far as the view has it."""
    if adapter is None or view is None or not adapter.round:
        return None
    return next((commit for commit in view.commits if commit.round == adapter.round), None)


def note_of(known: dict[str, Any] | None, name: str) -> str:
    """What a file of ours says of its origin: exports carry the room's notes."""
    notes = known["metadata"] if known else {}
    return plain(str(notes.get(f"fedtui.fedtui_{name}") or notes.get(f"fedtui_{name}") or ""))


def round_of(adapter: Adapter | None, known: dict[str, Any] | None, view: NodeView | None) -> int:
    """The round of this room whose result it is, also as an export; 0 for what is no such thing."""
    if adapter is None or view is None:
        return 0
    number = note_of(known, "round")
    ours = note_of(known, "room") == view.room_id and number.isdecimal()
    return adapter.round or (int(number[:9]) if ours else 0)


def losses_of(
    view: NodeView, number: int, times: TimesView | None
) -> tuple[float | None, float | None]:
    """This machine's last training loss in a round, and the mean of what members said of theirs."""
    mine = [point.loss for point in view.losses if point.round == number]
    told = [lane.loss for lane in times.lanes if lane.loss is not None] if times else []
    return mine[-1] if mine else None, sum(told) / len(told) if told else None


def licence_of(known: dict[str, Any] | None) -> str:
    """What its author says of how it may be used; empty if nothing."""
    notes = known["metadata"] if known else {}
    return next((plain(str(notes[name])) for name in LICENCES if notes.get(name)), "")


def adapter_lines(
    chosen: Adapter | None,
    known: dict[str, Any] | None,
    sha256: str,
    view: NodeView | None,
    shelf: str,
    width: int,
) -> list[Line]:
    """All that is known of an adapter file; ``sha256`` is empty until it was computed."""
    if chosen is None:
        return [*wrapped(EMPTY, width - 1, "muted"), (), *said("shelf", shelf, width, "muted")]
    lines = [
        fact("kind", ((KINDS.get(chosen.kind, chosen.kind), "text"),)),
        fact("size", ((f"{chosen.bytes:,} bytes", "text"),)),
        fact("made", ((chosen.modified, "text"),)),
    ]
    commit = commit_of(chosen, view)
    if sha256:
        lines += said("sha256", halves(sha256), width)
        if commit:
            same = sha256 == commit.result
            told = "✓ what the room agreed on" if same else f"✗ {CHANGED}"
            lines += said("", told, width, "ok" if same else "error")
    lines.append(fact("file", ((cut_path(chosen.path, max(8, width - 15)), "muted"),)))
    room = room_lines(view, commit, width) if view and commit else []
    inside = file_lines(known, width)
    # What somebody has just asked for comes first: a low window shows no more than that.
    return [*lines, *inside, *room] if known else [*lines, *room, *inside]


def room_lines(view: NodeView, commit: CommitView, width: int) -> list[Line]:
    """What the room knows of a round's adapter."""
    names = names_by_id(view)
    from_ = ", ".join(names.get(i.peer, short_id(i.peer)) for i in commit.inputs)
    lines: list[Line] = [(), heading("From the room")]
    lines += said("trained by", from_ or "nobody", width)
    mine, mean = losses_of(view, commit.round, times_of(view, commit.round))
    if mean is not None:
        lines += said("mean loss", f"{loss(mean)} as the members tell", width)
    if mine is not None:
        lines += said("my loss", loss(mine), width)
    lines += said("model", plain(view.model), width)
    lines += said("hash", halves(commit.result), width, "muted")
    return lines


def file_lines(known: dict[str, Any] | None, width: int) -> list[Line]:
    """What stands in the file, once somebody has looked."""
    lines: list[Line] = [(), heading("In the file")]
    if known is None:
        return [*lines, *wrapped("enter looks into it.", width - 1, "muted")]
    ranks = ", ".join(f"{rank} ({n} layers)" for rank, n in known["ranks"].items())
    lines += said("dialect", str(known["title"]), width)
    lines += said("rank", ranks or "none", width)
    lines += said("fits", f"{known['matching']} of {known['modules']} modules", width)
    lines += said("licence", licence_of(known) or "the file states none", width)
    if known["ignored"]:
        lines += said("ignored", ", ".join(map(str, known["ignored"][:4])), width, "warning")
    for name, value in list(known["metadata"].items())[:METADATA_SHOWN]:
        lines += said(plain(str(name))[:13], str(value), width, "muted")
    return lines
