"""What is passed on to whom: signed statements, each a few times, the important ones first.

Infection-style dissemination as in SWIM (Das, Gupta, Motivala 2002): nobody tells everybody, and
everybody knows after a number of exchanges that grows with the logarithm of the room.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from p2p.gossip.hello import Accusation, Said
from p2p.limits import MAX_RUMOUR_BYTES, MAX_RUMOURS

Key = tuple[str, ...]

_SEPARATOR: Final = 1
"""Bytes between two statements of a packet."""
_MOST: Final = MAX_RUMOURS - 2
"""A packet may hold an accusation of its receiver and a digest besides."""


@dataclass(frozen=True)
class Statement:
    """What a member signed: the meaning, and the verbatim bytes to pass on."""

    signer: str
    said: Said
    data: bytes

    @property
    def subject(self) -> str:
        """The member it is about."""
        return self.said.peer if isinstance(self.said, Accusation) else self.signer

    @property
    def key(self) -> Key:
        """A newer statement with the same key replaces this one."""
        return (type(self.said).__name__, self.subject, self.signer)


@dataclass
class _Rumour:
    statement: Statement
    heard_from: str
    sends_left: int
    urgent: bool
    added: int
    sent: int = 0


class Rumours:
    """The bounded queue of one node: one Hello per member, a few accusations."""

    def __init__(self) -> None:
        self._rumours: dict[Key, _Rumour] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._rumours)

    def add(self, statement: Statement, heard_from: str, sends: int, *, urgent: bool) -> None:
        """Passes a statement on in the next ``sends`` packets; urgent ones go first."""
        self._rumours[statement.key] = _Rumour(
            statement, heard_from, sends, urgent, next(self._order)
        )

    def forget(self, subject: str) -> None:
        """Drops everything about a member."""
        self._rumours = {
            key: rumour
            for key, rumour in self._rumours.items()
            if rumour.statement.subject != subject
        }

    def forget_accusations(self, subject: str) -> None:
        """Drops what the accused has answered."""
        self._rumours = {
            key: rumour
            for key, rumour in self._rumours.items()
            if rumour.statement.subject != subject
            or not isinstance(rumour.statement.said, Accusation)
        }

    def take(self, to: str, budget: int = MAX_RUMOUR_BYTES) -> list[Statement]:
        """What to tell ``to`` now, at most ``budget`` bytes; counts as sent once more.

        The least told goes first, the newest of those; nobody is told what it said itself or
        has told us.
        """
        taken: list[Statement] = []
        waiting = [
            r for r in self._rumours.values() if to not in (r.heard_from, r.statement.signer)
        ]
        for rumour in sorted(waiting, key=lambda r: (not r.urgent, r.sent, -r.added)):
            size = len(rumour.statement.data) + _SEPARATOR
            if len(taken) == _MOST:
                break
            if size > budget:
                continue
            budget -= size
            rumour.sent += 1
            rumour.sends_left -= 1
            if rumour.sends_left <= 0:
                del self._rumours[rumour.statement.key]
            taken.append(rumour.statement)
        return taken
