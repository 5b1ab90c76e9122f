"""What participants take home: an archive that is whole, true, and harmless."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from committed_room import committed_room
from PIL import Image

from fedtui import provenance, rooms
from fedtui.control.operations import Operations
from fedtui.errors import FedtuiError, UsageError
from fedtui.keys import identity_in
from fedtui.takeaway import Takeaway, inert, slug
from fedtui.training import TrainerProcess
from fedtui.view import CommitView, InputView, LossPoint, NodeView, PeerView, PreviewView, RoundView

FORMULA = "=HYPERLINK(1)"


@dataclass
class Rig:
    """A real room of two committed rounds, its worker, and what the node would show of it."""

    room: rooms.Room
    operations: Operations
    peers: tuple[str, str]
    names: dict[str, str]
    previews: list[PreviewView] = field(default_factory=list)

    async def take(self, **asked: Any) -> dict[str, Any]:
        return await self.operations.run("take_home", asked)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    arithmetic = TrainerProcess("arithmetic")
    founded, room = await committed_room(tmp_path, arithmetic)
    profile = founded.participants[0].profile
    a, b = sorted(member.peer_id for member in room.genesis.members)
    made = Rig(room, Operations(), (a, b), {a: "Ada", b: FORMULA})
    inputs = (InputView(a, 20, "0f"), InputView(b, 40, "0f"))
    commits = [
        CommitView(number, "", "", f"{number}" * 64, 0, b, (a, b), inputs, recomputed=True)
        for number in (1, 2)
    ]

    def view() -> NodeView:
        return NodeView(
            room_name=room.name, model=room.task.model, algorithm="fedex", rule="n_k",
            round=RoundView(2, 2, phase="DONE"), peers=(PeerView(a, "Ada"), PeerView(b, FORMULA)),
            losses=(LossPoint(1, 1, 0.5),), previews=tuple(made.previews),
        )  # fmt: skip

    Takeaway(
        room,
        identity_in(profile, room.paths),
        arithmetic,
        view=view,
        commits=lambda: commits,
        events=lambda: [
            {"seq": 1, "ts": 1.0, "node": a, "type": "round.started", "round": 1, "parent": ""}
        ],
        name_of=lambda peer: made.names.get(peer, peer[:8]),
    ).offer(made.operations)
    yield made
    await arithmetic.stop()


def content(path: str) -> bytes:
    return Path(path).read_bytes()


def table(archive: zipfile.ZipFile, name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(archive.read(name).decode())))


async def test_an_archive_has_the_adapter_its_proof_the_pictures_and_the_contributors(
    rig: Rig, tmp_path: Path
) -> None:
    for number in (0, 2):
        for prompt in ("a house", "../../etc: the sea"):
            path = tmp_path / f"{number}-{slug(prompt)}.png"
            Image.new("RGB", (64, 64), (90, 120, 200)).save(path)
            rig.previews.append(PreviewView(number, prompt, 7, str(path)))
    made = await rig.take()
    assert made["round"] == 2
    target = tmp_path / "home"
    with zipfile.ZipFile(made["path"]) as archive:
        assert archive.testzip() is None
        archive.extractall(target)
        (top,) = {Path(name).parts[0] for name in archive.namelist()}
        assert sorted(archive.namelist()) == sorted(f"{top}/{name}" for name in made["files"])
        contributors = table(archive, f"{top}/contributors.csv")
        rounds = table(archive, f"{top}/rounds.csv")
    home = target / top
    assert "pictures/01-a-house.png" in made["files"]
    assert "pictures/02-etc-the-sea.png" in made["files"]
    assert [row[:3] for row in contributors[1:]] == [["Ada", "2", "20"], [f"'{FORMULA}", "2", "40"]]
    assert [row[0] for row in rounds[1:]] == ["1", "2"]
    assert (home / "losses.csv").read_text().splitlines() == ["round,step,loss", "1,1,0.5"]
    assert "round 1 started" in (home / "events.txt").read_text()
    for line in (home / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((home / name).read_bytes()).hexdigest() == digest
    assert provenance.read(home / "adapter.safetensors").statement.round == 2
    assert str(tmp_path).encode() not in b"".join(p.read_bytes() for p in home.rglob("*.*"))
    assert not list(rig.room.paths.work.glob("take-home-*")), "nothing is left behind"


async def test_before_the_first_commit_there_is_nothing_to_take_home(rig: Rig) -> None:
    for path in rig.room.paths.adapters.iterdir():
        path.unlink()
    with pytest.raises(UsageError, match="nothing to take home yet"):
        await rig.take()


async def test_without_names_nothing_names_anybody(rig: Rig, tmp_path: Path) -> None:
    made = await rig.take(names=False)
    assert not {"adapter.fedtui.json", "events.txt"} & set(made["files"])
    with zipfile.ZipFile(made["path"]) as archive:
        archive.extractall(tmp_path / "home")
    told = b"".join(p.read_bytes() for p in (tmp_path / "home").rglob("*") if p.is_file())
    assert b"member 2" in told
    for secret in (b"Ada", FORMULA.encode(), *(peer[:16].encode() for peer in rig.peers)):
        assert secret not in told


async def test_a_disk_that_refuses_leaves_the_archive_from_before(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (await rig.take())["path"]
    before = content(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "write", full)
    with pytest.raises(FedtuiError, match="cannot be written") as caught:
        await rig.take()
    assert "No space left" in caught.value.cause
    assert content(path) == before
    assert not list(rig.room.paths.work.glob("take-home-*"))


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_computed_by_a_spreadsheet(text: str) -> None:
    assert inert(text) == f"'{text}"


def test_a_number_or_a_plain_name_stays_as_it_is() -> None:
    assert inert(-1.5) == -1.5
    assert inert("Ada") == "Ada"
