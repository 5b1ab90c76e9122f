"""Training every weight: files others can combine, whole folders, and an untouched base."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from family_rig import ddpm
from PIL import Image
from safetensors import SafetensorError
from trainer_rig import MakePictures, picture

from trainer import disk, models, tensor_file, whole
from trainer.config import VALIDATION_DRAWS
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.models.base import Digests
from trainer.protocol import AdapterSpec, DataOptions, Evaluate, Generate, Samples, Train, Tuning
from trainer.studio import Studio
from trainer.worker import _unexpected


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture(scope="module")
def pixel_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return ddpm(tmp_path_factory.mktemp("model") / "ddpm")


@pytest.fixture
def request_to_train(pixel_model: Path, tmp_path: Path) -> Train:
    """Pictures without any captions."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for number in range(4):
        picture(number).save(folder / f"{number}.png")
    return Train(
        str(pixel_model), str(folder), str(tmp_path / "weights"), AdapterSpec(), steps=4, batch=2,
        learning_rate=1e-3, mode="dense",
    )  # fmt: skip


def test_the_file_holds_every_weight_by_its_name(
    studio: Studio, request_to_train: Train, pixel_model: Path
) -> None:
    before = Digests.of(models.resolve(str(pixel_model)))
    result = studio.train(request_to_train, Job())
    assert result["samples"] == 4
    arrays, _ = tensor_file.read_all(Path(request_to_train.out))
    own, _ = tensor_file.read_all(pixel_model / "unet" / "diffusion_pytorch_model.safetensors")
    assert {n: a.shape for n, a in arrays.items()} == {n: a.shape for n, a in own.items()}
    assert sum(not np.array_equal(arrays[name], own[name]) for name in own) == len(own)
    network = studio._use(str(pixel_model), Job()).model.components["unet"]
    for name, value in network.state_dict().items():
        assert np.array_equal(value.numpy(), own[name]), name
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert Digests.of(models.resolve(str(pixel_model))) == before


def test_training_goes_on_from_given_weights(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    fast = replace(request_to_train, steps=20)
    first = studio.train(fast, Job())["loss"]
    more = replace(fast, initial=fast.out, out=str(tmp_path / "more"), round=1)
    assert studio.train(more, Job())["loss"] < first
    wrong = tmp_path / "wrong"
    tensor_file.write(wrong, {"conv_in.weight": np.zeros((1, 2), np.float32)})
    with pytest.raises(TrainerError, match="do not fit") as caught:
        studio.train(replace(more, initial=str(wrong)), Job())
    assert "0 of its" in caught.value.cause


def test_a_whole_model_is_a_folder_like_any_other(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    request = replace(
        request_to_train, export="diffusers", out=str(tmp_path / "mine"), tuning=Tuning(ema=0.9)
    )
    studio.train(request, Job())
    assert models.resolve(request.out).family.name == "ddpm"
    drawn = studio.generate(
        Generate(request.out, ("",), (1,), str(tmp_path / "x.png"), steps=2), Job()
    )
    assert Path(drawn["pictures"][0]["path"]).is_file()
    again = replace(request, model=request.out, out=str(tmp_path / "other"), steps=1)
    studio.train(again, Job())


def test_the_moving_average_is_what_is_written(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    """After one step it lies between the beginning and the trained weights."""
    plain = replace(request_to_train, steps=2, learning_rate=0.01)
    averaged = replace(plain, out=str(tmp_path / "ema"), tuning=Tuning(ema=0.999))
    studio.train(plain, Job())
    studio.train(averaged, Job())
    trained, mean = whole.read(Path(plain.out)), whole.read(Path(averaged.out))
    own = whole.read(Path(plain.model) / "unet" / "diffusion_pytorch_model.safetensors")
    moved = sum(float(np.square(trained[name] - own[name]).sum()) for name in own)
    behind = sum(float(np.square(mean[name] - own[name]).sum()) for name in own)
    assert 0.0 < behind < moved


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"export": "kohya"}, "no LoRA"),
        ({"spec": AdapterSpec(dropout=0.1)}, "adapters"),
        ({"export": "diffusers", "out": "/tmp"}, "no model folder"),
    ],
)
def test_what_belongs_to_adapters_is_refused(
    studio: Studio, request_to_train: Train, change: dict[str, str], cause: str
) -> None:
    with pytest.raises(TrainerError) as caught:
        studio.train(replace(request_to_train, **change), Job())  # type: ignore[arg-type]
    assert cause in caught.value.cause
    assert caught.value.code == 2


def test_a_latent_model_trains_whole_too(
    studio: Studio, tiny_model: Path, make_pictures: MakePictures, tmp_path: Path
) -> None:
    request = Train(
        str(tiny_model), str(make_pictures()), str(tmp_path / "w"), AdapterSpec(), 2, batch=2,
        mode="dense", tuning=Tuning(optimizer="lion", weight_decay=0.0),
    )  # fmt: skip
    result = studio.train(request, Job())
    assert result["steps"] == 2
    own = whole.read(tiny_model / "unet" / "diffusion_pytorch_model.safetensors")
    assert whole.read(Path(request.out)).keys() == own.keys()


def test_a_network_with_dropout_of_its_own_trains_alike_each_time(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = ddpm(tmp_path / "dropout", dropout=0.3)
    request = replace(request_to_train, model=str(model))
    results = {studio.train(request, Job())["sha256"] for _ in range(2)}
    assert len(results) == 1


@pytest.mark.parametrize(("side", "deeper", "step"), [(32, 0, 8), (32, 3, 16), (28, 1, 4)])
def test_pictures_have_sides_that_the_network_can_halve(
    studio: Studio, request_to_train: Train, tmp_path: Path, side: int, deeper: int, step: int
) -> None:
    torch.manual_seed(0)
    model = str(ddpm(tmp_path / "model", side=side, deeper=deeper))
    assert models.resolve(model).side_step == step
    for number, size in enumerate([(60, 90), (90, 60)]):
        picture(number + 20, size).save(Path(request_to_train.folder) / f"long-{number}.png")
    buckets = DataOptions(buckets=True)
    request = replace(request_to_train, model=model, batch=1, steps=6, data=buckets)
    assert studio.train(request, Job())["steps"] == 6
    if step == 16:
        with pytest.raises(TrainerError, match="settings") as caught:
            studio.train(replace(request, resolution=40), Job())
        assert "multiples of 16" in caught.value.cause
    drawn = Generate(model, ("",), (1,), str(tmp_path / "x.png"), steps=2)
    assert studio.generate(drawn, Job())["pictures"]


def test_what_is_shown_meanwhile_is_the_moving_average_that_will_be_written(
    studio: Studio, request_to_train: Train, tmp_path: Path
) -> None:
    """Samples and the loss on pictures held out; and showing it changes nothing of the training."""
    held = tmp_path / "held"
    held.mkdir()
    for number in (40, 41):
        picture(number).save(held / f"{number}.png")
    samples = Samples(("",), (7,), str(tmp_path / "samples"), every=2, steps=3, guidance=0.0)
    tuning = Tuning(ema=0.9, held_out=str(held), validate_every=2)
    request = replace(
        request_to_train, export="diffusers", out=str(tmp_path / "mine"), learning_rate=0.01,
        tuning=tuning, samples=samples,
    )  # fmt: skip
    shown = studio.train(request, Job())
    silent = replace(tuning, held_out="", validate_every=0)
    alone = replace(request, out=str(tmp_path / "alone"), samples=Samples(), tuning=silent)
    assert studio.train(alone, Job())["sha256"] == shown["sha256"]
    current = replace(
        request, out=str(tmp_path / "now"), tuning=replace(tuning, ema=0.0),
        samples=replace(samples, out=str(tmp_path / "current")),
    )  # fmt: skip
    unaveraged = studio.train(current, Job())["held_out"][-1][1]
    drawing = Generate(
        request.out, ("",), samples.seeds, str(tmp_path / "after"), steps=3, guidance=0.0
    )
    studio.generate(drawing, Job())
    after, meanwhile, now = (
        np.asarray(Image.open(next((tmp_path / place).glob("*.png")))).astype(int)
        for place in ("after", "samples/step-000004", "current/step-000004")
    )
    # What is written is rounded as the model was.
    assert np.abs(after - meanwhile).mean() < 1.0 < 5.0 < np.abs(after - now).mean()
    question = Evaluate(request.out, str(held), ("",), draws=VALIDATION_DRAWS, seed=request.seed)
    measured = studio.evaluate(question, Job())["losses"][""]
    assert shown["held_out"][-1] == [4, pytest.approx(measured, rel=1e-3)]
    assert unaveraged != pytest.approx(measured, rel=1e-2)


def test_a_disk_too_small_for_a_whole_model_is_told_as_that(
    studio: Studio, request_to_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors says it in an error of its own family."""
    words = "Error while serializing: I/O error: No space left on device (os error 28)"

    def full(*_: Any, **__: Any) -> None:
        raise SafetensorError(words)

    monkeypatch.setattr(DDPMPipeline, "save_pretrained", full)
    request = replace(request_to_train, export="diffusers", out=str(tmp_path / "mine"))
    with pytest.raises(TrainerError, match="cannot be written") as caught:
        studio.train(request, Job())
    assert "No space left" in caught.value.cause
    assert not list(tmp_path.glob(".mine*"))
    with pytest.raises(SafetensorError), disk.errors():
        raise SafetensorError("Error while deserializing header")


def test_a_full_disk_is_named_whoever_meets_it() -> None:
    said = _unexpected(1, OSError(errno.ENOSPC, "No space left on device"))
    assert said.title == "The disk is full"
    assert "Make room" in said.remedy
    assert _unexpected(1, OSError(errno.EACCES, "Permission denied")).title != said.title
