"""What can go wrong between peers.

Every error carries what a person needs: a title (what happened), a cause (why) and a remedy (what
to do). Exceptions of other libraries are translated into these where they enter the package.
"""

from __future__ import annotations


class P2PError(Exception):
    """Base of the family. ``cause`` is one sentence about this case; the rest has defaults."""

    title = "Something between the peers went wrong"
    remedy = "Look at the node's log for details."

    def __init__(self, cause: str, *, remedy: str | None = None) -> None:
        super().__init__(cause)
        self.cause = cause
        if remedy is not None:
            self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.title}: {self.cause}"


class ProtocolError(P2PError):
    """Bytes that do not follow the protocol. The sender is at fault; nothing of them is used."""

    title = "A message was refused"
    remedy = (
        "The sender should update fedtui; if it persists, its admin should look at that machine."
    )


class LimitError(ProtocolError):
    """A size, rate or count above its budget (:mod:`p2p.limits`)."""

    title = "A limit was exceeded"
    remedy = "Nothing to do: the sender is slowed down or cut off."


class Overloaded(P2PError):
    """This node has no room for one more message; its sender is not to blame."""

    title = "This machine is busy"
    remedy = "Nothing to do: the sender tries again in a moment."


class TrustError(P2PError):
    """An identity, signature or membership that must not be trusted. Never retried."""

    title = "An identity could not be trusted"
    remedy = "Check with the room's admin that the machine is a member."


class RemovedError(TrustError):
    """This machine belonged to the room and does no longer."""

    title = "This machine is no member of the room any more"
    remedy = (
        "Speak with an admin of the room. A removed key never comes back: `fedtui room leave` ends"
        " the work for this room here, and another profile (FEDTUI_HOME) has a key of its own."
    )


class NetworkError(P2PError):
    """A peer that cannot be reached or does not answer, or a port that cannot be opened."""

    title = "The network did not cooperate"
    remedy = "Check that both machines are on the same network and try again."


class BlobUnavailable(NetworkError):
    """No source could deliver the bytes that a SHA-256 names."""

    title = "A file could not be fetched"
    remedy = "It is tried again when a member that has it is reachable."


class PeerBusy(NetworkError):
    """A peer that has no room for one more request at the moment."""

    title = "A peer is busy"
    remedy = "Nothing to do: it is asked again in a moment."


class StorageError(P2PError):
    """The disk is full, not writable, or holds damaged files."""

    title = "The disk refused"
    remedy = "Free some space in the profile directory and check its permissions."
