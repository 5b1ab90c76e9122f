"""What can be tuned does what its name says, and resumes to the same bytes."""

from __future__ import annotations

import gc
import platform
import weakref
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from family_rig import WRITERS
from trainer_rig import MakePictures

from trainer import loop, memory, models, optimisers, rates
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.memory import Plan
from trainer.protocol import AdapterSpec, Train, Tuning
from trainer.studio import Studio


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture
def request_to_train(tiny_model: Path, make_pictures: MakePictures, tmp_path: Path) -> Train:
    return Train(
        str(tiny_model), str(make_pictures(count=5)), str(tmp_path / "out"), AdapterSpec(2, 2),
        steps=6, batch=2, seed=3,
    )  # fmt: skip


def train(studio: Studio, request: Train, job: Job | None = None, **changes: Any) -> dict[str, Any]:
    """The result of a training with these changes to its tuning, or to its adapter."""
    adapter = {field.name for field in fields(AdapterSpec)} & set(changes)
    spec = replace(request.spec, **{name: changes.pop(name) for name in adapter})
    tuning = replace(request.tuning, **changes)
    return studio.train(replace(request, spec=spec, tuning=tuning), job or Job())


@pytest.mark.parametrize(
    "tuning",
    [
        {"optimizer": "adamw", "accumulate": 2, "schedule": "cosine", "warmup": 2},
        {"optimizer": "prodigy", "ema": 0.9},
        {"optimizer": "lion", "dropout": 0.3, "noise_offset": 0.1},
    ],
    ids=lambda tuning: tuning["optimizer"],
)
def test_every_optimiser_resumes_to_the_same_bytes(
    studio: Studio,
    request_to_train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tuning: dict[str, Any],
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_INTERVAL", 0.0)
    seen = {"step": 0}
    saved = replace(request_to_train, checkpoint=str(tmp_path / "ck"), learning_rate=0.01)
    with pytest.raises(Cancelled):
        train(studio, saved, Job(lambda: seen["step"] >= 3, _training_steps(seen)), **tuning)
    resumed = train(studio, saved, **tuning)
    whole = train(studio, replace(saved, checkpoint=""), **tuning)
    assert (resumed["sha256"], resumed["loss"]) == (whole["sha256"], whole["loss"])


def _training_steps(seen: dict[str, int]) -> Any:
    def report(data: dict[str, Any]) -> None:
        if data["stage"] == "train":
            seen["step"] = data["step"]

    return report


@pytest.mark.parametrize(
    "tuning",
    [
        {"schedule": "linear"}, {"warmup": 3}, {"accumulate": 2}, {"weight_decay": 0.5},
        {"clip": 0.001}, {"noise_offset": 0.2}, {"dropout": 0.5}, {"rank_stabilised": True},
        {"alpha": 8}, {"ema": 0.9}, {"optimizer": "lion"}, {"optimizer": "prodigy"},
    ],
    ids=lambda tuning: next(iter(tuning)),
)  # fmt: skip
def test_every_setting_has_an_effect(
    studio: Studio, request_to_train: Train, tuning: dict[str, Any]
) -> None:
    short = replace(request_to_train, steps=4, learning_rate=0.02)
    assert train(studio, short, **tuning)["sha256"] != train(studio, short)["sha256"]


def test_accumulated_batches_count_as_one_step(studio: Studio, request_to_train: Train) -> None:
    still = replace(request_to_train, learning_rate=1e-12)
    two = train(studio, replace(still, steps=2))["loss"]
    one = train(studio, replace(still, steps=1), accumulate=2)["loss"]
    assert one == pytest.approx(two, rel=1e-6)


def test_prior_pictures_add_their_share_of_the_loss(
    studio: Studio, request_to_train: Train, make_pictures: MakePictures
) -> None:
    still = replace(request_to_train, learning_rate=1e-12, steps=2)
    prior = str(make_pictures("prior", 3, first=50))
    plain = train(studio, still)["loss"]
    none, one, two = (
        train(studio, still, prior=prior, prior_weight=weight)["loss"] for weight in (0.0, 1.0, 2.0)
    )
    assert none == pytest.approx(plain, rel=1e-6)
    assert one > plain
    assert two - one == pytest.approx(one - none, rel=1e-4)


def test_held_out_pictures_are_measured_alike_each_time_and_never_trained(
    studio: Studio, request_to_train: Train, make_pictures: MakePictures
) -> None:
    held_out = str(make_pictures("held-out", 2, first=70))
    still = replace(request_to_train, learning_rate=1e-12)
    told: list[dict[str, Any]] = []
    job = Job(announce=lambda data: told.append(data) if data["stage"] == "validate" else None)
    result = train(studio, still, job, held_out=held_out, validate_every=2)
    assert [step for step, _ in result["held_out"]] == [2, 4, 6]
    first, *later = (loss for _, loss in result["held_out"])
    assert later == pytest.approx([first, first], rel=1e-6), "a rate of 1e-12 moves last bits only"
    assert [data["step"] for data in told] == [2, 4, 6]
    trained = replace(request_to_train, learning_rate=0.02)
    with_them = train(studio, trained, held_out=held_out, validate_every=1)
    assert with_them["sha256"] == train(studio, trained)["sha256"]
    assert len({loss for _, loss in with_them["held_out"]}) > 1


def test_a_missing_library_is_named(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optimisers.importlib, "import_module", missing)
    with pytest.raises(TrainerError) as caught:
        train(studio, request_to_train, optimizer="adamw8bit")
    assert "bitsandbytes" in caught.value.cause
    assert "fedtui[optimizers]" in caught.value.remedy


RATES = [
    ("tiny-landscapes", False, "adamw", 1e-3),
    ("tiny-landscapes", True, "adamw", 1e-3),
    ("stable-diffusion-1", False, "adamw8bit", 1e-4),
    ("stable-diffusion-1", True, "adamw", 1e-5),
    ("stable-diffusion-1", False, "lion", 3e-5),
    ("stable-diffusion-1", False, "prodigy", 1.0),
    ("ddpm", True, "adamw", 1e-4),
]


@pytest.mark.parametrize(("name", "whole", "optimizer", "rate"), RATES)
def test_whoever_says_no_rate_gets_what_suits(
    tmp_path: Path, name: str, whole: bool, optimizer: Any, rate: float
) -> None:
    """A thousandth, right for the built-in model, burns adapters of published ones."""
    model = name if name == "tiny-landscapes" else str(WRITERS[name](tmp_path / name))
    tuning = Tuning(optimizer=optimizer)
    found = rates.suited(models.resolve(model), tuning, whole=whole)
    assert found == pytest.approx(rate)


def test_the_rate_that_was_taken_is_told(studio: Studio, request_to_train: Train) -> None:
    chosen = replace(request_to_train, steps=2, learning_rate=0.0)
    result = studio.train(chosen, Job())
    assert result["learning_rate"] == 1e-4
    said = studio.train(replace(chosen, learning_rate=1e-4), Job())
    assert said["sha256"] == result["sha256"]


def test_rates_rise_then_follow_their_schedule() -> None:
    def curve(**tuning: Any) -> list[float]:
        return [round(rates.factor(Tuning(**tuning), step, 8), 3) for step in range(8)]

    assert curve(warmup=3) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert curve(schedule="linear") == [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert curve(schedule="cosine", warmup=4)[3:] == [0.8, 1, 0.854, 0.5, 0.146]


@pytest.mark.parametrize(
    ("wanted", "checkpointing", "free", "expected"),
    [
        (4, "auto", 1000, Plan(4, False)),
        (4, "auto", 60, Plan(4, True)),
        (4, "off", 60, Plan(4, False)),
        (4, "on", 1000, Plan(4, True)),
        (0, "auto", 1000, Plan(8, False)),
        (0, "auto", 75, Plan(4, False)),
        (0, "auto", 10, Plan(1, True)),
    ],
)
def test_the_batch_is_the_largest_that_fits(
    wanted: int, checkpointing: str, free: int, expected: Plan
) -> None:
    assert memory.planned(wanted, checkpointing, 10, 0, free, 8) == expected


def test_a_batch_is_found_and_told(studio: Studio, request_to_train: Train) -> None:
    result = train(studio, replace(request_to_train, batch=0))
    assert result["batch"] == 4  # of five pictures
    assert result["sha256"] == train(studio, replace(request_to_train, batch=4))["sha256"]


def test_measuring_a_step_keeps_nothing_of_it() -> None:
    parameter = torch.nn.Parameter(torch.ones(1000))
    kept: list[weakref.ref[torch.Tensor]] = []

    def forward() -> torch.Tensor:
        result = parameter.exp()  # Its own gradient: the graph keeps what it gave.
        kept.append(weakref.ref(result))
        return result.sum()

    assert memory.kept_bytes(forward, 0) == 4000
    gc.collect()
    assert kept[0]() is None


def test_checkpointing_changes_no_bit(studio: Studio, request_to_train: Train) -> None:
    on, off = (train(studio, request_to_train, checkpointing=each) for each in ("on", "off"))
    assert on["checkpointing"] is True
    assert on["sha256"] == off["sha256"]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries keep what is freed")
def test_a_step_uses_the_memory_of_the_step_before() -> None:
    """Eight blocks of 16 MB that the system would have to clear anew each time."""
    resource = pytest.importorskip("resource")

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        blocks = [torch.zeros(4 << 20) for _ in range(8)]
        assert len(blocks) == 8
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

    process, all_blocks = psutil.Process(), 8 * 16 << 20
    pages = all_blocks // resource.getpagesize()
    with memory.held():
        again = [faults() for _ in range(8)]
        held = process.memory_info().rss
    assert min(again) < pages / 8, "after some steps nothing is fetched anew"
    assert held - process.memory_info().rss > all_blocks / 2, "what was held goes back at the end"


def test_where_memory_comes_from_changes_no_bit(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = train(studio, request_to_train)
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert train(studio, request_to_train)["sha256"] == held["sha256"]


def test_memory_that_runs_out_is_answered_with_what_to_change(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(loop, "_advance", full)
    with pytest.raises(TrainerError) as caught:
        train(studio, request_to_train)
    assert caught.value.title == "Out of memory"
    assert "batch of 1" in caught.value.remedy
    assert "--checkpointing on" in caught.value.remedy


def test_a_cpu_without_bfloat16_trains_in_float32(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False})
    result = train(studio, request_to_train)
    assert result["precision"] == "float32"
    assert result["fallbacks"] == ["cpu gains nothing from bfloat16: trained in float32"]


def test_without_a_compiler_a_training_runs_as_it_is(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nand more")

    short = replace(request_to_train, steps=2)
    plain = train(studio, short)
    monkeypatch.setattr(torch, "compile", none)
    result = train(studio, short, compile=True)
    assert result["sha256"] == plain["sha256"]
    said = "nothing can be compiled here (No working C++ compiler found)"
    assert any(sentence.startswith(said) for sentence in result["fallbacks"])


def test_eight_bit_moments_come_from_their_library(
    studio: Studio, request_to_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which needs a GPU: here a stand-in shows what it would be given."""
    given: dict[str, Any] = {}

    def stand_in(values: Any, **settings: Any) -> torch.optim.Optimizer:
        given.update(settings)
        return torch.optim.AdamW(values, **settings)

    library = SimpleNamespace(AdamW8bit=stand_in)
    monkeypatch.setattr(
        optimisers.importlib, "import_module", {"bitsandbytes.optim": library}.__getitem__
    )
    train(studio, replace(request_to_train, steps=1), optimizer="adamw8bit", weight_decay=0.2)
    assert given == {"lr": request_to_train.learning_rate, "weight_decay": 0.2}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert train(studio, request_to_train)["precision"] == "bfloat16"
