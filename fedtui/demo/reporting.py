"""What a demo tells while it runs: events for programs, a line per step of the room for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

Say = Callable[[str], None]


class Line(Protocol):
    """A line that may rewrite itself."""

    def show(self, text: str) -> None: ...

    def clear(self) -> None: ...


class Reporter(Protocol):
    """Where a demo's account goes."""

    def event(self, event: dict[str, Any]) -> None:
        """An event of a node, or ``demo.finished``."""

    def step(self, text: str) -> None:
        """The room has come one step further."""

    def meanwhile(self, text: str) -> None:
        """How far the current step is."""


class JsonReporter:
    """Every event as one JSON line of data; the steps beside them as narration."""

    def __init__(self, write: Callable[[Any], None], say: Say) -> None:
        self._write = write
        self._say = say

    def event(self, event: dict[str, Any]) -> None:
        self._write(event)

    def step(self, text: str) -> None:
        self._say(text)

    def meanwhile(self, text: str) -> None:
        del text


class PlainReporter:
    """One line per step; progress in between on a line of its own."""

    def __init__(self, line: Line, say: Say) -> None:
        self._line = line
        self._say = say

    def event(self, event: dict[str, Any]) -> None:
        del event

    def step(self, text: str) -> None:
        self._line.clear()
        self._say(text)

    def meanwhile(self, text: str) -> None:
        self._line.show(text)
