"""Errors a person reads: what happened, why, what to do, and the exit code of the command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The process's exit codes; scripts and services rely on them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NETWORK = 3
    TRUST = 4
    DEVICE = 5
    INTERRUPTED = 130
    TERMINATED = 143


class FedtuiError(Exception):
    """An error with a title, a cause, a remedy and an exit code.

    ``title`` says what happened in one line, ``cause`` why, ``remedy`` what the reader can do.
    """

    code: int = ExitCode.FAILED

    def __init__(
        self, title: str, cause: str = "", remedy: str = "", *, code: int | None = None
    ) -> None:
        super().__init__(title)
        self.title = title
        self.cause = cause
        self.remedy = remedy
        if code is not None:
            self.code = code

    def render(self) -> str:
        """The one message that goes to stderr."""
        lines = [f"fedtui: {self.title}"]
        if self.cause:
            lines.append(f"  why: {self.cause}")
        if self.remedy:
            lines.append(f"  try: {self.remedy}")
        return "\n".join(lines)


class UsageError(FedtuiError):
    """Wrong arguments, wrong configuration, or no terminal where one is needed."""

    code = ExitCode.USAGE


class NetworkError(FedtuiError):
    """Something on the network did not answer; trying again may help."""

    code = ExitCode.NETWORK


class TrustError(FedtuiError):
    """A signature, an identity or an invite was refused."""

    code = ExitCode.TRUST


class TrainerError(FedtuiError):
    """The trainer could not do what it was asked. ``cancelled``: because somebody said so."""

    def __init__(
        self,
        title: str,
        cause: str = "",
        remedy: str = "",
        *,
        code: int | None = None,
        cancelled: bool = False,
    ) -> None:
        super().__init__(title, cause, remedy, code=code)
        self.cancelled = cancelled


class TrainerDied(TrainerError):
    """The trainer process ended while it owed an answer.

    ``served``: it was at work on this request, which did not just wait behind another.
    """

    def __init__(
        self,
        title: str,
        cause: str = "",
        remedy: str = "",
        *,
        cancelled: bool = False,
        served: bool = False,
    ) -> None:
        super().__init__(title, cause, remedy, cancelled=cancelled)
        self.served = served
