"""A running training can be paused, saved and looked at, and comes out the same."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_rig import MakePictures
from worker_process import WorkerProcess

from trainer import training
from trainer.job import Job
from trainer.protocol import AdapterSpec, Done, Progress, Samples, Steer, Train
from trainer.studio import Studio


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture
def request_to_train(tiny_model: Path, make_pictures: MakePictures, tmp_path: Path) -> Train:
    spec = AdapterSpec(2, 2, dropout=0.3)
    return Train(
        str(tiny_model), str(make_pictures()), str(tmp_path / "out"), spec, 4, batch=2,
        learning_rate=0.02, checkpoint=str(tmp_path / "ck"),
        samples=Samples(("a house",), (1, 2), str(tmp_path / "samples"), steps=2),
    )  # fmt: skip


def test_no_wish_changes_what_is_trained(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    plain = studio.train(replace(request_to_train, samples=Samples()), Job())["sha256"]
    wishes = deque(["sample", "save", "pause", "sample", "resume"])
    told: list[dict[str, Any]] = []
    seen_checkpoint: list[bool] = []

    def announce(data: dict[str, Any]) -> None:
        told.append(data)
        if data["stage"] == "saved":
            seen_checkpoint.append((tmp_path / "ck").is_file())

    job = Job(announce=announce, wish=lambda: wishes.popleft() if wishes else None)
    assert studio.train(request_to_train, job)["sha256"] == plain
    stages = [data["stage"] for data in told if data["stage"] != "train"]
    assert stages == ["sample", "sample", "saved", "paused", "saved", "sample", "sample", "resumed"]
    assert seen_checkpoint == [True, True]
    pictures = sorted(path.name for path in (tmp_path / "samples" / "step-000000").iterdir())
    assert len(pictures) == 2


def test_samples_come_every_so_many_steps(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    plain = studio.train(replace(request_to_train, samples=Samples()), Job())["sha256"]
    every = replace(request_to_train, samples=replace(request_to_train.samples, every=2))
    assert studio.train(every, Job())["sha256"] == plain
    folders = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert folders == ["step-000002", "step-000004"]


def test_wishes_reach_a_training_in_another_process(request_to_train: Train) -> None:
    long = replace(request_to_train, steps=100_000)
    with WorkerProcess("full") as worker:
        worker.ready()
        number = worker.send(long)
        _until(worker, "train")
        worker.send(Steer(number, "pause"))
        step = _until(worker, "paused")["step"]
        worker.send(Steer(number, "save"))
        assert _until(worker, "saved")["step"] == step
        worker.send(Steer(number, "sample"))
        assert Path(_until(worker, "sample")["path"]).is_file()
        worker.send(Steer(number, "resume"))
        assert _until(worker, "resumed")["step"] == step
        assert _until(worker, "train")["step"] > step
    assert Path(long.checkpoint).is_file()


def _until(worker: WorkerProcess, stage: str) -> dict[str, Any]:
    """The next progress of a stage."""
    while True:
        message = worker.next()
        assert message is not None
        assert not isinstance(message, Done)
        if isinstance(message, Progress) and message.data["stage"] == stage:
            return message.data


def test_samples_that_find_no_memory_cost_no_training(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    plain = studio.train(replace(request_to_train, samples=Samples()), Job())["sha256"]
    monkeypatch.setattr(training.generate, "draw_all", full)
    every = replace(request_to_train, samples=replace(request_to_train.samples, every=2))
    notes: list[str] = []
    hear = Job(announce=lambda d: notes.append(d["text"]) if d["stage"] == "note" else None)
    assert studio.train(every, hear)["sha256"] == plain
    assert len(notes) == 2
    assert "step 4" in notes[1]
