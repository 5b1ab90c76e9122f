"""The node's events: one stream for the screen, ``events.jsonl``, ``--json`` and tests."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, get_args

from fedtui.limits import EVENT_QUEUE, EVENTS_FILE_BYTES, EVENTS_FILES, EVENTS_KEPT
from fedtui.view import EventView, Level

Event = dict[str, Any]
NameOf = Callable[[str], str]
QUIET = frozenset({"train.progress", "peer.state", "drawing.progress", "drawing.picture"})
"""Too frequent for a list that people read; the table of peers shows them."""


class EventStream:
    """Numbers events, keeps the newest, writes them to a rotating file and feeds followers.

    ``seq`` counts from 1 in one run of the node.
    """

    def __init__(self, node: str, path: Path | None = None) -> None:
        self._node = node
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._seq = 0
        self._followers: set[asyncio.Queue[Event | None]] = set()
        self._file = (
            RotatingFileHandler(
                path, maxBytes=EVENTS_FILE_BYTES, backupCount=EVENTS_FILES, encoding="utf-8"
            )
            if path
            else None
        )

    def emit(self, type_: str, **data: Any) -> Event:
        """Adds an event; the caller's data must be JSON values."""
        self._seq += 1
        event: Event = {
            "seq": self._seq,
            "ts": round(time.time(), 3),
            "node": self._node,
            "type": type_,
            **data,
        }
        self._kept.append(event)
        if self._file is not None:
            self._file.emit(logging.LogRecord("", 0, "", 0, "%s", (json.dumps(event),), None))
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
        return event

    def since(self, seq: int = 0) -> list[Event]:
        """The kept events after number ``seq``, oldest first."""
        return [event for event in self._kept if event["seq"] > seq]

    async def follow(self, seq: int = 0) -> AsyncIterator[Event]:
        """The kept events after ``seq``, then each new one, until :meth:`close`."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(EVENT_QUEUE)
        past = self.since(seq)
        self._followers.add(queue)
        try:
            for event in past:
                yield event
            while (new := await queue.get()) is not None:
                yield new
        finally:
            self._followers.discard(queue)

    def close(self) -> None:
        """Ends every follower and the file."""
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)
        if self._file is not None:
            self._file.close()


def view_of(event: Event, name_of: NameOf) -> EventView:
    """An event as a line of the event list."""
    text, level = sentence(event, name_of)
    return EventView(
        seq=event.get("seq", 0),
        ts=event["ts"],
        type=event["type"],
        text=text,
        level=level,
        peer=event.get("peer"),
    )


def sentence(event: Event, name_of: NameOf) -> tuple[str, Level]:
    """What an event means in words, and how much it matters."""
    write = _SENTENCES.get(event["type"])
    if write is None:
        return _plain(event)
    data = dict(event)
    if isinstance(data.get("peer"), str):
        data["who"] = name_of(data["peer"])
    return write(data)


def _plain(e: Mapping[str, Any]) -> tuple[str, Level]:
    """An event that brings its own text and level."""
    level: Level = "info"
    for known in get_args(Level):
        if e.get("level") == known:
            level = known
    return str(e.get("text") or e["type"]), level


def _checked(e: Mapping[str, Any]) -> tuple[str, Level]:
    if e.get("verdict") == "ok":
        return f"contribution of {e.get('who')} checked", "info"
    if e.get("verdict") == "unchecked":
        text = f"contribution of {e.get('who')} could not be checked here: {e.get('reason')}"
        return text, "warning"
    return f"contribution of {e.get('who')} refused: {e.get('reason')}", "warning"


def _recomputed(e: Mapping[str, Any]) -> tuple[str, Level]:
    if e.get("equal"):
        return f"round {e['round']}: result recomputed, equal byte for byte", "ok"
    return f"round {e['round']}: recomputed result differs from what was proposed", "error"


def _committed(e: Mapping[str, Any]) -> tuple[str, Level]:
    inputs = len(e.get("inputs", ()))
    text = f"round {e['round']} committed with {inputs} contributions"
    if excluded := len(e.get("excluded", ())):
        return f"{text}, {excluded} left out", "warning"
    return text, "ok"


def _trained(e: Mapping[str, Any]) -> tuple[str, Level]:
    loss = e.get("loss")
    shown = f", loss {loss:.4f}" if isinstance(loss, float) else ""
    return f"trained on {e.get('samples')} pictures in {e.get('seconds', 0):.0f} s{shown}", "ok"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _excluded(e: Mapping[str, Any]) -> tuple[str, Level]:
    count = int(e.get("count", 0))
    now = f"{count or 'none'} {'are' if count > 1 else 'is'} left out now"
    what = "is left out of training" if e.get("excluded") else "is trained on again"
    anew = "; this machine's training begins anew" if e.get("anew") else ""
    return f"a picture {what}, {now}{anew}", "ok"


def _asked(e: Mapping[str, Any]) -> tuple[str, Level]:
    words = " ".join(e.get("words", ()))
    text = f"{e.get('name')} asks to be let in ({words}): `fedtui room approve {e.get('request')}`"
    if e.get("namesake"):
        return f"{text}. CAREFUL: somebody else of that name is known here", "error"
    return text, "warning"


def _removed(e: Mapping[str, Any]) -> tuple[str, Level]:
    reason = e.get("reason")
    return f"{e.get('name')} is no member any more{f': {reason}' if reason else ''}", "warning"


def _changed(e: Mapping[str, Any]) -> tuple[str, Level]:
    may = ", ".join(e.get("may", ())) or "only watch"
    return f"{e.get('name')} is {e.get('role')} now, and may {may}", "info"


_OFFENCES: Mapping[str, str] = {
    "double_vote": "it voted twice",
    "double_proposal": "it proposed two results",
    "wrong_result": "it proposed a result that is not what its inputs give",
}


def _statistics(e: Mapping[str, Any]) -> tuple[str, Level]:
    """A deciding line: what was left out, shortened, or would have been lost."""
    number, shares = e["round"], e.get("shares", ())
    if e.get("note"):
        return f"round {number} changed nothing: {e['note']}", "warning"
    out = sum(bool(share["excluded"]) for share in shares)
    short = sum(share["clipped"] < 1.0 for share in shares)
    words = [f"round {number}: {len(shares) - out} of {len(shares)} contributions count"]
    if short:
        words.append(f"{short} shortened")
    if e.get("residual_share"):
        words.append(f"plain averaging would have lost {e['residual_share']:.1%}")
    return ", ".join(words), "warning" if out else "info"


_SENTENCES: dict[str, Callable[[Mapping[str, Any]], tuple[str, Level]]] = {
    "node.failed": lambda e: (f"this node takes no part any more: {e.get('reason')}", "error"),
    "blob.refused": lambda e: (f"{e.get('who')} sent wrong bytes: refused", "warning"),
    "message.refused": lambda e: (f"message of {e.get('who')} refused: {e.get('reason')}", "info"),
    "aggregation.failed": lambda e: (f"combining failed: {e.get('reason')}", "error"),
    "node.ready": lambda e: ("node ready", "info"),
    "peer.found": lambda e: (f"found {e.get('who')}", "info"),
    "peer.state": lambda e: (f"{e.get('who')} is {e.get('state')}", "info"),
    "peer.graylisted": lambda e: (
        f"{e.get('who')} sends too much or nonsense: not listened to for ten minutes",
        "warning",
    ),
    "node.woke": lambda e: (
        f"this machine slept for {round(e.get('seconds', 0)):,} s; looking for the others",
        "info",
    ),
    "member.added": lambda e: (f"{e.get('name')} is a member now", "ok"),
    "member.changed": _changed,
    "change.waiting": lambda e: (
        f"{e.get('by')} asks the other admins: {e.get('what')}? They say yes with"
        f" `fedtui room endorse {e['change'][:8]}`",
        "warning",
    ),
    "rounds.allowed": lambda e: (f"rounds may begin up to round {e['through']}", "ok"),
    "member.removed": _removed,
    "member.rekeyed": lambda e: (
        f"{e.get('name')} has a new key, and the old one signed it. Compare the words"
        " (`fedtui room members`) before you mark it as verified",
        "warning",
    ),
    "key.changed": lambda e: ("this machine starts anew, with its new key", "ok"),
    "admins.changed": lambda e: (
        f"{len(e['admins'])} admins now, {e['threshold']} must sign",
        "warning",
    ),
    "room.removed": lambda e: (
        f"{e['text']}. What was trained here stays on this disk",
        "info" if e.get("left") else "error",
    ),
    "room.forked": lambda e: (
        f"the admins went on without this room after round {e['round']}: room {e['room'][:8]}",
        "warning",
    ),
    "evidence.found": lambda e: (
        f"{e.get('who')} broke the rules in round {e['round']}: {_OFFENCES[e['offence']]}",
        "error",
    ),
    "room.joined": lambda e: (f"joined room {e.get('name', '')}", "ok"),
    "round.started": lambda e: (f"round {e['round']} started", "info"),
    "train.progress": lambda e: (f"training, step {e['step']} of {e['steps']}", "info"),
    "train.finished": _trained,
    "picture.excluded": _excluded,
    "contribution.sent": lambda e: (f"contribution sent, {e.get('bytes', 0):,} bytes", "ok"),
    "contribution.checked": _checked,
    "aggregator.elected": lambda e: (
        f"round {e['round']}: {e.get('who')} combines"
        + (f", attempt {e['attempt'] + 1}" if e["attempt"] else ""),
        "info" if e["attempt"] == 0 else "warning",
    ),
    "result.recomputed": _recomputed,
    "round.committed": _committed,
    "preview.ready": lambda e: (f"round {e['round']}: picture of {e['prompt']!r}", "info"),
    "drawing.finished": lambda e: (f"{_pictures(len(e.get('paths', ())))} drawn", "ok"),
    "drawing.failed": lambda e: (
        f"drawing pictures failed: {e.get('title')}",
        "info" if e.get("cancelled") else "warning",
    ),
    "gallery.opened": lambda e: (
        "a page of the pictures is open "
        + ("to everybody with its link" if e.get("network") else "on this machine"),
        "info",
    ),
    "gallery.closed": lambda e: ("the page of the pictures is closed", "info"),
    "round.statistics": _statistics,
    "adapter.applied": lambda e: (f"round {e['round']}: adapter in use", "ok"),
    "join.requested": _asked,
    "join.gone": lambda e: (f"{e.get('name')} no longer waits to be let in", "info"),
    "join.declined": lambda e: (f"{e.get('name')} was not let in", "info"),
    "join.refused": lambda e: (f"somebody was not let in: {e.get('why')}", "warning"),
    "identity.changed": lambda e: (
        f"CAREFUL: {e.get('name')} has another key than before. A new machine, or somebody else?"
        " Compare the words (`fedtui room members`) before you trust it",
        "error",
    ),
    "demo.finished": lambda e: (f"demo finished after {e.get('rounds')} rounds", "ok"),
}
