"""A room that lost its quorum goes on: from the last result, with those who are left."""

from __future__ import annotations

from pathlib import Path

import pytest
from member_rig import identity
from reception_rig import TASK

from fedtui import founding, rooms
from fedtui.errors import UsageError
from fedtui.founding import continue_room
from fedtui.paths import Profile
from p2p.blobs.chunks import describe
from p2p.envelope import open_genesis, seal_genesis
from p2p.room import Continuation, Genesis, Member, Plan, Policy

ADA, GRACE, ALAN = (identity(number) for number in (1, 2, 3))


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    profile = Profile(tmp_path / "home")
    profile.create()
    return profile


def founded(profile: Profile) -> rooms.Room:
    genesis = Genesis(
        room_name="Attic",
        created_ms=0,
        admins=[GRACE.peer_id],
        policy=Policy(quorum="two_thirds"),
        members=[Member.of(GRACE, "Grace", "admin"), Member.of(ALAN, "Alan")],
        plan=Plan(rounds=5, deadline_ms=60_000, task=TASK),
        initial_blob="0" * 64,
        initial_size=1,
        initial_chunks="0" * 64,
        nonce="0" * 32,
    )
    return rooms.enter(profile, seal_genesis(GRACE, genesis.to_bytes()))


async def fork(profile: Profile, old: rooms.Room, after: int, tmp_path: Path) -> rooms.Room:
    result = tmp_path / "result"
    result.write_bytes(b"the adapter of round 3")
    return await continue_room(
        profile,
        ADA,
        old,
        [Member.of(GRACE, "Grace", "admin"), Member.of(ADA, "Ada")],
        Continuation(room=old.id, round=after, head="ab" * 32),
        (describe(result), result),
    )


async def test_a_fork_has_the_survivors_the_rounds_left_and_the_last_result(
    profile: Profile, tmp_path: Path
) -> None:
    old = founded(profile)
    new = await fork(profile, old, 3, tmp_path)
    genesis = new.genesis
    assert new.id != old.id
    assert rooms.current(profile) == old, "nobody knows of it yet"
    assert rooms.named(profile, new.id) == new
    assert genesis.continues == Continuation(room=old.id, round=3, head="ab" * 32)
    assert {m.name: m.role for m in genesis.members} == {"Ada": "admin", "Grace": "participant"}
    assert (genesis.admins, genesis.admin_threshold) == ([ADA.peer_id], 1)
    assert genesis.plan.rounds == 2
    assert genesis.policy == old.genesis.policy
    assert describe(new.paths.initial).sha256 == genesis.initial_blob
    assert open_genesis(new.envelope.to_bytes()).signer == ADA.peer_id


async def test_a_disk_that_refuses_leaves_no_half_of_a_fork(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    old = founded(profile)
    monkeypatch.setattr(founding, "publish_copy", full)
    with pytest.raises(OSError, match="No space"):
        await fork(profile, old, 3, tmp_path)
    assert [room.id for room in rooms.listed(profile)] == [old.id]


async def test_a_room_that_is_done_is_not_forked(profile: Profile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="done"):
        await fork(profile, founded(profile), 5, tmp_path)


def test_a_room_that_continues_nothing_keeps_its_id(profile: Profile) -> None:
    """Ids of rooms made before there were forks must not change."""
    assert b"continues" not in founded(profile).envelope.payload
