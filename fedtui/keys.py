"""Which key a profile has in which room, and giving it another one.

A profile has one key for all its rooms until it changes the one it has in some room. From then on
the new key is the profile's, for that room and for those to come; every other room keeps the old
one in its folder, because its members know this machine by that. The new key lies in the room's
folder from before anything is signed with it until a commit has put it into the old one's place, so
a crash at any moment loses neither.
"""

from __future__ import annotations

from fedtui.errors import FedtuiError
from fedtui.paths import Profile, RoomPaths
from p2p.durable import sync_directory
from p2p.identity import Identity


def identity_in(profile: Profile, room: RoomPaths) -> Identity:
    """The key of this profile in a room; the profile's is made if there is none."""
    return Identity.load_or_create(room.identity if room.identity.is_file() else profile.identity)


def keep(profile: Profile, room: RoomPaths, identity: Identity) -> None:
    """Has a room that was entered with ``identity`` know this machine by it from now on, whatever
    key the profile has got since."""
    if identity_in(profile, room).peer_id != identity.peer_id:
        identity.save(room.identity)


def next_identity(room: RoomPaths) -> Identity:
    """The key that is to take the place of the one in use: always the same until it has."""
    return Identity.load_or_create(room.next_identity)


def take_next(profile: Profile, room: RoomPaths, successor: str) -> None:
    """Uses the next key from now on; ``successor`` is the one that the room has agreed on.

    Raises :class:`FedtuiError` when that is not the key that lies here, StorageError when the disk
    refuses.
    """
    if not room.next_identity.is_file() or next_identity(room).peer_id != successor:
        raise FedtuiError(
            "the room knows this machine by a key that is not here",
            f"{room.next_identity} is missing or holds another one",
            "restore it from a backup, or ask an admin for a new invite",
        )
    taken = room.identity
    if not taken.is_file():
        taken = profile.identity
        old = Identity.load_or_create(taken)
        for folder in profile.rooms.iterdir():
            other = profile.room(folder.name)
            if other != room and not other.identity.is_file():
                old.save(other.identity)
    room.next_identity.replace(taken)
    sync_directory(room.root)
    sync_directory(taken.parent)
