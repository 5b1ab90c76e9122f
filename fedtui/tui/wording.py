"""How states, times and quantities are put into words. No Textual here, only views and text."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, plain
from fedtui.view import Level, NodeView, PeerState, PeerView, Phase, RoundView

AGGREGATOR = "◆"
"""Marks the member that combines in this attempt. No crown: newcomers took it for the winner's."""
NOTHING = "–"
"""Stands for a value that is not known; never a zero."""


NOW_S = 3
"""Peers answer about once a second: whoever did in so many seconds is heard now."""


class Sign(NamedTuple):
    """A state as glyph, word and ink: colour never says it alone."""

    glyph: str
    word: str
    ink: Ink


PEER_SIGNS: dict[PeerState, Sign] = {
    "LOADING": Sign("◌", "LOADING", "muted"),
    "READY": Sign("○", "READY", "text"),
    "TRAIN": Sign("●", "TRAIN", "accent"),
    "UPLOAD": Sign("↑", "UPLOAD", "accent"),
    "SENT": Sign("✓", "SENT", "ok"),
    "IDLE": Sign("○", "IDLE", "muted"),
    "WATCH": Sign("◌", "WATCH", "muted"),
    "SUSPECT": Sign("?", "SUSPECT", "warning"),
    "LOST": Sign("✗", "LOST", "error"),
    "LEFT": Sign("✗", "LEFT", "faint"),
}

PHASE_SIGNS: dict[Phase, Sign] = {
    "IDLE": Sign("○", "IDLE", "muted"),
    "TRAIN": Sign("▶", "TRAIN", "accent"),
    "COLLECT": Sign("▶", "COLLECT", "accent"),
    "VERIFY": Sign("▶", "VERIFY", "accent"),
    "MERGE": Sign("▶", "MERGE", "accent"),
    "PREVIEW": Sign("▶", "PREVIEW", "accent"),
    "WAITING": Sign("◌", "WAITING", "muted"),
    "PAUSED": Sign("!", "PAUSED", "warning"),
    "FAILED": Sign("✗", "FAILED", "error"),
    "DONE": Sign("✓", "DONE", "ok"),
}

LEVEL_SIGNS: dict[Level, Sign] = {
    "info": Sign("·", "INFO", "muted"),
    "ok": Sign("✓", "OK", "ok"),
    "warning": Sign("!", "WARN", "warning"),
    "error": Sign("✗", "ERROR", "error"),
}


UNSEEN = Sign("◌", "UNSEEN", "muted")
"""A member that this machine has not met since it started is not lost."""


def unseen(peer: PeerView) -> bool:
    """Whether there has been no sign of a member yet."""
    return peer.state == "LOST" and peer.last_seen_s is None


def peer_sign(peer: PeerView) -> Sign:
    """A state this version does not know shows as the word it came with."""
    if unseen(peer):
        return UNSEEN
    return PEER_SIGNS.get(peer.state, Sign("?", plain(peer.state), "muted"))


def phase_sign(phase: str) -> Sign:
    """A phase this version does not know shows as the word it came with."""
    return PHASE_SIGNS.get(phase, Sign("?", plain(phase), "muted"))  # type: ignore[call-overload, no-any-return]


def absent(feed: Feed) -> str:
    """What stands where a node's answer would; empty while it answers."""
    if feed.lost:
        return "No node answers. q, then fedtui, starts it."
    return "" if feed.view else "Connecting to the node…"


def clock(seconds: float) -> str:
    """A duration as on a clock: ``0:42``, ``1:02:03``. Never negative."""
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def moment(timestamp: float) -> str:
    """A Unix time on this machine's clock and calendar: ``14:05 on 20 November``."""
    return time.strftime("%H:%M on %d %B", time.localtime(timestamp))


def ago(seconds: float | None) -> str:
    """An age in one unit, or ``now``."""
    if seconds is None:
        return NOTHING
    if seconds < NOW_S:
        return "now"
    if seconds < 100:
        return f"{int(seconds)} s"
    if seconds < 6000:
        return f"{int(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"{int(seconds / 3600)} h"
    return f"{int(seconds / 86400)} d"


def rtt(milliseconds: float | None) -> str:
    """A round trip."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1:
        return "<1 ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 10_000 else f"{milliseconds / 1000:.0f} s"


def loss(value: float | None) -> str:
    """A training loss in at most six characters."""
    if value is None:
        return NOTHING
    if not abs(value) < 1000:  # also true of nan
        return f"{value:.0e}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def must_agree(now: RoundView) -> str:
    """How many of the voters must get the same result; empty while that is not known."""
    if not now.quorum or not now.voters:
        return ""
    return f"{now.quorum} of {len(now.voters)} machines must agree"


def count(number: int, one: str, many: str = "") -> str:
    """``1 peer``, ``5 peers``."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def short_id(identity: str) -> str:
    """An id for eyes only: ``3f9a·c21e``."""
    identity = plain(identity)
    return f"{identity[:4]}·{identity[4:8]}" if len(identity) > 8 else identity


def name_of(peer: PeerView) -> str:
    """What a member calls itself, or its short id."""
    return plain(peer.name) or short_id(peer.id)


def names_by_id(view: NodeView) -> dict[str, str]:
    """Names to be looked up with ``.get(id, short_id(id))``."""
    return {peer.id: name_of(peer) for peer in view.peers}


def namer(view: NodeView) -> Callable[[str], str]:
    """Names a member by its id, and says which one is me."""
    names = names_by_id(view)

    def name(peer: str) -> str:
        return names.get(peer, short_id(peer)) + (" (you)" if peer == view.id else "")

    return name
