"""Three people who have never met make a room, join it by link and by code, and train a round."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_rig import PATIENCE
from joining_rig import Home


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[list[Home]]:
    homes = [Home(tmp_path / name) for name in ("ada", "grace", "alan")]
    yield homes
    for home in homes:
        home.terminate()
    for home in homes:
        home.stop()


@pytest.mark.slow
def test_a_room_from_nothing_to_a_common_adapter(homes: list[Home], tmp_path: Path) -> None:
    ada, grace, alan = homes
    for number, folder in enumerate(("ada-pictures", "grace-pictures")):
        ada.run("data", "sample", str(tmp_path / folder), "--count", "6", "--seed", str(number))
    picture = keep_secret(tmp_path / "grace-pictures")

    made = ada.json(
        "room", "create", "Attic", "--as", "Ada", "--rounds", "1", "--steps", "2", "--auto-approve"
    )
    ada.serve("--data", str(tmp_path / "ada-pictures"))

    joined = grace.json("room", "join", made["invite"]["text"], "--as", "Grace")
    assert joined["room"] == made["room"]
    grace.serve("--data", str(tmp_path / "grace-pictures"))

    code = ada.json("room", "invite", "--code")["text"]
    asking = alan.start("room", "join", code, "--as", "Alan", "--observe", "--json")
    ada.eventually(lambda: bool(ada.json("room", "requests")))
    (request,) = ada.json("room", "requests")
    assert request["name"] == "Alan"
    assert ada.view()["requests"][0]["request"] == request["request"]
    ada.run("room", "approve", request["request"])
    told, _ = asking.communicate(timeout=PATIENCE)
    assert json.loads(told)["words"] == request["words"]
    alan.serve()

    for home in homes:
        home.eventually(lambda home=home: home.view()["round"]["phase"] == "DONE")
    heads = {home.view()["head"] for home in homes}
    assert len(heads) == 1
    (commit,) = ada.json("rounds")
    assert {one["peer"] for one in commit["inputs"]} == {ada.view()["id"], grace.view()["id"]}
    adapters = {home.view()["adapter"] for home in homes}
    assert len({Path(path).read_bytes() for path in adapters}) == 1
    members = {m["name"]: m for m in ada.json("room", "members")}
    assert {name: m["role"] for name, m in members.items()} == {
        "Ada": "admin", "Grace": "participant", "Alan": "observer",
    }  # fmt: skip
    same = {m["name"]: m["words"] for m in alan.json("room", "members")}
    assert same == {name: m["words"] for name, m in members.items()}
    for home in (ada, alan):
        assert secrets_in(home.root, picture) == [], "pictures, captions and paths stay at home"
    assert len(secrets_in(tmp_path / "grace-pictures", picture)) == 2, "it would be noticed"


SECRET = "xyzzyplugh"
"""A word that Grace says of a picture and calls its file."""


def keep_secret(folder: Path) -> bytes:
    """Gives one picture a name and a caption that nobody else has; returns its bytes."""
    picture = min(folder.glob("*.png"))
    picture.with_suffix(".txt").rename(folder / f"{SECRET}.txt").write_text(
        f"a {SECRET} by the sea"
    )
    return picture.rename(folder / f"{SECRET}.png").read_bytes()


def secrets_in(root: Path, picture: bytes) -> list[Path]:
    """Files below a profile that hold the word, the folder's name or the picture."""
    told = (SECRET.encode(), b"grace-pictures", picture[64:-64])
    files = (path for path in root.rglob("*") if path.is_file())
    return [path for path in files if any(part in path.read_bytes() for part in told)]


@pytest.mark.slow
def test_who_is_removed_is_out_and_does_not_come_back(homes: list[Home]) -> None:
    ada, grace, _ = homes
    invite = ada.json("room", "create", "Attic", "--as", "Ada", "--uses", "2", "--auto-approve")
    ada.serve()
    grace.json("room", "join", invite["invite"]["text"], "--as", "Grace")
    grace.serve()
    ada.eventually(lambda: {p["state"] for p in ada.view()["peers"]} == {"WATCH"})
    ada.run("room", "remove", "Grace", "--reason", "test")
    grace.eventually(lambda: bool(grace.view()["removal"]))
    assert "removed from the room by Ada: test" in grace.run("status").stdout
    grace.stop()
    assert "signed by Ada: test" in grace.run("--daemon", code=4).stderr
    refused = grace.run("room", "join", invite["invite"]["text"], code=4)
    assert "removed" in refused.stderr
    assert [m["name"] for m in ada.json("room", "members")] == ["Ada"]


@pytest.mark.slow
def test_a_running_node_moves_to_the_room_that_is_joined_or_chosen(homes: list[Home]) -> None:
    ada, grace, _ = homes
    first = ada.json("room", "create", "Attic", "--as", "Ada", "--auto-approve")
    ada.serve()
    grace.json("room", "create", "Cellar", "--as", "Grace")
    grace.serve()
    assert grace.view()["room_name"] == "Cellar"
    assert grace.json("room", "join", first["invite"]["text"], "--as", "Grace")["node"]
    assert grace.view()["room_name"] == "Attic"
    grace.run("room", "use", "cellar")
    assert grace.view()["room_name"] == "Cellar"
    rooms = {room["name"]: room["active"] for room in grace.json("room", "list")}
    assert rooms == {"Attic": False, "Cellar": True}
    grace.run("room", "use", "attic")
    assert grace.json("room", "plan") == ada.json("room", "plan")
    left = grace.json("room", "leave")
    assert (left["name"], left["told"]) == ("Attic", True)
    assert (Path(left["folder"]) / "genesis.json").is_file(), "what is on disk stays there"
    ada.eventually(lambda: [m["name"] for m in ada.json("room", "members")] == ["Ada"])
    grace.run("status", code=3)


@pytest.mark.slow
def test_an_admin_can_fork_the_room_and_let_others_into_the_fork(homes: list[Home]) -> None:
    ada, grace, _ = homes
    made = ada.json("room", "create", "Attic", "--as", "Ada", "--auto-approve")
    ada.serve()
    grace.json("room", "join", made["invite"]["text"], "--as", "Grace")
    refused = ada.run("room", "recover", code=2)
    assert "still works" in refused.stderr

    fork = ada.json("room", "recover", "--anyway")
    assert ada.view()["room_id"] == fork["room"] != made["room"]
    assert (fork["members"], fork["left_out"]) == (["Ada"], ["Grace"])
    assert any("fork" in event["text"] for event in ada.view()["events"])
    hosting = ada.start("room", "invite", "--wait")
    assert hosting.stdout is not None
    asking = grace.start("room", "join", hosting.stdout.readline(), "--as", "Grace", "--json")
    _, said = hosting.communicate("y\n", timeout=PATIENCE)
    assert "let Grace in? y/N" in said
    joined, _ = asking.communicate(timeout=PATIENCE)
    assert json.loads(joined)["room"] == fork["room"]
    assert " ".join(json.loads(joined)["words"]) in said


@pytest.mark.slow
def test_two_admins_decide_together_and_a_round_begins_when_somebody_says_so(
    homes: list[Home], tmp_path: Path
) -> None:
    ada, grace, alan = homes
    pictures = str(tmp_path / "pictures")
    ada.run("data", "sample", pictures, "--count", "4")
    made = ada.json(
        "room", "create", "Attic", "--as", "Ada", "--rounds", "1", "--steps", "2", "--uses", "2",
        "--threshold", "2", "--start-on-request", "--auto-approve",
    )  # fmt: skip
    ada.serve("--data", pictures)
    for home, name in ((grace, "Grace"), (alan, "Alan")):
        home.json("room", "join", made["invite"]["text"], "--as", name)
    grace.serve("--data", pictures)

    assert ada.json("room", "promote", "Grace")["needs_others"]
    endorse_what_waits(grace)
    ada.eventually(lambda: roles(ada)["Grace"] == "admin")

    assert ada.json("room", "remove", "Alan", "--anyway")["state"] == "needs others"
    assert "asks the admins to remove Alan" in ada.run("status").stdout
    endorse_what_waits(grace)
    ada.eventually(lambda: "Alan" not in roles(ada))

    assert ada.view()["round"]["held"]
    assert "waits to be started" in ada.run("status").stdout
    grace.run("room", "start")
    for home in (ada, grace):
        home.eventually(lambda home=home: home.view()["round"]["phase"] == "DONE")
    assert ada.view()["head"] == grace.view()["head"]


def endorse_what_waits(home: Home) -> None:
    home.eventually(lambda: bool(home.json("room", "changes")))
    (change,) = home.json("room", "changes")
    assert home.json("room", "endorse", change["id"][:8])["missing"] == 0


def roles(home: Home) -> dict[str, str]:
    return {member["name"]: member["role"] for member in home.json("room", "members")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_member_changes_its_key_and_goes_on(homes: list[Home], tmp_path: Path) -> None:
    ada, grace, _ = homes
    pictures = str(tmp_path / "pictures")
    ada.run("data", "sample", pictures, "--count", "4")
    made = ada.json(
        "room", "create", "Attic", "--as", "Ada", "--rounds", "2", "--steps", "2",
        "--start-on-request", "--auto-approve",
    )  # fmt: skip
    ada.serve("--data", pictures)
    grace.json("room", "join", made["invite"]["text"], "--as", "Grace")
    grace.serve("--data", pictures)
    old = grace.view()["id"]

    new = grace.json("room", "new-key")["peer"]
    assert grace.view()["id"] == old, "until the commit"
    ada.run("room", "start", "--all")
    grace.eventually(lambda: (grace.view() or {}).get("id") == new)
    for home in (ada, grace):
        home.eventually(lambda home=home: home.view()["round"]["phase"] == "DONE")
    assert ada.view()["head"] == grace.view()["head"]
    rounds = ada.json("rounds")
    assert [{one["peer"] for one in commit["inputs"]} for commit in rounds] == [
        {ada.view()["id"], old},
        {ada.view()["id"], new},
    ]
    told = [event for event in ada.json("room", "history") if event["event"] == "rekeyed"]
    assert [(event["peer"], event["detail"]) for event in told] == [(new, old)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_of_two_leaves_with_the_round_and_the_other_goes_on(
    homes: list[Home], tmp_path: Path
) -> None:
    ada, grace, _ = homes
    pictures = str(tmp_path / "pictures")
    ada.run("data", "sample", pictures, "--count", "4")
    made = ada.json(
        "room", "create", "Attic", "--as", "Ada", "--rounds", "3", "--steps", "2",
        "--start-on-request", "--auto-approve", "--min-contributions", "1",
    )  # fmt: skip
    ada.serve("--data", pictures)
    grace.json("room", "join", made["invite"]["text"], "--as", "Grace")
    grace.serve("--data", pictures)
    ada.run("room", "start")
    for home in (ada, grace):
        home.eventually(lambda home=home: home.view()["round"]["number"] == 2)

    left = grace.json("room", "leave")
    assert (left["told"], left["waits"]) == (True, True)
    assert set(roles(ada)) == {"Ada", "Grace"}
    ada.run("room", "start", "--all")
    ada.eventually(lambda: ada.view()["round"]["phase"] == "DONE")
    assert set(roles(ada)) == {"Ada"}
    grace.ended()
    assert not any(room["active"] for room in grace.json("room", "list"))
