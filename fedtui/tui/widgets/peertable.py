"""The members as a table: one row each, only the columns there is room for, nothing clipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len

from fedtui.tui.feed import Feed
from fedtui.tui.lines import DOT, Ink, Line, Span, cut_words, left, plain
from fedtui.tui.widgets.table import Column, Table, number, one
from fedtui.tui.wording import (
    AGGREGATOR,
    NOTHING,
    NOW_S,
    absent,
    ago,
    loss,
    name_of,
    peer_sign,
    rtt,
)
from fedtui.view import PeerView

EMPTY = "Nobody here yet. Members appear when their machines and this one have found each other."


def name_cell(peer: PeerView, width: int) -> Line:
    """The crown of the aggregator, the name, and which one is me."""
    mark: Span = (f"{AGGREGATOR} ", "accent") if peer.aggregator else ("  ", "text")
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


SEVERITY: tuple[str, ...] = (
    "LOST", "SUSPECT", "UNSEEN", "LEFT", "LOADING", "TRAIN", "UPLOAD", "READY", "SENT", "IDLE",
    "WATCH",
)  # fmt: skip
"""States in the order in which somebody looks for them: what needs a person comes first."""


def severity(peer: PeerView) -> int:
    """Where a member's state stands among all."""
    word = peer_sign(peer).word
    return SEVERITY.index(word) if word in SEVERITY else len(SEVERITY)


def seen_s(peer: PeerView) -> int | None:
    """How long ago, as coarsely as it is shown: members that answer now stay in their places."""
    if peer.me or peer.last_seen_s is None:
        return None
    return 0 if peer.last_seen_s < NOW_S else int(peer.last_seen_s)


def rtt_ms(peer: PeerView) -> int | None:
    """A round trip, as coarsely as it is shown."""
    return None if peer.me or peer.rtt_ms is None else round(peer.rtt_ms)


COLUMNS: tuple[Column[PeerView], ...] = (
    Column("  name", 0, 14, 30, name_cell, key=lambda p: name_of(p).casefold()),
    Column("state", 1, 9, 9, state_cell, key=severity),
    Column(
        "progress", 2, 12, 25, progress_cell, False,
        lambda p: int(100 * p.progress) if p.steps else None, True,
    ),
    Column("loss", 3, 6, 6, lambda p, w: number(loss(p.loss), w), True, lambda p: p.loss),
    Column(
        "pictures", 5, 8, 8, lambda p, w: number(count_of(p), w), True, lambda p: p.samples, True
    ),
    Column("sent", 8, 4, 4, lambda p, w: tick(p.contributed, w)),
    Column("voted", 9, 5, 5, lambda p, w: tick(p.voted, w)),
    Column(
        "heard", 4, 6, 6, lambda p, w: number(NOTHING if p.me else ago(p.last_seen_s), w), True,
        seen_s, True,
    ),
    Column(
        "rtt", 7, 6, 6, lambda p, w: number(NOTHING if p.me else rtt(p.rtt_ms), w), True,
        rtt_ms, True,
    ),
    Column(
        "device", 6, 9, 18, lambda p, w: one(cut_words(p.device, w, "") or NOTHING, w, "muted"),
        key=lambda p: plain(p.device).casefold() or None,
    ),
    Column("role", 10, 11, 11, lambda p, w: one(p.role, w, "muted"), key=lambda p: plain(p.role)),
    Column("id", 11, 9, 9, lambda p, w: one(p.short, w, "muted")),
    Column("address", 12, 21, 27, lambda p, w: one(p.address or NOTHING, w, "muted")),
)  # fmt: skip


def count_of(peer: PeerView) -> str:
    """Of pictures, or that it is not known."""
    return NOTHING if peer.samples is None else f"{min(peer.samples, 9_999_999)}"


class PeerTable(Table[PeerView]):
    """The members, me first."""

    def __init__(self, columns: Sequence[Column[PeerView]] = (), *, id: str | None = None) -> None:
        super().__init__(columns or COLUMNS, lambda peer: peer.id, empty=absent(Feed()), id=id)

    @property
    def peers(self) -> tuple[PeerView, ...]:
        """The rows, me first."""
        return tuple(self.rows)

    def watch_feed(self) -> None:
        """Repaints the rows in view that read differently now."""
        view = self.feed.view
        self.fill(
            tuple(sorted(view.peers, key=lambda p: not p.me)) if view else (),
            absent(self.feed) or EMPTY,
        )
        self.tell()

    def tell(self) -> None:
        """Says how many there are, and in which order; its column may not have room here."""
        order = self.order
        by: Line = (DOT, (f"by {order.name} {order.mark}", "accent")) if order and self.rows else ()
        self.entitle((*title(self.rows), *by), PROMISE)

    def copy_value(self) -> tuple[str, str] | None:
        """The whole id of the member under the cursor: the short one is for eyes only."""
        peer = self.selected
        return (f"the id of {name_of(peer)}", peer.id) if peer else None


PROMISE: Final[Line] = (("your pictures stay on this machine", "muted"),)


def title(peers: Sequence[PeerView]) -> Line:
    """How many there are, and of the remarkable states how many."""
    if not peers:
        return (("Peers", "muted"),)
    words: list[Span] = [("Peers ", "muted"), (f"{len(peers)}", "text")]
    tally = Counter(peer_sign(peer).word for peer in peers)
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
