"""Training is repeatable, resumable and stoppable, and leaves the base model alone."""

from __future__ import annotations

import errno
import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainer_rig import MakePictures

from trainer import checkpoint, loop, memory, models, selection, tensor_file
from trainer.checkpoint import Place
from trainer.config import CHECKPOINT_STEPS
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.models.base import Drawing
from trainer.protocol import (
    AdapterSpec,
    DataOptions,
    Evaluate,
    Generate,
    InitAdapter,
    Load,
    LoraFile,
    Samples,
    Train,
    Tuning,
)
from trainer.studio import Studio

SPEC = AdapterSpec(rank=2, alpha=2)


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that act at a step must hear of each one."""
    monkeypatch.setattr(loop, "PROGRESS_INTERVAL", 0.0)


@pytest.fixture
def request_to_train(tiny_model: Path, make_pictures: MakePictures, tmp_path: Path) -> Train:
    folder = make_pictures(count=5)
    return Train(
        str(tiny_model), str(folder), str(tmp_path / "out"), SPEC, steps=14, batch=2, seed=3
    )


def train(studio: Studio, request: Train, job: Job | None = None) -> str:
    return str(studio.train(request, job or Job())["sha256"])


def base_hash(studio: Studio, model: Path) -> str:
    loaded = studio._use(str(model), Job())
    digest = hashlib.sha256()
    for component in loaded.model.components.values():
        for name, value in sorted(component.state_dict().items()):
            digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def cancel_at(step: int) -> Job:
    seen = {"step": 0}

    def report(data: dict[str, object]) -> None:
        if data.get("stage") == "train":
            seen["step"] = int(str(data["step"]))

    return Job(lambda: seen["step"] >= step, report)


def test_the_same_request_gives_the_same_bytes(studio: Studio, request_to_train: Train) -> None:
    assert train(studio, request_to_train) == train(studio, request_to_train)


@pytest.mark.parametrize("change", [{"seed": 4}, {"round": 1}, {"node": "b"}, {"min_snr": 5.0}])
def test_seed_round_node_and_weighting_each_change_the_course(
    studio: Studio, request_to_train: Train, change: dict[str, int]
) -> None:
    other = replace(request_to_train, **change)  # type: ignore[arg-type]
    assert train(studio, request_to_train) != train(studio, other)


@pytest.mark.parametrize("change", [{"seed": 4}, {"round": 1}, {"node": "b"}])
def test_seed_round_and_node_decide_noise_and_order_alike(
    studio: Studio,
    request_to_train: Train,
    make_pictures: MakePictures,
    change: dict[str, int],
) -> None:
    """With one picture there is one order, so only the noise can differ."""
    folder = str(make_pictures("one", 1))
    single = replace(request_to_train, folder=folder, batch=1, steps=1)
    noises = [studio.train(r, Job())["loss"] for r in (single, replace(single, **change))]  # type: ignore[arg-type]
    assert noises[0] != noises[1]
    place = {"seed": single.seed, "round": single.round, "node": single.node}
    orders = [
        list(selection.stream(20, 20, 0, ("order", p["seed"], p["round"], p["node"])))  # type: ignore[arg-type]
        for p in (place, place | change)
    ]
    assert orders[0] != orders[1]


def test_the_loss_falls(studio: Studio, request_to_train: Train, tmp_path: Path) -> None:
    long = replace(request_to_train, steps=60, batch=4, learning_rate=5e-3)
    studio.train(long, Job())
    result = studio.evaluate(Evaluate(long.model, long.folder, ("", long.out), draws=4), Job())
    assert result["losses"][long.out] < 0.97 * result["losses"][""]


def test_a_cancelled_run_resumes_to_the_same_bytes(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"))
    with pytest.raises(Cancelled):
        train(studio, saved, cancel_at(5))
    assert (tmp_path / "ck").is_file()
    steps: list[int] = []
    job = Job(report=lambda d: steps.append(d["step"]) if d["stage"] == "train" else None)
    resumed = train(studio, saved, job)
    assert min(steps) > 5
    assert resumed == train(studio, request_to_train)
    assert not (tmp_path / "ck").exists()


def test_a_checkpoint_at_an_interval_resumes_with_the_same_mean_loss(
    studio: Studio, request_to_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(checkpoint, "restore", lambda *_: Place())
    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"))
    kept = {}

    def keep(data: dict[str, object]) -> None:
        if data.get("step") == CHECKPOINT_STEPS + 1:
            kept["bytes"] = (tmp_path / "ck").read_bytes()

    whole = studio.train(saved, Job(report=keep))
    monkeypatch.undo()
    (tmp_path / "ck").write_bytes(kept["bytes"])
    resumed = studio.train(saved, Job())
    assert (resumed["sha256"], resumed["loss"]) == (whole["sha256"], whole["loss"])


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_or_foreign_checkpoint_starts_anew(
    studio: Studio, request_to_train: Train, tmp_path: Path, damage: bytes | None
) -> None:
    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"))
    if damage is None:
        with pytest.raises(Cancelled):
            train(studio, replace(saved, learning_rate=0.5), cancel_at(4))
        assert (tmp_path / "ck").is_file()
    else:
        (tmp_path / "ck").write_bytes(damage)
    assert train(studio, saved) == train(studio, request_to_train)


def test_divergence_stops_with_the_step_and_a_remedy(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., torch.Tensor] = loop.step_loss

    def poisoned(*arguments: object) -> torch.Tensor:
        value = real(*arguments)
        return value * float("nan") if arguments[-1] == 6 else value

    monkeypatch.setattr(loop, "step_loss", poisoned)
    with pytest.raises(TrainerError) as caught:
        train(studio, request_to_train)
    assert "step 7" in caught.value.cause
    assert "learning rate" in caught.value.remedy
    assert not Path(request_to_train.out).exists()


def test_the_base_is_untouched_by_training_failure_and_drawing(
    studio: Studio, request_to_train: Train, tiny_model: Path, tmp_path: Path
) -> None:
    before = base_hash(studio, tiny_model)
    loaded = studio._use(str(tiny_model), Job())
    drawing = Drawing("a house", "", 1, 3, 2.0, 32, 32)
    plain = loaded.model.draw([drawing], lambda *_: None)[0].tobytes()
    train(studio, replace(request_to_train, learning_rate=0.05))
    with pytest.raises(Cancelled):
        train(studio, request_to_train, cancel_at(1))
    lora = (LoraFile(request_to_train.out, 1.0),)
    generate = Generate(
        str(tiny_model), ("a house",), (1,), str(tmp_path / "x.png"), lora, "", 3, 2.0
    )
    studio.generate(generate, Job())
    assert base_hash(studio, tiny_model) == before
    again = loaded.model.draw([drawing], lambda *_: None)[0].tobytes()
    assert again == plain
    from PIL import Image

    assert Image.open(tmp_path / "x.png").tobytes() != plain


def test_the_first_loss_is_that_of_the_given_adapter(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    """O15: a peer that starts a round computes what the room's adapter computes."""
    trained = replace(request_to_train, steps=8, learning_rate=0.05)
    train(studio, trained)
    one_step = replace(
        request_to_train, steps=1, initial=trained.out, out=str(tmp_path / "next"), round=1
    )
    first = studio.train(one_step, Job())["loss"]
    base = replace(one_step, initial="")
    assert studio.train(base, Job())["loss"] != first
    frozen = replace(one_step, learning_rate=1e-12)
    assert studio.train(frozen, Job())["loss"] == first


@pytest.mark.parametrize(
    ("spec", "scale"),
    [(AdapterSpec(2, 8), 4.0), (AdapterSpec(2, 8, rank_stabilised=True), 32**0.5)],
    ids=["alpha", "rslora"],
)
def test_a_scale_is_in_the_course_of_training_and_in_no_file(
    studio: Studio, request_to_train: Train, tmp_path: Path, spec: AdapterSpec, scale: float
) -> None:
    """An adapter does the same at every scale and comes out as it went in; only its B moves
    as many times further in a step."""
    assert spec.scale == pytest.approx(scale)
    begun = replace(request_to_train, learning_rate=0.05, out=str(tmp_path / "start"))
    train(studio, begun)
    again = replace(begun, initial=begun.out, steps=1, learning_rate=1e-12, spec=spec)
    still = studio.train(replace(again, out=str(tmp_path / "still")), Job())
    plain = studio.train(replace(again, out=str(tmp_path / "plain"), spec=SPEC), Job())
    assert still["loss"] == pytest.approx(plain["loss"], rel=1e-3)
    start, _ = tensor_file.read_all(tmp_path / "start")
    same, _ = tensor_file.read_all(tmp_path / "still")
    assert start.keys() == same.keys()
    assert all(np.allclose(start[name], same[name], atol=1e-6) for name in start)

    fresh = replace(request_to_train, steps=1, learning_rate=1e-3)
    moved = {}
    for name, own in (("one", SPEC), ("other", spec)):
        train(studio, replace(fresh, spec=own, out=str(tmp_path / name)))
        moved[name] = tensor_file.read_all(tmp_path / name)[0]
    for name, one in moved["one"].items():
        if name.endswith("lora_B.weight"):
            np.testing.assert_allclose(np.abs(moved["other"][name]).max(), scale * abs(one).max(),
                                       rtol=1e-3)  # fmt: skip


def test_convolutions_train_and_load_elsewhere(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    """The whole way of LoCon: start, train, export, draw with the factors and the kohya file."""
    spec = AdapterSpec(2, 2, ("to_q", "conv1", "proj_in", "ff.net.2"))
    request = replace(request_to_train, spec=spec, learning_rate=0.02)
    train(studio, request)
    kohya = replace(request, export="kohya", out=str(tmp_path / "k.safetensors"))
    train(studio, kohya)
    result = studio.evaluate(
        Evaluate(request.model, request.folder, ("", request.out, kohya.out), draws=2), Job()
    )
    losses = result["losses"]
    assert losses[request.out] == losses[kohya.out] != losses[""]


@pytest.mark.parametrize(
    "change",
    [{"steps": 0}, {"batch": -1}, {"learning_rate": -1.0}, {"resolution": 33}, {"min_snr": -1.0}],
)
def test_impossible_settings_are_refused(
    studio: Studio, request_to_train: Train, change: dict[str, int]
) -> None:
    with pytest.raises(TrainerError) as caught:
        train(studio, replace(request_to_train, **change))  # type: ignore[arg-type]
    assert caught.value.code == 2


def test_an_initial_adapter_of_another_rank_is_refused(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    from trainer.arithmetic import init_adapter

    other = InitAdapter(request_to_train.model, AdapterSpec(rank=3), 0, str(tmp_path / "a0"))
    init_adapter(other, Job())
    with pytest.raises(TrainerError) as caught:
        train(studio, replace(request_to_train, initial=str(tmp_path / "a0")))
    assert "0 of" in caught.value.cause


def test_every_pass_uses_each_example_once() -> None:
    place = ("order", 1, 1, "n")
    flat = [n for step in range(14) for n in selection.stream(7, 3, step, place)]
    passes = [flat[first : first + 7] for first in range(0, 42, 7)]
    assert all(sorted(chosen) == list(range(7)) for chosen in passes)
    assert len(set(map(tuple, passes))) > 1
    counts = Counter(selection.stream(7, 20, 0, place))
    assert list(counts.values()).count(3) == 6


def test_a_changed_model_is_read_again(studio: Studio, tiny_model: Path, tmp_path: Path) -> None:
    import os
    import shutil

    copy = tmp_path / "model"
    shutil.copytree(tiny_model, copy)
    first = studio.load(Load(str(copy)), Job())
    assert studio._use(str(copy), Job()) is studio._use(str(copy), Job())
    config = copy / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"epsilon"', '"sample"'))
    os.utime(config, ns=(1, 1))
    second = studio.load(Load(str(copy)), Job())
    assert first["sha256"] != second["sha256"]
    assert studio._use(str(copy), Job()).model.schedule.config.prediction_type == "sample"
    assert models.resolve(str(copy)).resolution == first["resolution"] == 32


@pytest.mark.parametrize(("change", "cause"), [
    ({"learning_rate": 0.5}, "other settings"),
    ({"steps": 2}, "after step"),
    ({}, "header"),
])  # fmt: skip
def test_whoever_insists_on_going_on_hears_why_that_cannot_be(
    studio: Studio, request_to_train: Train, tmp_path: Path, change: dict[str, Any], cause: str
) -> None:
    kept = tmp_path / "ck"
    saved = replace(request_to_train, checkpoint=str(kept))
    with pytest.raises(Cancelled):
        train(studio, saved, cancel_at(4))
    if not change:
        kept.write_bytes(kept.read_bytes()[:20])
    before = kept.read_bytes()
    with pytest.raises(TrainerError, match="checkpoint") as caught:
        train(studio, replace(saved, resume=True, **change))
    assert cause in caught.value.cause
    assert "--resume" in caught.value.remedy
    assert kept.read_bytes() == before
    other = replace(request_to_train, **change)
    assert train(studio, replace(saved, **change)) == train(studio, other)


def test_insisting_where_there_is_no_checkpoint_begins(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    request = replace(request_to_train, checkpoint=str(tmp_path / "ck"), resume=True)
    assert train(studio, request) == train(studio, request_to_train)


def test_a_result_without_a_place_is_refused_before_the_work(
    request_to_train: Train, tmp_path: Path
) -> None:
    fresh = Studio()
    with pytest.raises(TrainerError, match="no place") as caught:
        fresh.train(replace(request_to_train, out=str(tmp_path)), Job())
    assert caught.value.code == 2
    assert fresh._loaded is None


def test_a_resumed_run_tells_what_was_measured_before(
    studio: Studio,
    request_to_train: Train,
    make_pictures: MakePictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed right after a checkpoint at a step that is measured too, and cancelled later."""
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    held_out = str(make_pictures("held-out", 2, first=30))
    tuning = Tuning(held_out=held_out, validate_every=5)
    request = replace(request_to_train, tuning=tuning)
    whole = studio.train(request, Job())["held_out"]
    assert [step for step, _ in whole] == [5, 10, 14]
    saved = replace(request, checkpoint=str(tmp_path / "ck"))

    def killed(data: dict[str, object]) -> None:
        if data.get("stage") == "train" and data.get("step") == CHECKPOINT_STEPS + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        studio.train(saved, Job(report=killed))
    assert studio.train(saved, Job())["held_out"] == whole
    with pytest.raises(Cancelled):
        train(studio, saved, cancel_at(12))
    assert studio.train(saved, Job())["held_out"] == whole


@pytest.mark.parametrize("stopped_after", [5, 14])
def test_a_run_stopped_while_it_measures_loses_no_step(
    studio: Studio,
    request_to_train: Train,
    make_pictures: MakePictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_after: int,
) -> None:
    """And measures what it was stopped in once it goes on, also after the last step."""
    held_out = str(make_pictures("held-out", 2, first=30))
    tuning = Tuning(held_out=held_out, validate_every=5)
    request = replace(request_to_train, tuning=tuning)
    whole = studio.train(request, Job())
    saved = replace(request, checkpoint=str(tmp_path / "ck"))
    reached, stopping, steps = [0], [True], []

    def told(data: dict[str, Any]) -> None:
        if data["stage"] == "train":
            reached[0] = data["step"]
            steps.append(data["step"])

    measure = loop.evaluate.denoising_losses

    def measured(*given: Any) -> dict[str, float]:
        if stopping[0] and reached[0] == stopped_after:
            raise Cancelled
        return measure(*given)

    monkeypatch.setattr(loop.evaluate, "denoising_losses", measured)
    with pytest.raises(Cancelled):
        studio.train(saved, Job(report=told, announce=told))
    stopping[0] = False
    steps.clear()
    resumed = studio.train(replace(saved, resume=True), Job(report=told, announce=told))
    assert min(steps, default=15) > stopped_after
    assert (resumed["sha256"], resumed["held_out"]) == (whole["sha256"], whole["held_out"])


def test_a_file_says_how_it_was_made_and_what_calls_it(
    studio: Studio, request_to_train: Train
) -> None:
    data = DataOptions(trigger="sks")
    request = replace(request_to_train, steps=2, export="kohya", data=data, learning_rate=3e-4)
    train(studio, request)
    _, metadata = tensor_file.read_all(Path(request.out))
    assert metadata["modelspec.trigger_phrase"] == "sks"
    assert metadata["modelspec.resolution"] == "32x32"
    assert metadata["ss_resolution"] == "(32, 32)"
    assert (metadata["ss_steps"], metadata["ss_learning_rate"]) == ("2", "0.0003")
    assert metadata["fedtui.steps"] == "2"
    assert not any("red house" in value for value in metadata.values())


def test_a_batch_that_was_found_stays_when_the_memory_has_changed(
    studio: Studio, request_to_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = replace(request_to_train, batch=0)
    whole = studio.train(found, Job())
    assert whole["batch"] == 4
    saved = replace(found, checkpoint=str(tmp_path / "ck"), resume=True)
    with pytest.raises(Cancelled):
        train(studio, saved, cancel_at(4))
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1)
    assert studio.train(found, Job())["batch"] == 1
    assert train(studio, saved) == whole["sha256"]


def test_a_result_that_finds_no_room_can_be_had_again(
    studio: Studio, request_to_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tensor_file.write

    def full(path: Path, *more: Any) -> tensor_file.Written:
        if path.name == "out":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *more)

    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(tensor_file, "write", full)
    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"))
    with pytest.raises(TrainerError, match="cannot be written") as caught:
        train(studio, saved)
    assert "No space left" in caught.value.cause
    assert "--resume" in caught.value.remedy
    monkeypatch.undo()
    steps: list[int] = []
    job = Job(report=lambda d: steps.append(d["step"]) if d["stage"] == "train" else None)
    assert train(studio, replace(saved, resume=True), job) == train(studio, request_to_train)
    assert not steps or min(steps) > CHECKPOINT_STEPS


def test_a_disk_that_takes_no_checkpoint_ends_no_training(
    studio: Studio, request_to_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is trained lies in memory; it is told once, and again when somebody asks for one."""
    monkeypatch.setattr(loop, "CHECKPOINT_INTERVAL", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 2)
    real = tensor_file.write

    def full(path: Path, *more: Any) -> tensor_file.Written:
        if path.name == "ck":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *more)

    plain = train(studio, request_to_train)
    monkeypatch.setattr(tensor_file, "write", full)
    notes: list[str] = []
    hear = Job(announce=lambda d: notes.append(d["text"]) if d["stage"] == "note" else None)
    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"))
    assert train(studio, saved, hear) == plain
    [note] = notes
    assert "no checkpoint after step 2" in note
    assert "No space left" in note
    wishes = ["save", None, "save"]
    told: list[str] = []
    asking = Job(
        announce=lambda d: told.append(d["stage"]), wish=lambda: wishes.pop() if wishes else None
    )
    assert train(studio, saved, asking) == plain
    assert (told.count("note"), "saved" in told) == (2, False)


def test_samples_that_cannot_be_written_end_no_training(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file where the folder would be")
    notes: list[str] = []
    hear = Job(announce=lambda d: notes.append(d["text"]) if d["stage"] == "note" else None)
    samples = Samples(("a house",), out=str(tmp_path / "taken"), every=7, steps=1)
    plain = train(studio, request_to_train)
    assert train(studio, replace(request_to_train, samples=samples), hear) == plain
    assert len(notes) == 2
    assert "after step 7 cannot be written" in notes[0]
