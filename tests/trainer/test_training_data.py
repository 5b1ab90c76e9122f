"""Training with every data option is repeatable, resumes exactly and sees what it was told to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from trainer_rig import picture

from trainer import loop
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.protocol import AdapterSpec, DataOptions, Train, Tuning
from trainer.studio import Studio

EVERYTHING = DataOptions(
    trigger="t", dropout=0.2, shuffle=True, keep=1, repeats=2, buckets=True, crops=2, flip=True,
    masks="files",
)  # fmt: skip


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture
def request_to_train(tiny_model: Path, tmp_path: Path) -> Train:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, size in enumerate([(96, 48), (90, 45), (48, 96), (64, 64), (70, 64)]):
        picture(number, size).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"night, moon, sea, {number}")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 20, 20))
    mask.save(folder / "3-masklabel.png")
    return Train(
        str(tiny_model), str(folder), str(tmp_path / "out"), AdapterSpec(2, 2), steps=12, batch=2,
        seed=3, data=EVERYTHING, cache=str(tmp_path / "cache"),
    )  # fmt: skip


def test_a_cancelled_run_resumes_to_the_same_bytes_with_every_option(
    studio: Studio,
    request_to_train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_INTERVAL", 0.0)
    seen: dict[str, Any] = {"step": 0}

    def report(data: dict[str, Any]) -> None:
        if data.get("stage") == "train":
            seen["step"] = data["step"]

    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"))
    with pytest.raises(Cancelled):
        studio.train(saved, Job(lambda: seen["step"] >= 5, report))
    assert (tmp_path / "ck").is_file()
    resumed = studio.train(saved, Job())["sha256"]
    without_cache = replace(request_to_train, cache="")
    assert resumed == studio.train(without_cache, Job())["sha256"]


CHANGES: tuple[dict[str, Any], ...] = (
    {"dropout": 0.9},
    {"shuffle": False, "keep": 0},
    {"trigger": ""},
    {"repeats": 3},
    {"buckets": False},
    {"crops": 1},
    {"flip": False},
    {"masks": "off"},
    {"unmasked": 0.9},
)


def test_each_option_changes_what_is_trained(studio: Studio, request_to_train: Train) -> None:
    short = replace(request_to_train, steps=4)
    results = {studio.train(short, Job())["sha256"]}
    for change in CHANGES:
        data = replace(EVERYTHING, **change)
        results.add(studio.train(replace(short, data=data), Job())["sha256"])
    assert len(results) == 1 + len(CHANGES)


def test_prior_pictures_of_another_shape_train_beside_buckets(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    prior = tmp_path / "prior"
    prior.mkdir()
    picture(9, (64, 64)).save(prior / "x.png")
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    picture(10, (64, 64)).save(held_out / "x.png")
    tuning = Tuning(prior=str(prior), held_out=str(held_out))
    result = studio.train(replace(request_to_train, tuning=tuning), Job())
    assert result["steps"] == 12
    assert result["held_out"]


def test_contradictions_are_refused_before_the_model_is_loaded(
    request_to_train: Train,
) -> None:
    fresh = Studio()
    with pytest.raises(TrainerError) as caught:
        fresh.train(replace(request_to_train, data=DataOptions(dropout=2.0)), Job())
    assert caught.value.code == 2
    assert fresh._loaded is None


def test_pictures_held_out_are_never_among_those_trained_on(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    """Most often their folder lies inside the other one."""
    inside = Path(request_to_train.folder) / "held-out"
    inside.mkdir()
    picture(50, (64, 64)).save(inside / "x.png")
    with pytest.raises(TrainerError, match="held out") as caught:
        studio.train(replace(request_to_train, tuning=Tuning(held_out=str(inside))), Job())
    assert caught.value.code == 2
    assert "held-out/x.png" in caught.value.cause
    prior = tmp_path / "prior"
    prior.mkdir()
    picture(60, (64, 64)).save(prior / "y.png")
    both = Tuning(prior=str(prior), held_out=str(prior))
    with pytest.raises(TrainerError, match="held out"):
        studio.train(replace(request_to_train, tuning=both), Job())


def test_captions_that_end_unheard_are_told_before_the_work(
    studio: Studio, request_to_train: Train
) -> None:
    """CLIP reads 77 tokens here; people write more tags than that."""
    notes: list[str] = []
    stages: list[str] = []

    def hear(data: dict[str, Any]) -> None:
        stages.append(data["stage"])
        if data["stage"] == "note":
            notes.append(data["text"])

    short = replace(request_to_train, steps=1, data=DataOptions())
    studio.train(short, Job(announce=hear))
    assert not notes
    (Path(short.folder) / "1.txt").write_text("house, " * 60)
    (Path(short.folder) / "2.txt").write_text("sea, " * 99)
    studio.train(short, Job(announce=hear))
    assert len(notes) == 1
    assert notes[0].startswith("2 of 5 captions")
    assert "2.png" in notes[0]
    assert stages.index("note") < stages.index("train", stages.index("note"))
