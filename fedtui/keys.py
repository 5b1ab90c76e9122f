"""Which key a profile has in which room, and giving it another one.

A profile has one key for all its rooms until it changes the one it has in some room: that room's
folder then holds a key of its own. The new key lies beside it from before anything is signed with
it until a commit has put it into the old one's place, so a crash at any moment loses neither.
"""

from __future__ import annotations

from fedtui.errors import FedtuiError
from fedtui.paths import Profile, RoomPaths
from p2p.durable import sync_directory
from p2p.identity import Identity


def identity_in(profile: Profile, room: RoomPaths) -> Identity:
    """The key of this profile in a room; the profile's is made if there is none."""
    own = room.identity
    return Identity.load_or_create(own if own.is_file() else profile.identity)


def next_identity(room: RoomPaths) -> Identity:
    """The key that is to take the place of the one in use: always the same until it has."""
    return Identity.load_or_create(room.next_identity)


def take_next(room: RoomPaths, successor: str) -> None:
    """Uses the next key from now on; ``successor`` is the one that the room has agreed on.

    Raises :class:`FedtuiError` when that is not the key that lies here.
    """
    if not room.next_identity.is_file() or next_identity(room).peer_id != successor:
        raise FedtuiError(
            "the room knows this machine by a key that is not here",
            f"{room.next_identity} is missing or holds another one",
            "restore it from a backup, or ask an admin for a new invite",
        )
    room.next_identity.replace(room.identity)
    sync_directory(room.root)
