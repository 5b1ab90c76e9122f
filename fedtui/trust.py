"""Whom this profile has met, under which names, and what it has decided about them.

An append-only file of events; what is known follows from reading it. A name is no identity: when
one that belonged to a known key turns up with another key, that is told loudly, because it is what
an impostor looks like (and what a reinstalled machine looks like, which is why people decide).
"""

from __future__ import annotations

import json
import os
import time
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from fedtui.errors import FedtuiError
from fedtui.limits import TRUST_EVENTS_READ

Kind = Literal[
    "created", "joined", "asked", "admitted", "declined", "added", "removed", "left", "verified",
    "unverified", "renamed", "rekeyed", "impostor",
]  # fmt: skip


_NAMED = frozenset({"created", "joined", "admitted", "added", "renamed", "rekeyed", "verified"})
"""Events that tie a name to a key; whoever only asked has no claim to it."""


@dataclass(frozen=True)
class TrustEvent:
    """Something that concerns whom to believe. ``ts`` is Unix time, ``room`` its id or empty."""

    ts: float
    event: Kind
    peer: str
    name: str
    room: str = ""
    detail: str = ""


class TrustBook:
    """The trust events in one file; readable and writable by the profile's owner only."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._events = _read(path)

    def history(self) -> tuple[TrustEvent, ...]:
        """Oldest first."""
        return tuple(self._events)

    def note(
        self, event: Kind, peer: str, name: str, *, room: str = "", detail: str = ""
    ) -> TrustEvent:
        """Adds an event; it is on the disk when this returns."""
        entry = TrustEvent(round(self._clock(), 3), event, peer, name, room, detail)
        line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                # A crash may have left half a line: it must not take this one with it.
                file.write(line if self._ends_whole() else "\n" + line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FedtuiError(f"cannot write {self._path}", str(error)) from error
        self._events.append(entry)
        return entry

    def verified(self, peer: str) -> bool:
        """Whether a person has compared this key's words with its owner."""
        marks = [e.event for e in self._events if e.peer == peer]
        decisions = [mark for mark in marks if mark in {"verified", "unverified"}]
        return bool(decisions) and decisions[-1] == "verified"

    def namesake(self, name: str, peer: str) -> str | None:
        """The known key, other than ``peer``, that went by a name people would take for this one.

        A name that ``peer`` itself has had is no surprise.
        """
        wanted = _folded(name)
        known: dict[str, str] = {}
        for event in self._events:
            if event.event in _NAMED:
                known[event.peer] = _folded(event.name)
        if known.get(peer) == wanted:
            return None
        return next((other for other, its in known.items() if its == wanted != ""), None)

    def knows(self, peer: str, name: str) -> bool:
        """Whether this key has been a member under this very name before."""
        return any(e.peer == peer and e.name == name and e.event in _NAMED for e in self._events)

    def has_met(self, peer: str) -> bool:
        """Whether this key has been a member before, under whatever name."""
        return any(e.peer == peer and e.event in _NAMED for e in self._events)

    def _ends_whole(self) -> bool:
        with self._path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            return file.read(1) in (b"\n", b"")


def same_name(one: str, other: str) -> bool:
    """Whether a hasty reader takes one name for the other."""
    return _folded(one) == _folded(other) != ""


def _folded(name: str) -> str:
    """What a hasty reader sees of a name: letters and digits without case, width or accents."""
    spread = unicodedata.normalize("NFKD", name.casefold())
    return "".join(char for char in spread if char.isalnum())


def _read(path: Path) -> list[TrustEvent]:
    """The newest events; a line that is damaged is left out, the file is never rewritten."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FedtuiError(f"cannot read {path}", str(error)) from error
    events: list[TrustEvent] = []
    for line in lines[-TRUST_EVENTS_READ:]:
        try:
            event = TrustEvent(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if event.event in get_args(Kind):
            events.append(event)
    return events
