"""Pictures on demand: jobs wait for the trainer, tell how far they are, and can be ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fedtui import limits
from fedtui.control.operations import Operations
from fedtui.drawing import Adapter, Drawing, Generate
from fedtui.errors import FedtuiError, UsageError
from fedtui.training import TrainerProcess
from trainer.protocol import Load

WORKER = """
import json, os, sys
def say(**message):
    print(json.dumps(message), flush=True)
say(kind="ready", role="full", device="none", pid=1)
for line in sys.stdin:
    request = json.loads(line)
    number, kind = request["id"], request["kind"]
    if kind == "cancel":
        say(kind="failed", request=request["request"], title="Cancelled", cancelled=True)
    elif kind == "generate":
        shots, out = request["shots"], request["out"]
        if shots[0]["prompt"] == "wait":
            continue
        if shots[0]["prompt"] == "fail":
            say(kind="failed", request=number, title="Out of memory", cause="x", remedy="smaller")
            continue
        say(kind="progress", request=number, data={"stage": "load", "step": 0, "steps": 1})
        steps, made = 3 * len(shots), []
        for n, shot in enumerate(shots):
            look = {"preview": request["preview"]} if n == 0 and request["preview"] else {}
            if look:
                os.makedirs(out)
                open(request["preview"], "w").close()
            data = {"step": 3 * n + 1, "steps": steps, "picture": n, "pictures": len(shots)}
            say(kind="progress", request=number, data=data | look)
            made.append({"prompt": shot["prompt"], "seed": shot["seed"], "picture": n,
                         "path": f"{out}/{n}.png"})
            say(kind="progress", request=number, data=made[-1])
        say(kind="done", request=number, result={"pictures": made, "asked": request})
    elif kind == "load":
        say(kind="done", request=number, result={})
"""


@dataclass
class Rig:
    operations: Operations
    drawing: Drawing
    trainer: TrainerProcess
    adapter: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    async def do(self, name: str, **values: Any) -> dict[str, Any]:
        return await self.operations.run(name, values)

    async def until(self, type_: str) -> dict[str, Any]:
        async with asyncio.timeout(60):
            while True:
                for event in self.events:
                    if event["type"] == type_:
                        return event
                await asyncio.sleep(0.01)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    trainer = TrainerProcess(command=(sys.executable, "-c", WORKER))
    adapter = tmp_path / "round-0003.safetensors"
    adapter.write_bytes(b"")
    events: list[dict[str, Any]] = []

    def emit(type_: str, /, **data: Any) -> None:
        events.append({"type": type_, **data})

    drawing = Drawing(
        trainer,
        model="m",
        folder=tmp_path / "pictures",
        rounds=lambda: {3: adapter},
        emit=emit,
    )
    operations = Operations()
    drawing.offer(operations)
    yield Rig(operations, drawing, trainer, adapter, events)
    await drawing.stop()
    await trainer.stop()


async def test_a_job_is_answered_at_once_and_told_as_events(rig: Rig, tmp_path: Path) -> None:
    job = await rig.do("generate", prompts=["a", "b"], seeds=[1, 2])
    assert (job["id"], job["pictures"], job["waiting"]) == (1, 4, 0)
    finished = await rig.until("drawing.finished")
    assert finished["id"] == 1
    paths = finished["paths"]
    assert [e["path"] for e in rig.events if e["type"] == "drawing.picture"] == paths
    assert all(Path(path).is_relative_to(tmp_path / "pictures") for path in paths)
    first = await rig.until("drawing.progress")
    assert (first["step"], first["steps"], first["picture"], first["pictures"]) == (1, 12, 0, 4)
    assert first["preview"].endswith("preview.png")
    gone = await asyncio.to_thread(Path(first["preview"]).exists)
    assert not gone  # nobody looks at it any more
    (listed,) = (await rig.do("generations"))["jobs"]
    assert (listed["state"], listed["paths"], listed["preview"]) == ("finished", tuple(paths), "")


async def test_rounds_files_and_rows_of_weights_become_a_grid(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = tmp_path / "style.safetensors"
    style.write_bytes(b"")
    asked: list[Any] = []
    real = rig.trainer.request

    async def request(request: Any, on_progress: Callable[[dict[str, Any]], None]) -> Any:
        asked.append(request)
        return await real(request, on_progress)

    monkeypatch.setattr(rig.trainer, "request", request)
    await rig.do(
        "generate",
        prompts=["a"],
        seeds=[5],
        adapters=[{"round": 3}, {"path": str(style), "weight": 0.5}],
        weights=[[1, 0], [0, 1]],
        cfg=4.5,
        sampler="euler",
        preview=False,
    )
    await rig.until("drawing.finished")
    (sent,) = asked
    assert [lora.path for lora in sent.loras] == [str(rig.adapter), str(style)]
    assert [shot.weights for shot in sent.shots] == [(1.0, 0.0), (0.0, 1.0)]
    assert {(s.seed, s.guidance, s.sampler) for s in sent.shots} == {(5, 4.5, "euler")}
    assert sent.preview == ""


async def test_a_job_can_be_ended_while_it_waits(rig: Rig) -> None:
    job = await rig.do("generate", prompts=["wait"])
    second = await rig.do("generate", prompts=["wait"])
    assert second["waiting"] == 1
    await rig.trainer.request(Load("m"))  # both have reached the worker by now
    assert await rig.do("cancel_generation", id=job["id"]) == {"cancelled": True}
    failed = await rig.until("drawing.failed")
    assert (failed["id"], failed["cancelled"]) == (job["id"], True)
    assert await rig.do("cancel_generation", id=job["id"]) == {"cancelled": False}
    states = [entry["state"] for entry in (await rig.do("generations"))["jobs"]]
    assert states == ["cancelled", "waiting"]


async def test_a_failure_keeps_its_remedy(rig: Rig) -> None:
    await rig.do("generate", prompts=["fail"])
    failed = await rig.until("drawing.failed")
    assert (failed["title"], failed["remedy"]) == ("Out of memory", "smaller")
    assert not failed["cancelled"]


WRONG: tuple[dict[str, Any], ...] = (
    {"prompts": []},
    {"prompts": ["a"], "seeds": list(range(limits.DRAWING_PICTURES + 1))},
    {"prompts": ["a"], "adapters": [{"round": 9}]},
    {"prompts": ["a"], "adapters": [{"path": "/nowhere"}]},
    {"prompts": ["a"], "weights": [[1.0]]},
    {"prompts": ["a"], "colour": "red"},
)


@pytest.mark.parametrize("values", WRONG)
async def test_what_cannot_be_drawn_is_refused_at_once(rig: Rig, values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await rig.do("generate", **values)
    assert (await rig.do("generations"))["jobs"] == []


async def test_jobs_do_not_pile_up(rig: Rig) -> None:
    for _ in range(limits.DRAWING_JOBS_WAITING):
        await rig.do("generate", prompts=["wait"])
    with pytest.raises(FedtuiError, match="wait already"):
        await rig.do("generate", prompts=["wait"])


async def test_old_jobs_are_forgotten(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtui.drawing.DRAWING_JOBS_KEPT", 2)
    for _ in range(4):
        rig.events.clear()
        await rig.do("generate", prompts=["a"])
        await rig.until("drawing.finished")
        await asyncio.sleep(0)
    assert [job["id"] for job in (await rig.do("generations"))["jobs"]] == [3, 4]


async def test_a_grid_has_a_shot_in_each_place_and_tells_its_labels(rig: Rig) -> None:
    await rig.do(
        "generate", prompts=["x"], seeds=[7], adapters=[{"path": str(rig.adapter), "weight": 0.5}],
        grid=["round=0,3", "cfg=1,4"], preview=False,
    )  # fmt: skip
    await rig.until("drawing.finished")
    (job,) = (await rig.do("generations"))["jobs"]
    assert job["columns"] == ("round 0", "round 3")
    assert job["rows"] == ("cfg 1", "cfg 4")
    assert len(job["paths"]) == 4
    request, *_ = rig.drawing._request(
        Generate(("x",), (7,), adapters=(Adapter(str(rig.adapter), 0, 0.5),),
                 grid=("round=0,3", "cfg=1,4")),
        rig.adapter.parent,
    )  # fmt: skip
    assert [(shot.weights, shot.guidance) for shot in request.shots] == [
        ((0.5, 0.0), 1.0),
        ((0.5, 1.0), 1.0),
        ((0.5, 0.0), 4.0),
        ((0.5, 1.0), 4.0),
    ]
    assert {shot.seed for shot in request.shots} == {7}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"seeds": [1, 2]}, "one prompt and one seed"),
        ({"grid": ["nonsense"]}, "is no axis"),
        ({"grid": ["lora=0:1:3"]}, "no adapter to vary"),
        ({"grid": ["round=9"]}, "round 9 has no adapter"),
        ({"grid": ["seed=0:63:64", "steps=1:64:64"]}, "cannot be drawn|were asked for"),
        ({"grid": ["seed=1,2", "seed=3"]}, "cannot be drawn"),
    ],
)
async def test_a_grid_that_makes_no_sense_is_refused(
    rig: Rig, wrong: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        await rig.do("generate", **({"prompts": ["x"], "grid": ["cfg=1,2"]} | wrong))
    assert (await rig.do("generations"))["jobs"] == []


async def test_an_estimate_comes_from_what_was_measured_and_from_nothing_else(rig: Rig) -> None:
    first = await rig.do("generate", prompts=["wait"])
    assert first["wait_s"] == 0.0
    assert first["draw_s"] is None, "nothing of this size was drawn yet"
    second = await rig.do("generate", prompts=["wait"])
    assert second["wait_s"] is None, "it comes after one that takes unknown time"
    rig.drawing._paces[0, 0] = 0.5
    jobs = (await rig.do("generations"))["jobs"]
    assert [(job["wait_s"], job["draw_s"]) for job in jobs] == [(0.0, 10.0), (10.0, 10.0)]
    rig.drawing._busy = lambda: 60.0
    assert (await rig.do("generate", prompts=["wait"], steps=40))["wait_s"] == 80.0
    rig.drawing._busy = lambda: None
    assert all(job["wait_s"] is None for job in (await rig.do("generations"))["jobs"])
    other = await rig.do("generate", prompts=["wait"], width=512, height=512)
    assert other["draw_s"] is None, "another size has another pace"


async def test_the_pace_is_learned_while_pictures_are_drawn(rig: Rig) -> None:
    await rig.do("generate", prompts=["a", "b", "c"], seeds=[1, 2], preview=False)
    await rig.until("drawing.finished")
    assert (0, 0) in rig.drawing._paces
    (job,) = (await rig.do("generations"))["jobs"]
    assert (job["wait_s"], job["draw_s"]) == (None, None), "what has ended takes no more time"
