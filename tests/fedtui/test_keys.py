"""Which key this machine has in which room, before, while and after it is changed."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fedtui.errors import FedtuiError
from fedtui.keys import identity_in, keep, next_identity, take_next
from fedtui.paths import Profile, RoomPaths
from p2p.identity import Identity


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    profile = Profile(tmp_path)
    profile.create()
    return profile


@pytest.fixture
def room(profile: Profile) -> Callable[[str], RoomPaths]:
    def made(name: str) -> RoomPaths:
        paths = profile.room(name)
        paths.root.mkdir(parents=True)
        return paths

    return made


def test_the_new_key_is_the_profiles_and_other_rooms_keep_the_old_one(
    profile: Profile, room: Callable[[str], RoomPaths]
) -> None:
    attic, cellar = room("attic"), room("cellar")
    old = identity_in(profile, attic).peer_id
    new = next_identity(attic).peer_id
    assert identity_in(profile, attic).peer_id == old, "until the room has agreed"
    take_next(profile, attic, new)
    assert [identity_in(profile, r).peer_id for r in (attic, cellar, room("new"))] == [
        new, old, new,
    ]  # fmt: skip
    assert stat.S_IMODE(cellar.identity.stat().st_mode) == 0o600
    assert not attic.next_identity.exists()


def test_a_room_with_a_key_of_its_own_changes_that(
    profile: Profile, room: Callable[[str], RoomPaths]
) -> None:
    attic, cellar = room("attic"), room("cellar")
    take_next(profile, attic, next_identity(attic).peer_id)
    mine = identity_in(profile, attic).peer_id
    new = next_identity(cellar).peer_id
    take_next(profile, cellar, new)
    assert [identity_in(profile, r).peer_id for r in (attic, cellar)] == [mine, new]


def test_a_crash_while_keys_change_loses_none(
    profile: Profile, room: Callable[[str], RoomPaths], monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [room(name) for name in ("attic", "cellar", "loft")]
    old, new = identity_in(profile, rooms[0]).peer_id, next_identity(rooms[0]).peer_id
    save = Identity.save

    def fails_at_the_second(self: Identity, path: Path) -> None:
        if any(other.identity.is_file() for other in rooms):
            raise OSError("power cut")
        save(self, path)

    with monkeypatch.context() as crash:
        crash.setattr(Identity, "save", fails_at_the_second)
        with pytest.raises(OSError, match="power cut"):
            take_next(profile, rooms[0], new)
    assert {identity_in(profile, r).peer_id for r in rooms} == {old}
    take_next(profile, rooms[0], next_identity(rooms[0]).peer_id)
    assert [identity_in(profile, r).peer_id for r in rooms] == [new, old, old]


def test_no_other_key_is_taken_than_the_room_agreed_on(
    profile: Profile, room: Callable[[str], RoomPaths]
) -> None:
    attic = room("attic")
    old = identity_in(profile, attic).peer_id
    with pytest.raises(FedtuiError, match="not here"):
        take_next(profile, attic, "z" * 52)
    next_identity(attic)
    with pytest.raises(FedtuiError, match="not here"):
        take_next(profile, attic, "z" * 52)
    assert identity_in(profile, attic).peer_id == old


def test_a_room_entered_while_the_key_changed_keeps_the_one_it_knows(
    profile: Profile, room: Callable[[str], RoomPaths]
) -> None:
    attic = room("attic")
    asked_with = identity_in(profile, attic)
    take_next(profile, attic, next_identity(attic).peer_id)
    cellar = room("cellar")
    keep(profile, cellar, asked_with)
    assert identity_in(profile, cellar).peer_id == asked_with.peer_id
