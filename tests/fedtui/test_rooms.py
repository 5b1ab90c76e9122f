"""Several rooms in one profile, one of them active; and what lies on disk of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from member_rig import identity

from fedtui import rooms
from fedtui.errors import FedtuiError, UsageError
from fedtui.paths import Profile
from p2p.addresses import Address
from p2p.envelope import Envelope, seal_genesis
from p2p.errors import ProtocolError
from p2p.room import Genesis, Member, Plan, Policy

TASK = {
    "model": "tiny-landscapes",
    "model_sha256": "0" * 64,
    "steps": 5,
    "preview": {"prompts": ["night"]},
}


def genesis(name: str, nonce: str = "0") -> Envelope:
    founder = identity(1)
    made = Genesis(
        room_name=name,
        created_ms=0,
        admins=[founder.peer_id],
        policy=Policy(min_voters=1),
        members=[Member.of(founder, "Ada", "admin")],
        plan=Plan(rounds=1, deadline_ms=60_000, task=TASK),
        initial_blob="0" * 64,
        initial_size=1,
        initial_chunks="0" * 64,
        nonce=nonce * 32,
    )
    return seal_genesis(founder, made.to_bytes())


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    profile = Profile(tmp_path / "home")
    profile.create()
    return profile


def test_without_a_room_one_is_told_how_to_get_one(profile: Profile) -> None:
    assert not rooms.is_chosen(profile)
    with pytest.raises(UsageError) as caught:
        rooms.current(profile)
    assert "room create" in caught.value.remedy
    assert "room join" in caught.value.remedy


def test_several_rooms_and_one_of_them_active(profile: Profile) -> None:
    attic, cellar = (rooms.enter(profile, genesis(name)) for name in ("Attic", "cellar"))
    assert [room.name for room in rooms.listed(profile)] == ["Attic", "cellar"]
    assert rooms.current(profile) == cellar
    rooms.use(profile, rooms.named(profile, "ATTIC"))
    assert rooms.current(profile) == attic
    assert rooms.named(profile, cellar.id[:6]) == cellar
    rooms.use(profile, None)
    assert not rooms.is_chosen(profile)


@pytest.mark.parametrize("name", ["garden", "", "a", "zzzz"])
def test_a_room_nobody_knows_is_refused_with_those_there_are(profile: Profile, name: str) -> None:
    rooms.enter(profile, genesis("Attic"))
    with pytest.raises(UsageError) as caught:
        rooms.named(profile, name)
    assert "Attic" in caught.value.cause


def test_two_rooms_of_one_name_are_told_apart_by_their_ids(profile: Profile) -> None:
    one, _ = (rooms.enter(profile, genesis("Attic", nonce)) for nonce in "01")
    with pytest.raises(UsageError, match="more than one"):
        rooms.named(profile, "attic")
    assert rooms.named(profile, one.id[:8]) == one


def test_what_a_lobby_gave_is_there_after_a_restart(profile: Profile) -> None:
    ada = identity(1).peer_id
    joining = rooms.Joining(
        operations=("{}",),
        addresses={ada: ("10.0.0.7:47778",)},
        inviter=ada,
        head_round=3,
        head="ab" * 32,
    )
    room = rooms.enter(profile, genesis("Attic"), joining)
    assert rooms.load(profile, room.id).joining == joining
    assert rooms.read_addresses(joining) == {ada: (Address("10.0.0.7", 47778),)}
    with pytest.raises(ProtocolError):
        rooms.read_operations(joining)


def test_a_damaged_joining_is_named_and_hides_no_other_room(profile: Profile) -> None:
    room = rooms.enter(profile, genesis("Attic"), rooms.Joining())
    rooms.enter(profile, genesis("cellar"))
    room.paths.joining.write_text("{")
    with pytest.raises(FedtuiError, match="damaged"):
        rooms.load(profile, room.id)
    assert [room.name for room in rooms.listed(profile)] == ["cellar"]


def test_a_rooms_name_is_harmless_wherever_it_is_shown(profile: Profile) -> None:
    room = rooms.enter(profile, genesis("\x1b]0;x\x07[b]At\u202etic"))
    assert room.name == "]0;x[b]Attic"


def test_the_state_of_a_profile_is_whole_at_every_moment(profile: Profile) -> None:
    room = rooms.enter(profile, genesis("Attic"))
    rooms.write_state(profile, other=1)
    assert json.loads(profile.state.read_text()) == {"room": room.id, "other": 1}


def test_another_history_than_the_inviter_vouched_for_is_a_matter_of_trust() -> None:
    vouched = rooms.Joining(head_round=2, head="ab" * 32)
    assert rooms.contradiction(vouched, {}) is None
    assert rooms.contradiction(vouched, {1: "cd" * 32, 2: "ab" * 32, 3: "ef" * 32}) is None
    assert rooms.contradiction(rooms.Joining(), {1: "cd" * 32}) is None
    error = rooms.contradiction(vouched, {1: "ab" * 32, 2: "cd" * 32})
    assert error is not None
    assert error.code == 4
