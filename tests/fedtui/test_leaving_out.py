"""A round without one contribution: exactly what the room would have committed, or a clear no."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from committed_room import SAMPLES, committed_room
from PIL import Image

from fedtui import leaving_out, limits, rooms
from fedtui.cli import gallery
from fedtui.control.client import ControlClient
from fedtui.control.operations import Operations
from fedtui.drawing import Drawing
from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.history import proven
from fedtui.leaving_out import LeavingOut
from fedtui.paths import sha256_of
from fedtui.training import TrainerProcess
from fedtui.view import PreviewView
from p2p.rounds.proof import prove, read_ledger
from trainer.protocol import Combine, Generate, LoraFile, WeightedFile

DRAWS_NOTHING = """
import json, sys
print(json.dumps({"kind": "ready", "role": "full", "device": "none", "pid": 1}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["kind"] == "generate":
        made = [{"path": f"{request['out']}/{n}.png"} for n, _ in enumerate(request["shots"])]
        done = {"kind": "done", "request": request["id"], "result": {"pictures": made}}
        print(json.dumps(done), flush=True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> rooms.Room:
    """A room of two rounds of two members."""
    folder = tmp_path_factory.mktemp("left-out") / "demo"

    async def make() -> rooms.Room:
        arithmetic = TrainerProcess("arithmetic")
        try:
            return (await committed_room(folder, arithmetic))[1]
        finally:
            await arithmetic.stop()

    return asyncio.run(make())


@dataclass
class Rig:
    room: rooms.Room
    arithmetic: TrainerProcess
    drawing: Drawing
    operations: Operations
    peers: list[str]
    previews: list[PreviewView] = field(default_factory=list)
    ended: asyncio.Queue[str] = field(default_factory=asyncio.Queue)

    async def leave_out(self, **asked: Any) -> dict[str, Any]:
        return await self.operations.run("leave_out", asked)

    def adapter(self, number: int, peer: str) -> Path:
        return self.room.paths.left_out / f"round-{number:04d}-without-{peer}.safetensors"


@pytest.fixture
async def a_rig(made: rooms.Room, tmp_path: Path) -> AsyncIterator[Callable[[TrainerProcess], Rig]]:
    """Rigs on a copy of the room, so that files of it can be lost."""
    root = tmp_path / "room"
    shutil.copytree(made.paths.root, root)
    # Few and small pictures: what they show is what counts, not how well.
    preview = made.task.preview.model_copy(update={"prompts": ["a", "b"], "seeds": [3], "steps": 2})
    task = made.task.model_copy(update={"preview": preview})
    room = rooms.Room(made.id, made.envelope, made.genesis, task, type(made.paths)(root))
    proven = prove(room.envelope, read_ledger(root, room.id)).rounds
    peers = [item.peer for item in proven[0].result.inputs]
    rigs: list[Rig] = []

    def rig(trainer: TrainerProcess) -> Rig:
        arithmetic, operations = TrainerProcess("arithmetic"), Operations()

        def emit(name: str, **fields: Any) -> None:
            del fields
            if name in ("drawing.finished", "drawing.failed"):
                built.ended.put_nowait(name)

        drawing = Drawing(
            trainer,
            model=task.model,
            folder=tmp_path / "pictures",
            rounds=lambda: rooms.committed_adapters(room.paths),
            emit=emit,
        )
        drawing.offer(operations)
        built = Rig(room, arithmetic, drawing, operations, peers)
        LeavingOut(
            room,
            arithmetic,
            drawing,
            me=peers[0],
            name_of={peers[0]: "lena", peers[1]: "amir"}.__getitem__,
            previews=lambda: built.previews,
        ).offer(operations)
        rigs.append(built)
        return built

    yield rig
    for each in rigs:
        await each.drawing.stop()
        await each.arithmetic.stop()


@pytest.fixture
async def rig(a_rig: Callable[[TrainerProcess], Rig]) -> AsyncIterator[Rig]:
    trainer = TrainerProcess(command=(sys.executable, "-c", DRAWS_NOTHING))
    yield a_rig(trainer)
    await trainer.stop()


async def test_it_is_what_the_others_alone_would_have_given(rig: Rig, tmp_path: Path) -> None:
    told = await rig.leave_out()
    assert (told["round"], told["name"], told["inputs"], told["same"]) == (2, "lena", 2, False)
    round_two = prove(rig.room.envelope, read_ledger(rig.room.paths.root, rig.room.id)).rounds[1]
    (other,) = [item for item in round_two.result.inputs if item.peer == rig.peers[1]]
    task, out = rig.room.task, tmp_path / "expected.safetensors"
    await rig.arithmetic.request(
        Combine(
            (WeightedFile(other.peer, str(rig.room.paths.blob(other.blob)), SAMPLES[1]),),
            rig.room.genesis.plan.algorithm,
            str(rig.room.paths.adapter(1)),
            str(out),
            task.rule.spec,
            task.seed,
        )
    )
    assert sha256_of(rig.adapter(2, rig.peers[0])) == sha256_of(out)


async def test_without_the_only_contribution_nothing_changes(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def proven_of_one(room: rooms.Room) -> Any:
        history = proven(room)
        last = history.rounds[1]
        (own,) = [item for item in last.result.inputs if item.peer == rig.peers[0]]
        alone = replace(last, result=last.result.model_copy(update={"inputs": [own]}))
        return replace(history, rounds=(history.rounds[0], alone))

    monkeypatch.setattr(leaving_out, "proven", proven_of_one)
    told = await rig.leave_out()
    assert told["inputs"] == 1
    assert not rig.adapter(2, rig.peers[0]).exists(), "it is the adapter before, which is there"


async def test_anybody_may_be_left_out_of_any_round(rig: Rig) -> None:
    by_name = await rig.leave_out(peer="amir", round=1)
    by_id = await rig.leave_out(peer=rig.peers[1][:12], round=1)
    assert by_name["peer"] == by_id["peer"] == rig.peers[1]
    assert by_name["pictures"] == [
        {"prompt": "a", "seed": 3, "with": ""},
        {"prompt": "b", "seed": 3, "with": ""},
    ]
    rig.previews = [PreviewView(1, prompt, 3, __file__, "another") for prompt in ("a", "b")]
    given = await rig.leave_out(peer="amir", round=1)
    assert given["pictures"] == by_name["pictures"], "what others drew is their word alone"
    assert by_name["with"], "without previews of the round, both are drawn"
    with pytest.raises(UsageError, match="no contributors are called 'eve'"):
        await rig.leave_out(peer="eve")
    with pytest.raises(UsageError, match="lena contributed nothing to round 7") as refused:
        await rig.leave_out(round=7)
    assert "1, 2" in refused.value.cause


async def test_files_that_are_gone_are_said_to_be_gone_and_why(rig: Rig) -> None:
    rounds = prove(rig.room.envelope, read_ledger(rig.room.paths.root, rig.room.id)).rounds
    (other,) = [item for item in rounds[0].result.inputs if item.peer == rig.peers[1]]
    blob = rig.room.paths.blob(other.blob)
    kept = blob.read_bytes()
    blob.write_bytes(kept[:-1] + b"x")
    with pytest.raises(TrustError, match="a file of round 1 is damaged"):
        await rig.leave_out(round=1)
    blob.unlink()
    with pytest.raises(FedtuiError, match="of round 1 are not here any more") as refused:
        await rig.leave_out(round=1)
    assert "keep_rounds" in refused.value.remedy
    assert (await rig.leave_out(round=2))["round"] == 2


async def test_combined_once_it_needs_the_files_no_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving_out, "LEFT_OUT_KEPT", 2)
    await rig.leave_out(round=1)
    shutil.rmtree(rig.room.paths.root / "blobs")
    assert (await rig.leave_out(round=1))["round"] == 1
    assert [path.name for path in rig.room.paths.left_out.iterdir()] == [
        rig.adapter(1, rig.peers[0]).name
    ]


async def test_only_the_newest_stay_on_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving_out, "LEFT_OUT_KEPT", 1)
    await rig.leave_out(round=1)
    await rig.leave_out(round=2)
    assert list(rig.room.paths.left_out.iterdir()) == [rig.adapter(2, rig.peers[0])]


async def test_what_was_asked_for_again_is_not_the_oldest(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaving_out, "LEFT_OUT_KEPT", 2)
    lena, amir = rig.peers
    for number in (1, 2):
        await rig.leave_out(round=number)
        os.utime(rig.adapter(number, lena), (number, number))
    await rig.leave_out(round=1)
    await rig.leave_out(round=2, peer="amir")
    left = set(rig.room.paths.left_out.iterdir())
    assert left == {rig.adapter(1, lena), rig.adapter(2, amir)}


class Lists:
    """A node whose drawing jobs are listed as told, one list after the other; then the last."""

    def __init__(self, *lists: list[dict[str, Any]]) -> None:
        self._lists = list(lists)

    async def do(self, name: str, **_: Any) -> dict[str, Any]:
        if name == "generations":
            return {"jobs": self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]}
        if name == "leave_out":
            pictures = [{"prompt": "a", "seed": 3, "with": ""}]
            return {"without": 1, "with": 2, "name": "lena", "pictures": pictures}
        return {"path": "sheet.png"}


def job(number: int, state: str) -> dict[str, Any]:
    return {"id": number, "state": state, "step": 1, "steps": 2, "paths": [f"{number}.png"],
            "error": ""}  # fmt: skip


async def compared(*lists: list[dict[str, Any]]) -> dict[str, Any]:
    return await gallery._compared(cast("ControlClient", Lists(*lists)), "", 0)


async def test_the_command_waits_for_both_and_is_told_when_one_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gallery, "POLL_S", 0.0)
    first = [job(1, "drawing"), job(2, "waiting")]
    told = await compared(first, [job(1, "finished"), job(2, "drawing")], [job(2, "finished")])
    assert told["pictures"] == [{"prompt": "a", "seed": 3, "with": "2.png", "without": "1.png"}]
    assert told["sheet"] == "sheet.png"
    with pytest.raises(FedtuiError, match="not in the node's list any more"):
        await compared(first, [job(1, "finished")])
    with pytest.raises(FedtuiError, match="were not drawn"):
        await compared(first, [job(1, "cancelled"), job(2, "waiting")])
    monkeypatch.setattr(limits, "COMPARISON_S", 0.05)
    with pytest.raises(FedtuiError, match="not drawn within"):
        await compared(first)


@pytest.mark.slow
async def test_the_embedded_model_draws_what_a_contribution_did(
    a_rig: Callable[[TrainerProcess], Rig], tmp_path: Path
) -> None:
    trainer = TrainerProcess(threads=1)
    rig = a_rig(trainer)
    task = rig.room.task
    try:
        drawn = await trainer.request(
            Generate(
                model=task.model,
                prompts=("a", "b"),
                seeds=(3,),
                out=str(tmp_path / "previews"),
                loras=(LoraFile(str(rig.room.paths.adapter(2))),),
                steps=2,
                guidance=task.preview.guidance,
                width=task.resolution,
                height=task.resolution,
            )
        )
        paths = [str(each["path"]) for each in drawn["pictures"]]
        told = await rig.leave_out()
        assert told["with"], "there are no previews yet"
        async with asyncio.timeout(300):
            ended = [await rig.ended.get(), await rig.ended.get()]
        assert ended == ["drawing.finished"] * 2
        listed = (await rig.operations.run("generations", {}))["jobs"]
        jobs = {job["id"]: job["paths"] for job in listed}
        for n, (present, absent) in enumerate(
            zip(jobs[told["with"]], jobs[told["without"]], strict=True)
        ):
            assert pixels(present) == pixels(paths[n]), "comparable with the room's previews"
            assert pixels(absent) != pixels(present)
        rig.previews = [PreviewView(2, p, 3, paths[n]) for n, p in enumerate(("a", "b"))]
        again = await rig.leave_out()
        assert again["with"] == 0, "the previews are the same pictures"
        assert [each["with"] for each in again["pictures"]] == paths
    finally:
        await rig.drawing.stop()
        await trainer.stop()


def pixels(path: str) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()
