"""The learner does what is missing once, gives up where trying again cannot help, and moves on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fedtui import limits, shared
from fedtui.demo.founding import draw_share, found
from fedtui.demo.options import DemoOptions, open_directory
from fedtui.errors import FedtuiError
from fedtui.learner import Goal, History, Learner, Trained
from fedtui.rooms import Room
from fedtui.task import AdapterTask, DataTask, SharedTask
from fedtui.training import TrainerProcess
from fedtui.view import PreviewView
from trainer.protocol import AdapterSpec, DataOptions, Request, Train, Tuning

WORKER = """
import json, os, sys, time
def say(**message):
    print(json.dumps(message), flush=True)
say(kind="ready", role="full", device="none", pid=1)
sha256, answer = sys.argv[1:]
for line in sys.stdin:
    request = json.loads(line)
    number, kind = request["id"], request["kind"]
    print(kind, file=sys.stderr, flush=True)
    if kind == "load":
        say(kind="done", request=number, result={"sha256": sha256})
    elif kind == "cancel":
        say(kind="failed", request=request["request"], title="Cancelled", cancelled=True)
    elif kind == "train" and answer == "fail":
        say(kind="failed", request=number, title="no luck")
    elif kind == "train" and answer == "hopeless":
        say(kind="failed", request=number, title="no pictures", code=5)
    elif kind == "train" and answer.startswith("/"):
        while not os.path.exists(answer):
            time.sleep(0.01)
        say(kind="done", request=number, result={
            "sha256": "f" * 64, "bytes": 1, "samples": 2, "steps": 3, "loss": 1.0, "seconds": 1.0,
            "fallbacks": ["no bfloat16 here"],
        })
"""


@dataclass
class Ear:
    """Hears what a learner hands in and says."""

    contributions: list[Trained] = field(default_factory=list)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)

    async def contribute(self, path: Path, trained: Trained) -> None:
        self.contributions.append(trained)

    def give_up(self, round_number: int) -> None:
        self.given_up.append(round_number)

    def emit(self, type_: str, /, **fields: Any) -> None:
        self.events.append((type_, fields))

    def notices(self) -> list[str]:
        return [str(fields["text"]) for type_, fields in self.events if type_ == "notice"]


@dataclass(frozen=True)
class Place:
    """A founded room of one, its pictures, and where its first adapter lies."""

    room: Room
    data: Path
    initial: Path

    def goal(self, number: int = 1) -> Goal:
        return Goal(number, self.initial, "0" * 64, train=True)

    def learner(self, trainer: TrainerProcess, ear: Ear, *, previews: bool = False) -> Learner:
        return Learner(
            self.room,
            trainer,
            ear,
            node="me",
            folder=str(self.data),
            cache=self.room.paths.root / "cache",
            previews=previews,
        )


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    options = DemoOptions(nodes=1, rounds=2, steps=3, directory=tmp_path / "demo")
    paths = open_directory(options)
    arithmetic = TrainerProcess("arithmetic")
    founded = await found(options, paths, arithmetic)
    await draw_share(options, paths, 0, arithmetic)
    await arithmetic.stop()
    return Place(founded.room, paths.data(0), paths.initial)


def scripted(place: Place, answer: str, sha256: str = "") -> tuple[TrainerProcess, list[str]]:
    """A worker that answers a training in one way, and the requests it has got."""
    asked: list[str] = []
    command = (sys.executable, "-c", WORKER, sha256 or place.room.task.model_sha256, answer)
    return TrainerProcess(command=command, on_log=asked.append), asked


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(300):
        while not condition():  # noqa: ASYNC110 - conditions of parts under test
            await asyncio.sleep(0.01)


async def test_pictures_are_counted_before_training_says_how_many_it_used(place: Place) -> None:
    learner = place.learner(TrainerProcess(), Ear())
    learner.counted(21)
    assert learner.state.samples == 21
    learner.counted(22)
    assert learner.state.samples == 21


async def test_another_model_than_the_rooms_is_never_trained(place: Place) -> None:
    trainer, asked = scripted(place, "fail", sha256="f" * 64)
    ear = Ear()
    learner = place.learner(trainer, ear)
    learner.aim(place.goal())
    running = asyncio.create_task(learner.run())
    await until(lambda: bool(learner.state.blocked))
    running.cancel()
    await trainer.stop()
    assert "not the one of the room" in learner.state.blocked
    assert asked == ["load", "stop"]


class Remembering(TrainerProcess):
    """A trainer that has the model ``sha256`` and only notes what it should train."""

    def __init__(self, sha256: str, digest: str = "") -> None:
        super().__init__()
        self.sha256, self.digest = sha256, digest
        self.asked: list[Train] = []

    async def request(self, request: Request, *_: Any, **__: Any) -> dict[str, Any]:
        if isinstance(request, Train):
            self.asked.append(request)
            raise FedtuiError("nothing is trained here")
        return {"sha256": self.sha256, "usable": 2, "digest": self.digest}


async def test_what_the_plan_says_of_pictures_and_adapter_reaches_the_trainer(place: Place) -> None:
    data = DataTask(trigger="sks", dropout_milli=100, flip=True)
    adapter = AdapterTask(alpha=16, dropout_milli=50, rank_stabilised=True)
    task = place.room.task.model_copy(update={"data": data, "adapter": adapter})
    trainer = Remembering(task.model_sha256)
    learner = replace(place, room=replace(place.room, task=task)).learner(trainer, Ear())
    learner.aim(place.goal())
    running = asyncio.create_task(learner.run())
    await until(lambda: bool(trainer.asked))
    running.cancel()
    assert trainer.asked[0].data == DataOptions(trigger="sks", dropout=0.1, flip=True)
    assert trainer.asked[0].spec == AdapterSpec(alpha=16, dropout=0.05, rank_stabilised=True)


@pytest.mark.parametrize("agreed", [True, False])
async def test_only_the_agreed_pictures_are_trained_on_beside_ones_own(
    place: Place, tmp_path: Path, agreed: bool
) -> None:
    digest = "a" * 64
    task = place.room.task.model_copy(
        update={"shared": SharedTask(sha256=digest, pictures=2, weight_milli=500)}
    )
    trainer, ear = Remembering(task.model_sha256, digest if agreed else "b" * 64), Ear()
    shared.choose(place.room.paths, tmp_path)
    learner = replace(place, room=replace(place.room, task=task)).learner(trainer, ear)
    learner.aim(place.goal())
    running = asyncio.create_task(learner.run())
    await until(lambda: bool(trainer.asked))
    running.cancel()
    wanted = Tuning(prior=str(tmp_path), prior_weight=0.5) if agreed else Tuning()
    assert trainer.asked[0].tuning == wanted
    assert any("without the room's shared pictures" in text for text in ear.notices()) != agreed


async def test_without_an_agreement_nothing_but_ones_own_is_trained_on(
    place: Place, tmp_path: Path
) -> None:
    """Also when somebody has named a folder: only a signed plan makes it part of a training."""
    trainer = Remembering(place.room.task.model_sha256)
    shared.choose(place.room.paths, tmp_path)
    learner = place.learner(trainer, Ear())
    learner.aim(place.goal())
    running = asyncio.create_task(learner.run())
    await until(lambda: bool(trainer.asked))
    running.cancel()
    assert trainer.asked[0].tuning == Tuning()


async def test_what_cannot_get_better_is_not_tried_again(place: Place) -> None:
    trainer, asked = scripted(place, "hopeless")
    ear = Ear()
    learner = place.learner(trainer, ear)
    learner.aim(place.goal())
    running = asyncio.create_task(learner.run())
    await until(lambda: bool(ear.given_up))
    running.cancel()
    await trainer.stop()
    assert learner.state.blocked
    assert asked.count("train") == 1
    assert ear.given_up == [1]


async def test_a_failing_training_is_tried_again_but_not_for_ever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtui.learner.TRAIN_RETRY_WAIT_S", 0.0)
    trainer, asked = scripted(place, "fail")
    ear = Ear()
    learner = place.learner(trainer, ear)
    running = asyncio.create_task(learner.run())
    learner.aim(place.goal(1))
    await until(lambda: any("without this node" in text for text in ear.notices()))
    assert asked.count("train") == limits.TRAIN_RETRIES
    learner.aim(place.goal(2))
    await until(lambda: asked.count("train") > limits.TRAIN_RETRIES)
    running.cancel()
    await trainer.stop()
    assert not ear.contributions


async def test_a_round_that_is_over_is_not_trained_to_its_end(place: Place) -> None:
    trainer, asked = scripted(place, "never")
    learner = place.learner(trainer, Ear())
    running = asyncio.create_task(learner.run())
    learner.aim(place.goal(1))
    await until(lambda: asked.count("train") == 1)
    learner.aim(place.goal(2))
    await until(lambda: asked.count("train") == 2)
    running.cancel()
    await trainer.stop()
    assert asked[:4] == ["load", "train", "cancel", "train"]


async def test_a_late_training_is_finished_where_it_still_counts(
    place: Place, tmp_path: Path
) -> None:
    plan = place.room.genesis.plan.model_copy(update={"late": "carry"})
    genesis = place.room.genesis.model_copy(update={"plan": plan})
    carrying = replace(place, room=replace(place.room, genesis=genesis))
    trainer, asked = scripted(carrying, str(tmp_path / "end"))
    ear = Ear()
    learner = carrying.learner(trainer, ear)
    running = asyncio.create_task(learner.run())
    learner.aim(carrying.goal(1))
    await until(lambda: asked.count("train") == 1)
    learner.aim(replace(carrying.goal(2), train=False))
    await until(lambda: not learner._moved.is_set())
    (tmp_path / "end").touch()
    await until(lambda: len(ear.contributions) == 1)
    running.cancel()
    await trainer.stop()
    assert ear.contributions[0].round == 1
    assert asked[:2] == ["load", "train"]
    assert "cancel" not in asked


async def test_what_a_training_that_never_ended_left_goes_with_its_round(
    place: Place, tmp_path: Path
) -> None:
    trainer, asked = scripted(place, str(tmp_path / "end"))
    learner = place.learner(trainer, Ear())
    running = asyncio.create_task(learner.run())
    place.room.paths.checkpoint.mkdir()
    for number in (1, 2):
        (place.room.paths.checkpoint / f"round-{number:04d}").touch()
        learner.aim(place.goal(number))
        await until(lambda count=number: asked.count("train") == count)  # type: ignore[misc]
        (tmp_path / "end").touch()
    running.cancel()
    await trainer.stop()
    assert [path.name for path in place.room.paths.checkpoint.iterdir()] == ["round-0002"]


async def test_what_a_machine_trains_without_is_said_once(place: Place, tmp_path: Path) -> None:
    (tmp_path / "end").touch()
    trainer, _ = scripted(place, str(tmp_path / "end"))
    ear = Ear()
    learner = place.learner(trainer, ear)
    running = asyncio.create_task(learner.run())
    for number in (1, 2):
        learner.aim(place.goal(number))
        await until(lambda count=number: len(ear.contributions) == count)  # type: ignore[misc]
    running.cancel()
    await trainer.stop()
    assert ear.notices() == ["no bfloat16 here"]


def test_previews_of_others_do_not_stand_for_own(place: Place) -> None:
    learner = place.learner(TrainerProcess("full"), Ear(), previews=True)
    own = PreviewView(0, "night", 1, __file__)
    learner.adopt([replace(own, author="another")])
    kept = History(place.room.paths)
    assert not kept.has_previews(0, 1)
    kept.previews.append(own)
    assert kept.has_previews(0, 1)


@pytest.mark.slow
async def test_nothing_is_trained_or_drawn_twice_across_a_restart(place: Place) -> None:
    trainer = TrainerProcess("full", threads=1)
    first, second = Ear(), Ear()
    for ear in (first, second):
        learner = place.learner(trainer, ear, previews=True)
        learner.aim(place.goal())
        running = asyncio.create_task(learner.run())
        await until(lambda ear=ear: bool(ear.contributions))  # type: ignore[misc]
        running.cancel()
        assert len(learner.previews) == place.room.task.preview.count
        assert [point.step for point in learner.losses][-1] == 3
    await trainer.stop()
    assert first.contributions == second.contributions
    kinds = {type_ for type_, _ in first.events} - {"notice"}
    assert kinds == {"preview.ready", "train.progress", "train.finished"}
    assert second.events == []


@pytest.mark.slow
async def test_a_contribution_is_a_function_of_seed_round_and_node(
    place: Place, tmp_path: Path
) -> None:
    hashes = []
    for _ in range(2):
        trainer = TrainerProcess("full", threads=1)
        ear = Ear()
        learner = place.learner(trainer, ear)
        learner.aim(place.goal())
        running = asyncio.create_task(learner.run())
        await until(lambda ear=ear: bool(ear.contributions))  # type: ignore[misc]
        running.cancel()
        await trainer.stop()
        hashes.append(ear.contributions[0].sha256)
        place.room.paths.contribution(1).unlink()
    assert hashes[0] == hashes[1]
