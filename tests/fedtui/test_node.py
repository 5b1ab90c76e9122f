"""What a node does about a disk that refuses, beyond what its parts do."""

from __future__ import annotations

from pathlib import Path

import pytest
from member_rig import eventually, identity
from PIL import Image
from reception_rig import LOOPBACK, TASK

from fedtui import keeping, node, rooms
from fedtui.errors import FedtuiError
from fedtui.node import Node
from fedtui.paths import Profile, RoomPaths, sha256_of
from fedtui.settings import Settings
from p2p.blobs.chunks import describe
from p2p.envelope import Envelope, seal_genesis
from p2p.errors import ProtocolError, StorageError
from p2p.identity import Identity
from p2p.pacing import Bandwidth
from p2p.room import Genesis, Member, Plan, Policy


def founded(profile: Profile, founder: Identity, initial: bytes) -> rooms.Room:
    path = profile.root / "initial"
    path.write_bytes(initial)
    ref = describe(path)
    genesis = Genesis(
        room_name="Attic",
        created_ms=0,
        admins=[founder.peer_id],
        policy=Policy(min_voters=1),
        members=[Member.of(founder, "Ada", "admin")],
        plan=Plan(rounds=3, deadline_ms=600_000, min_contributions=2, task=TASK),
        initial_blob=ref.sha256,
        initial_size=ref.size,
        initial_chunks=ref.chunks,
        nonce="0" * 32,
    )
    room = rooms.enter(profile, seal_genesis(founder, genesis.to_bytes()))
    path.replace(room.paths.initial)
    return room


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    profile = Profile(tmp_path / "home")
    profile.create()
    identity(1).save(profile.identity)
    return profile


@pytest.fixture
def room(profile: Profile) -> rooms.Room:
    return founded(profile, identity(1), b"the first adapter")


def node_of(profile: Profile, room: rooms.Room) -> Node:
    return Node(profile, Settings(host=LOOPBACK, interfaces=(LOOPBACK,), previews=False), room)


async def test_what_the_settings_allow_is_all_that_a_room_may_take(
    profile: Profile, room: rooms.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "GIB", 1000)
    monkeypatch.delenv("FEDTUI_THREADS", raising=False)  # It wins over what is given here.
    limits = {"disk_limit": 2, "upload_limit": 128, "download_limit": 256, "threads": 3}
    settings = Settings(host=LOOPBACK, interfaces=(LOOPBACK,), previews=False, **limits)
    made = Node(profile, settings, room)
    await made.start()
    try:
        with pytest.raises(StorageError, match="quota"):
            await made._peer.blobs.put(bytes(2001))
        assert made._peer._bandwidth == Bandwidth(128 << 10, 256 << 10)
        assert made._trainer._environment["FEDTUI_THREADS"] == "3"
    finally:
        await made.stop()


async def test_leaving_a_picture_out_names_no_file_and_is_no_other_folder(
    profile: Profile, room: rooms.Room, tmp_path: Path
) -> None:
    pictures = tmp_path / "moons"
    pictures.mkdir()
    Image.new("RGB", (64, 64)).save(pictures / "neighbour.png")
    settings = Settings(host=LOOPBACK, interfaces=(LOOPBACK,), previews=False, data=str(pictures))
    made = Node(profile, settings, room)
    await made.start()
    try:
        asked = {"folder": str(pictures), "file": "neighbour.png"}
        for excluded in (True, False):
            await made.operations.run("exclude_picture", {**asked, "excluded": excluded})
        told = [event for event in made._stream.since() if event["type"] == "picture.excluded"]
        assert [(e["excluded"], e["count"], e["anew"]) for e in told] == [
            (True, 1, False),
            (False, 0, False),
        ]
        assert not [e for e in made._stream.since() if "from now on" in e.get("text", "")]
        assert "neighbour" not in profile.events.read_text()
    finally:
        await made.stop()


async def test_a_disk_that_was_full_for_a_while_ends_no_training(
    profile: Profile, room: rooms.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, refused = keeping.keep_adapter, []

    def full_at_first(paths: RoomPaths, blob: Path, sha256: str, number: int) -> Path:
        if len(refused) < 2:
            refused.append(number)
            raise OSError(28, "No space left on device")
        return keep(paths, blob, sha256, number)

    monkeypatch.setattr(keeping, "keep_adapter", full_at_first)
    monkeypatch.setattr(node, "STATE_RETRY_S", 0.01)
    made = node_of(profile, room)
    await made.start()
    try:
        await eventually(lambda: made._learner._goal is not None)
        goal = made._learner._goal
        assert goal is not None
        assert (goal.round, goal.adapter) == (1, room.paths.initial)
        assert goal.adapter_sha256 == sha256_of(room.paths.initial)
        told = [event for event in made.past_events(0) if "No space" in event.get("text", "")]
        assert len(told) == 1
    finally:
        await made.stop()


async def test_a_fork_that_the_room_refuses_leaves_the_profile_where_it_was(
    profile: Profile, room: rooms.Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = node_of(profile, room)
    await made.start()

    async def moved_on(envelope: Envelope) -> None:
        raise ProtocolError("a fork must go on from the last commit of this room")

    monkeypatch.setattr(made._peer.changes, "fork", moved_on)
    try:
        with pytest.raises(FedtuiError) as refused:
            await made.operations.run("recover", {"anyway": True})
        assert "last commit" in refused.value.cause
        assert rooms.current(profile) == room
        assert rooms.listed(profile) == [room]
        assert not made.switching
    finally:
        await made.stop()
