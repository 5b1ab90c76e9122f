"""Joining a room that the profile has already."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from member_rig import identity
from reception_rig import LOOPBACK, Host, host

from fedtui import rooms
from fedtui.entering import Entry, enter
from fedtui.errors import FedtuiError
from fedtui.paths import Profile
from fedtui.settings import Settings
from p2p.identity import Identity
from p2p.joining.handshake import invite_id
from p2p.joining.link import InviteLink, parse_link

SETTINGS = Settings(host=LOOPBACK, interfaces=(LOOPBACK,), name="Grace")


@pytest.fixture
async def ada(tmp_path: Path) -> AsyncIterator[Host]:
    async with host(tmp_path / "ada", identity(1)) as ada:
        yield ada


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    return Profile(tmp_path / "grace")


async def link_of(ada: Host, **choices: object) -> InviteLink:
    return parse_link((await ada.do("invite", auto_approve=True, **choices))["text"])


async def join(profile: Profile, link: InviteLink, **options: object) -> Entry:
    return await enter(profile, SETTINGS, link, **options)


def me(profile: Profile) -> str:
    return Identity.load_or_create(profile.identity).peer_id


async def test_the_room_is_on_disk_with_all_a_node_needs(ada: Host, profile: Profile) -> None:
    entry = await join(profile, await link_of(ada))
    room = rooms.current(profile)
    assert room.id == entry.room.id == ada.room.id
    assert entry.inviter == ada.identity.peer_id
    assert len(rooms.read_operations(room.joining)) == 1
    assert str(ada.peer.port) in room.joining.addresses[entry.inviter][0]
    assert ada.peer.members[me(profile)].name == "Grace"


async def test_a_service_that_says_it_at_every_start_is_not_in_the_way(
    ada: Host, profile: Profile
) -> None:
    link = await link_of(ada)
    await join(profile, link)
    await ada.reception.stop()
    assert (await join(profile, link, ask_again=False)).was_member
    assert (await join(profile, link)).was_member


async def test_who_was_removed_is_told_so(ada: Host, profile: Profile) -> None:
    link = await link_of(ada, uses=5)
    await join(profile, link)
    await ada.do("remove", peer="Grace")
    with pytest.raises(FedtuiError, match="did not let") as caught:
        await join(profile, link)
    assert "removed" in caught.value.cause
    assert caught.value.code == 4


async def test_a_failed_joining_changes_nothing(ada: Host, profile: Profile) -> None:
    await join(profile, await link_of(ada))
    rooms.use(profile, None)
    link = await link_of(ada)
    await ada.do("revoke", id=invite_id(link.secret))
    wrong = InviteLink(**{**vars(link), "room": "0" * 64})
    with pytest.raises(FedtuiError):
        await join(profile, wrong)
    assert not rooms.is_chosen(profile)
    assert len(rooms.listed(profile)) == 1
