"""A room's committed rounds, read from its ledger and proven."""

from __future__ import annotations

from fedtui.errors import FedtuiError, TrustError
from fedtui.rooms import Room
from p2p.errors import P2PError, StorageError
from p2p.rounds.proof import History, LedgerDamaged, prove, read_ledger


def proven(room: Room) -> History:
    """The history of a room, which a node may be working for; empty where none has begun to.

    Raises :class:`FedtuiError` when the ledger cannot be read, :class:`TrustError` when what it
    says cannot be.
    """
    try:
        return prove(room.envelope, read_ledger(room.paths.root, room.id))
    except LedgerDamaged as error:
        raise TrustError("the ledger does not hold", error.cause) from error
    except StorageError as error:
        raise FedtuiError(
            "the ledger cannot be read", error.cause, "check its permissions, then try again"
        ) from error
    except P2PError as error:
        raise TrustError("the ledger does not hold", error.cause) from error
