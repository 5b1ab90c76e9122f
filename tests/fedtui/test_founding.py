"""A demo's room follows from its seed, and each profile of it can be read back."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedtui import rooms, settings
from fedtui.agreement import terms
from fedtui.cli.welcome import _enter
from fedtui.demo.founding import Founded, found
from fedtui.demo.options import DemoOptions, open_directory
from fedtui.errors import FedtuiError, UsageError
from fedtui.founding import RoomChoices, found_room
from fedtui.paths import Profile
from fedtui.room_plan import RoomPlan
from fedtui.task import Task, check_model, read_task
from fedtui.training import TrainerProcess
from fedtui.tui.welcome import Choice
from p2p.identity import Identity, check_certificate
from trainer.protocol import AdapterSpec, SampleData


async def founded(root: Path, options: DemoOptions) -> Founded:
    arithmetic = TrainerProcess("arithmetic")
    try:
        return await found(options, open_directory(replace(options, directory=root)), arithmetic)
    finally:
        await arithmetic.stop()


async def test_a_seed_decides_all_but_which_room_it_is(tmp_path: Path) -> None:
    """Two demos of one seed on one machine must not take each other for copies."""
    options = DemoOptions(nodes=3)
    first = await founded(tmp_path / "first", options)
    second = await founded(tmp_path / "second", options)
    other = await founded(tmp_path / "other", replace(options, seed=1))
    assert len({each.room.id for each in (first, second, other)}) == 3
    one, two = (each.room.genesis.model_dump(exclude={"nonce"}) for each in (first, second))
    assert one == two
    ids = {p.identity.peer_id for each in (first, other) for p in each.participants}
    assert len(ids) == 6


async def test_every_profile_can_be_started_from(tmp_path: Path) -> None:
    made = await founded(tmp_path / "demo", DemoOptions(nodes=2))
    members = {member.peer_id: member for member in made.room.genesis.members}
    for each in made.participants:
        assert rooms.current(each.profile).id == made.room.id
        assert settings.load(each.profile).name == each.name
        identity = Identity.load_or_create(each.profile.identity)
        assert identity.peer_id in members
        check_certificate(identity.certificate_der(), identity.peer_id)
    assert all(mode(each.profile.identity) == 0o600 for each in made.participants)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_users_own_pictures_are_shared_out_and_become_the_prompts(tmp_path: Path) -> None:
    arithmetic = TrainerProcess("arithmetic")
    await arithmetic.request(SampleData(str(tmp_path / "mine"), 10, seed=5))
    await arithmetic.stop()
    made = await founded(tmp_path / "demo", DemoOptions(nodes=2, data=tmp_path / "mine"))
    shares = [count_pictures(each.data) for each in made.participants]
    assert shares == [4, 4]
    assert count_pictures(made.paths.holdout) == 2
    captions = {path.read_text().strip() for path in (tmp_path / "mine").glob("*.txt")}
    assert set(made.room.task.preview.prompts) <= captions


def count_pictures(folder: Path) -> int:
    return len(list(folder.glob("*.png")))


async def test_too_few_pictures_are_refused_before_anything_starts(tmp_path: Path) -> None:
    arithmetic = TrainerProcess("arithmetic")
    await arithmetic.request(SampleData(str(tmp_path / "mine"), 2))
    await arithmetic.stop()
    with pytest.raises(FedtuiError, match="too few pictures") as caught:
        await founded(tmp_path / "demo", DemoOptions(nodes=3, data=tmp_path / "mine"))
    assert caught.value.code == 5


def test_a_demo_never_writes_into_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="not empty"):
        open_directory(DemoOptions(directory=tmp_path))


async def test_a_genesis_that_was_changed_is_refused(tmp_path: Path) -> None:
    made = await founded(tmp_path / "demo", DemoOptions(nodes=1))
    profile = made.participants[0].profile
    elsewhere = made.room.paths.root.with_name("0" * 64)
    made.room.paths.root.rename(elsewhere)
    rooms.write_state(profile, room="0" * 64)
    with pytest.raises(FedtuiError, match="damaged"):
        rooms.current(profile)


def task(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "model": "tiny-landscapes",
        "model_sha256": "0" * 64,
        "steps": 5,
        "preview": {"prompts": ["night"]},
    }
    return {**values, **changes}


def test_a_room_of_the_first_screen_has_the_plan_that_was_chosen_there(tmp_path: Path) -> None:
    profile = Profile(tmp_path)
    plan = RoomPlan(rounds=8, steps=20, needed=3, on_request=True, prompt="a fox")
    _enter(profile, settings.Settings(), Choice("create", "lena", "sunflower", plan))
    room = rooms.current(profile)
    made = room.genesis.plan
    assert (made.rounds, made.min_contributions, made.start_on_request) == (8, 3, True)
    assert (room.name, room.task.steps, room.task.preview.prompts) == ("sunflower", 20, ["a fox"])


async def test_the_policy_is_what_the_founder_chose(tmp_path: Path) -> None:
    profile = Profile(tmp_path)
    profile.create()
    me = Identity.load_or_create(profile.identity)
    choices = RoomChoices("Attic", quorum="two_thirds", min_voters=5, max_blob_mib=16, threshold=2)
    room = await found_room(profile, me, "Ada", choices)
    genesis = room.genesis
    told = {term.name: term.value for term in terms(room, admins=1, threshold=2)}
    assert told["quorum"] == "more than two thirds of the voters"
    assert told["voters"] == "never fewer than 5"
    assert told["largest file"] == "16 MiB"
    assert told["signatures"] == "2 admins, or all while there are fewer"
    policy = (genesis.policy.quorum, genesis.policy.min_voters, genesis.policy.max_blob)
    assert policy == ("two_thirds", 5, 16 << 20)
    assert genesis.admin_threshold == 2
    with pytest.raises(UsageError, match="contributions to this room have"):
        await found_room(profile, me, "Ada", replace(choices, max_blob_mib=1, rank=64))


async def test_whole_weights_have_no_personal_layers(tmp_path: Path) -> None:
    choices = RoomChoices("club", algorithm="dense", personal=("conv1",))
    with pytest.raises(UsageError, match="no personal layers"):
        await found_room(Profile(tmp_path), Identity.from_seed(b"x" * 32), "me", choices)


@pytest.mark.parametrize("choice", [{"alpha": 4}, {"dropout": 0.1}, {"rank_stabilised": True}])
async def test_whole_weights_have_no_adapter_to_scale(
    tmp_path: Path, choice: dict[str, Any]
) -> None:
    choices = RoomChoices("club", algorithm="dense", **choice)
    with pytest.raises(UsageError, match="no adapter"):
        await found_room(Profile(tmp_path), Identity.from_seed(b"x" * 32), "me", choices)


def test_a_plan_with_a_plain_adapter_keeps_its_bytes() -> None:
    """So that members of an older version still follow it."""
    plain = read_task(task()).to_plan()["adapter"]
    assert set(plain) == {"rank", "alpha", "targets", "personal"}
    scaled = read_task(task(adapter={**plain, "dropout_milli": 50, "rank_stabilised": True}))
    assert Task.model_validate(scaled.to_plan()) == scaled
    assert scaled.adapter.spec == AdapterSpec(dropout=0.05, rank_stabilised=True)


def test_a_task_survives_its_plan() -> None:
    read = read_task(task())
    assert Task.model_validate(read.to_plan()) == read
    assert read.learning_rate == 0.001
    assert read.preview.guidance == 3.0


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0},
        {"steps": 1.5},
        {"model_sha256": "xyz"},
        {"learning_rate_micro": 10_000_000},
        {"preview": {"prompts": []}},
        {"surprise": 1},
        {"adapter": {"dropout_milli": 1000}},
    ],
)
def test_a_task_nobody_can_follow_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FedtuiError, match="plan"):
        read_task(task(**changes))


def test_another_model_than_the_rooms_is_a_matter_of_trust() -> None:
    check_model(read_task(task()), "0" * 64)
    with pytest.raises(FedtuiError, match="not the one of the room") as caught:
        check_model(read_task(task()), "1" * 64)
    assert caught.value.code == 4
