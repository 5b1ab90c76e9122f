"""Messages of the interface, named for what has happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.message import Message
from textual.strip import Strip

from fedtui.tui.feed import Feed


@dataclass
class ViewChanged(Message):
    """The node was asked again. A burst collapses to the newest."""

    feed: Feed

    def can_replace(self, message: Message) -> bool:
        """Only the newest view is worth drawing."""
        return isinstance(message, ViewChanged)


@dataclass
class PictureRendered(Message):
    """A thread has turned a file into strips, or says in ``reason`` why it could not."""

    key: object
    strips: tuple[Strip, ...]
    reason: str = ""


@dataclass
class PictureOpened(Message):
    """Somebody wants to see the preview of this round large."""

    round: int


@dataclass
class Answered(Message):
    """An operation of the node has given its result."""

    operation: str
    result: dict[str, Any]


@dataclass
class Refused(Message):
    """An operation came to nothing: what happened, why, and what to do."""

    operation: str
    title: str
    cause: str = ""
    remedy: str = ""


@dataclass
class RoomsSeen(Message):
    """So many rooms announce themselves on this network."""

    count: int


@dataclass
class CheckDone(Message):
    """The doctor has looked at one thing more (:class:`fedtui.doctor.Check`), or None: at all."""

    check: object | None
