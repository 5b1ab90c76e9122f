"""Who says what when: requests and commands go to a worker, messages come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

VERSION = 1

Wish = Literal["pause", "resume", "save", "sample"]
"""What may be wished of a running training."""


@dataclass(frozen=True)
class Request:
    """Base of all requests; ``kind`` names them on the wire."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True)
class Cancel(Request):
    """Ends a running or waiting request at its next step; that request ends in ``Failed``."""

    kind: ClassVar[str] = "cancel"
    request: int


@dataclass(frozen=True)
class Steer(Request):
    """A wish to a running training, granted between two steps; it has no answer of its own.

    ``pause`` saves and waits for ``resume``; ``save`` writes the checkpoint; ``sample`` draws
    ``Train.samples``. Progress of the training says ``{"stage": "paused"|"resumed"|"saved"}`` or
    ``{"stage": "sample", "path", ...}``. The weights come out the same as without.
    """

    kind: ClassVar[str] = "steer"
    request: int
    wish: Wish


@dataclass(frozen=True)
class Stop(Request):
    """Cancels everything and ends the process. End of stdin means the same."""

    kind: ClassVar[str] = "stop"


@dataclass(frozen=True)
class Message:
    """Base of what a worker says; ``request`` is the id of the request it belongs to."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True)
class Ready(Message):
    """First message of a worker."""

    kind: ClassVar[str] = "ready"
    role: str
    device: str
    pid: int
    version: int = VERSION


@dataclass(frozen=True)
class Progress(Message):
    """How far a request is; the fields depend on its kind."""

    kind: ClassVar[str] = "progress"
    request: int
    data: dict[str, Any]


@dataclass(frozen=True)
class Done(Message):
    """A request's result."""

    kind: ClassVar[str] = "done"
    request: int
    result: dict[str, Any]


@dataclass(frozen=True)
class Failed(Message):
    """Why a request came to nothing. ``code`` is the exit code a command should end with."""

    kind: ClassVar[str] = "failed"
    request: int
    title: str
    cause: str = ""
    remedy: str = ""
    code: int = 1
    cancelled: bool = False
