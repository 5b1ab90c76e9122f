"""Base models: rows of the library's table, what is told of one, and how far its download is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedtui.sizes import downloaded, sized
from fedtui.tui.adapters import halves
from fedtui.tui.facts import bar, fact, heading, said
from fedtui.tui.lines import Line, cut_path, plain, wrapped
from fedtui.tui.widgets.table import Column, number, one
from fedtui.tui.wording import NOTHING

UNCOMPUTED = "The hash of this model is not known: it is computed when its download has ended."
RUNNING = frozenset({"asking", "fetching", "waiting", "checking"})
"""States of a download that goes on."""
STATES = {
    "asking": "asks the hub",
    "fetching": "is being downloaded",
    "waiting": "waits: another program on this machine downloads it",
    "checking": "all has come; its hash is computed",
    "stopped": "stopped; what has come is kept",
    "failed": "✗ its download failed",
    "done": "✓ downloaded",
}
MORE = (
    "i downloads one from the hub by its name, after it has said how large it is. In a shell, "
    "fedtui model import NAME does so too, and takes a single file as well."
)
BAR = 24


@dataclass(frozen=True)
class Base:
    """A base model; ``here``: this room's; ``missing``: not on this machine. ``download`` is what
    the operation ``list_downloads`` tells of it."""

    name: str
    source: str
    family: str
    resolution: int
    sha256: str
    bytes: int
    folder: str
    unfinished: bool = False
    here: bool = False
    missing: bool = False
    download: Mapping[str, Any] | None = None

    @property
    def key(self) -> str:
        """What tells it from the others; a missing one has no folder."""
        return self.folder or self.source

    @property
    def state(self) -> str:
        """That of its download; empty without one."""
        return str(self.download["state"]) if self.download else ""

    @property
    def running(self) -> bool:
        """Whether it is being downloaded."""
        return self.state in RUNNING

    @property
    def incomplete(self) -> bool:
        """Whether there is something to download."""
        return self.missing or self.unfinished


def unlisted(model: str, download: Mapping[str, Any]) -> Base:
    """A model that is only just being downloaded."""
    return Base(model, model, "", 0, "", 0, "", missing=True, download=download)


def titled(base: Base, width: int) -> Line:
    """Whether a model is this room's, and its name."""
    if base.running:
        return one(f"↓ {base.source}", width, "accent")
    sign = "!" if base.incomplete else "●" if base.here else "○"
    return one(f"{sign} {base.source}", width, "warning" if base.incomplete else "text")


def size_of(base: Base, width: int) -> Line:
    """How large it is, or how much of it has come."""
    if base.running and base.download:
        total = int(base.download["total"])
        share = f"{int(base.download['bytes']) * 100 // total} %" if total else "0 %"
        return number(share, width, "accent")
    return number("missing" if base.missing else sized(base.bytes), width, "muted")


BASES: tuple[Column[Base], ...] = (
    Column("base model", 0, 18, 40, titled),
    Column("family", 1, 18, 20, lambda b, w: one(b.family or NOTHING, w, "muted")),
    Column("size", 2, 8, 8, size_of, True),
    Column("hash", 3, 12, 12, lambda b, w: one(b.sha256[:12] or NOTHING, w, "faint")),
)


def base_lines(chosen: Base | None, store: str, width: int) -> list[Line]:
    """All that is known of a base model, and how others get here."""
    lines: list[Line] = []
    if chosen is not None:
        if chosen.here:
            lines += [(("● this room trains on it", "ok"),)]
        lines += download_lines(chosen, width)
        lines += said("family", chosen.family or "not known yet", width)
        if chosen.resolution:
            lines += said("pictures", f"{chosen.resolution} pixels a side", width)
        if not chosen.missing:
            lines += said("size", f"{chosen.bytes:,} bytes", width)
        lines += said("hash", halves(chosen.sha256) or "not computed", width, "muted")
        lines += said("from", chosen.source, width)
        if chosen.folder:
            lines.append(fact("folder", ((cut_path(chosen.folder, max(8, width - 15)), "muted"),)))
        lines.append(())
    lines.append(heading("More models"))
    return [*lines, *wrapped(MORE, width - 1, "muted"), *said("kept in", store, width, "muted")]


def download_lines(base: Base, width: int) -> list[Line]:
    """How its download stands, or that there has to be one."""
    told, state = base.download, base.state
    if told is None or (state == "done" and not base.incomplete):
        return to_fetch(base, width)
    ink = {"failed": "error", "stopped": "warning"}.get(state, "accent")
    lines = wrapped(STATES.get(state, plain(state)), width - 1, ink)  # type: ignore[arg-type]
    done, total = int(told["bytes"]), int(told["total"])
    if total and state != "done":
        share = done / total
        lines.append((*bar(share, BAR), (f" {share:.0%}", "text")))
        lines += wrapped(downloaded(done, total, told["bytes_per_s"]), width - 1)
    for part in ("title", "cause", "remedy"):
        if state == "failed" and told[part]:
            lines += wrapped(str(told[part]), width - 1, "muted" if part == "remedy" else "text")
    if base.running:
        lines += wrapped("s stops it; what has come is kept.", width - 1, "muted")
    elif base.incomplete:
        lines += wrapped("i goes on where it ended.", width - 1, "muted")
    return [*lines, ()]


def to_fetch(base: Base, width: int) -> list[Line]:
    """What to do about a model that is not whole."""
    if base.unfinished:
        return wrapped("Its download was cut off. i goes on where it ended.", width - 1, "warning")
    if base.missing:
        told = "It is not on this machine. i says how large it is and downloads it."
        return wrapped(told, width - 1, "warning")
    return []
