"""A folder of pictures: rows of the table of its files, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedtui.picture_sides import smaller
from fedtui.tui.facts import fact, heading, said
from fedtui.tui.lines import Ink, Line, cut_path, keyed, plain, wrapped
from fedtui.tui.widgets.table import Column, one
from fedtui.tui.wording import count, moment

EMPTY = (
    "Choose a folder with 5 to 50 pictures: press o and type its path. "
    "They never leave this machine; only what was learned from them does."
)
FEW = 5
"""Fewer pictures than this are told to be few."""
LEAVES = (
    "the adapter: what the model learned, at most some megabytes a round",
    "how many pictures there are, and the training loss",
    "your name, the kind of device, and when you are online",
)
KEPT_OUT = "–"
TROUBLED = "!"


@dataclass(frozen=True)
class Entry:
    """A row: a picture that is used or left out, or a file with something to say about."""

    file: str
    told: str
    size: str
    problem: bool = False
    caption: str | None = None
    """What training reads, or would; None for a file that is no picture, or not listed."""
    left_out: bool = False
    same_as: str = ""
    """The picture that was left out, where this one shows the same."""


def shown_file(entry: Entry, width: int) -> Line:
    """The name, with a sign before what is left out and before what has a problem."""
    if entry.left_out:
        return one(f"{KEPT_OUT} {entry.file}", width, "faint")
    if entry.problem:
        return one(f"{TROUBLED} {entry.file}", width, "warning")
    return one(entry.file, width)


COLUMNS: tuple[Column[Entry], ...] = (
    Column("file", 0, 12, 28, shown_file),
    Column("caption or problem", 1, 18, 80, lambda e, w: one(e.told, w, "muted")),
    Column("size", 2, 9, 9, lambda e, w: one(e.size, w, "faint")),
)


def entries(report: dict[str, Any]) -> tuple[Entry, ...]:
    """Files with problems first, then the pictures that are used or left out, by name."""
    pictures = {str(p["file"]): p for p in report.get("pictures", ())}
    troubled = [
        Entry(
            file := str(p["file"]),
            f"{p['problem']}. {p['remedy']}",
            "",
            True,
            str(pictures[file]["caption"]) if file in pictures else None,
        )
        for p in report.get("problems", ())
    ]
    named = {entry.file for entry in troubled}
    listed = [
        Entry(
            file,
            str(p["caption"]) or "no caption",
            f"{p['width']}x{p['height']}",
            caption=str(p["caption"]),
        )
        for file, p in pictures.items()
        if file not in named
    ]
    listed += [_kept_out(p) for p in report.get("left_out", ())]
    return (*troubled, *sorted(listed, key=lambda entry: entry.file))


def _kept_out(told: dict[str, Any]) -> Entry:
    same_as, caption = str(told["same_as"]), str(told["caption"])
    return Entry(
        str(told["file"]),
        f"left out, the same as {same_as}" if same_as else f"left out. {caption}",
        f"{told['width']}x{told['height']}" if told["width"] else "",
        caption=caption,
        left_out=True,
        same_as=same_as,
    )


def report_lines(
    report: dict[str, Any] | None, chosen: Entry | None, used: bool, width: int
) -> list[Line]:
    """What the folder holds, what is wrong, and what the chosen file's caption is."""
    if report is None:
        return [*wrapped(EMPTY, width - 1, "muted")]
    usable, problems = int(report["usable"]), report.get("problems", ())
    ink: Ink = "ok" if usable >= FEW else "warning"
    state = "✓ in use" if used else "t trains on these pictures"
    lines: list[Line] = [
        ((f"{count(usable, 'picture')} will be trained", ink),),
        ((state, "ok" if used else "accent"),),
        fact("folder", ((cut_path(str(report["folder"]), max(8, width - 15)), "text"),)),
    ]
    lines += folder_facts(report, width)
    if usable < FEW:
        few = "Few pictures teach the model those pictures and no style."
        lines += wrapped(few, width - 1, "warning")
    if problems:
        lines += [(), heading(count(len(problems), "problem"))]
    if chosen:
        lines += [(), heading(plain(chosen.file)), *wrapped(chosen.told, width - 1)]
        if chosen.caption is not None:
            lines.append(keyed("`c` writes its caption"))
            lets = "lets it in again" if chosen.left_out else "leaves it out, the file stays"
            if not chosen.same_as:
                lines.append(keyed(f"`x` {lets}"))
    lines += [(), heading("Leaves this machine")]
    for text in LEAVES:
        rows = wrapped(text, max(8, width - 3), "muted")
        lines += [(("· " if i == 0 else "  ", "faint"), *row) for i, row in enumerate(rows)]
    return lines


def folder_facts(report: dict[str, Any], width: int) -> list[Line]:
    """How many are small, how many left out, who agreed when, the word before every caption."""
    lines: list[Line] = []
    if told := smaller(report):
        lines += said("sizes", told, width, "warning" if report["sides"]["smaller"] else "text")
    if out := int(report.get("left_out_count", 0)):
        lines.append(fact("left out", ((count(out, "picture"), "text"),)))
    agreed = report.get("agreed")
    if agreed is not None:
        when = f"at {moment(float(agreed))}" if agreed else "by naming it in the settings"
        lines += said("you agreed", when, width)
    if trigger := plain(str(report.get("trigger", ""))):
        lines += said("trigger", f"{trigger}, put before every caption in this room", width)
    return lines
