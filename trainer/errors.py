"""What can go wrong in words a person can act on."""

from __future__ import annotations

NO_USABLE = 5
"""Exit code: no usable device, model or picture."""
MISUSE = 2
"""Exit code: the request contradicts itself or its surroundings."""


class TrainerError(Exception):
    """A failure with a title, its cause and what to do about it.

    ``code`` is the exit code that a command ending in this failure should return.
    """

    def __init__(self, title: str, cause: str = "", remedy: str = "", code: int = 1) -> None:
        super().__init__(title)
        self.title = title
        self.cause = cause
        self.remedy = remedy
        self.code = code


class Cancelled(Exception):
    """The request was cancelled; raised at its next step."""
