"""Every way in which joining can fail, each with its own words."""

from __future__ import annotations

from typing import Final, Literal

from p2p.errors import NetworkError, TrustError

Refusal = Literal[
    "malformed", "version", "busy", "unknown", "other_room", "expired", "used_up", "revoked",
    "burnt", "wrong_code", "declined", "unanswered", "removed", "room_full", "past_full",
    "closing", "failed",
]  # fmt: skip
"""What a lobby answers when it does not let somebody in."""

_WORDS: Final[dict[str, tuple[str, str]]] = {
    "malformed": (
        "the lobby did not understand this machine",
        "Update fedtui on both machines and try again.",
    ),
    "version": (
        "the two machines run versions of fedtui that do not understand each other",
        "Update fedtui on the older one; `fedtui --version` tells.",
    ),
    "busy": (
        "the lobby is busy with others",
        "Wait a few seconds and try again.",
    ),
    "unknown": (
        "that machine has no such invite",
        "Ask for a new invite: the room's machine may have been set up anew.",
    ),
    "other_room": (
        "the invite belongs to another room than the one that is open there",
        "Ask the inviter to switch to the room (`fedtui room use NAME`) or for a new invite.",
    ),
    "expired": (
        "the invite has expired",
        "Ask for a new one: `fedtui room invite`.",
    ),
    "used_up": (
        "the invite has been used as often as it allows",
        "Ask for a new one: `fedtui room invite --uses 30` serves a whole group.",
    ),
    "revoked": (
        "the invite was withdrawn",
        "Ask the room's admin for a new one.",
    ),
    "burnt": (
        "the code was guessed wrongly three times and is burnt",
        "Ask for a new code. If nobody mistyped it, somebody on the network is guessing.",
    ),
    "wrong_code": (
        "the code is wrong",
        "Check the words with the inviter: after three wrong tries the code is burnt.",
    ),
    "declined": (
        "the room's admin said no",
        "Speak with them; they see your name and your six words when you ask again.",
    ),
    "unanswered": (
        "nobody answered the question whether to let this machine in",
        "Ask the admin to look at their screen (or `fedtui room requests`), then try again.",
    ),
    "removed": (
        "this machine was removed from the room, and a removed key never comes back",
        "If that was a mistake, join with a fresh profile (another FEDTUI_HOME).",
    ),
    "room_full": (
        "the room has as many members as it can have",
        "An admin can remove one: `fedtui room remove PEER`.",
    ),
    "past_full": (
        "the room's members changed so often that a newcomer cannot be told of all the changes",
        "Create a new room for whoever wants to go on (`fedtui room create NAME`).",
    ),
    "closing": (
        "the inviter's machine is shutting down",
        "Try again when it runs.",
    ),
    "failed": (
        "the inviter's machine could not admit this one",
        "Its log says why (`fedtui locate` there); try again afterwards.",
    ),
}
_TRANSIENT: Final = frozenset({"busy", "unanswered", "closing", "failed"})


class InviteRefused(TrustError):
    """The lobby said no for good. ``reason`` is the :data:`Refusal`."""

    title = "The room did not let this machine in"

    def __init__(self, reason: Refusal, detail: str = "") -> None:
        cause, remedy = _WORDS[reason]
        super().__init__(f"{cause}{detail}", remedy=remedy)
        self.reason = reason


class NotNow(NetworkError):
    """The lobby said no, and may say yes to the next try. ``reason`` is the :data:`Refusal`."""

    title = "The room did not let this machine in yet"

    def __init__(self, reason: Refusal, detail: str = "") -> None:
        cause, remedy = _WORDS[reason]
        super().__init__(f"{cause}{detail}", remedy=remedy)
        self.reason = reason


def reason_words(reason: Refusal) -> str:
    """Why somebody was not let in, in one clause."""
    return _WORDS[reason][0]


def refused(reason: Refusal, detail: str = "") -> InviteRefused | NotNow:
    """The error for a lobby's answer."""
    return (NotNow if reason in _TRANSIENT else InviteRefused)(reason, detail)


Trouble = Literal[
    "no_lobby", "wrong_network", "closed", "isolated", "silent", "wrong_machine", "no_network",
    "interrupted",
]  # fmt: skip


class Unreachable(NetworkError):
    """The lobby could not be spoken to at all. ``trouble`` says which case it is."""

    title = "The room could not be reached"

    def __init__(self, trouble: Trouble, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy=remedy)
        self.trouble: Trouble = trouble
