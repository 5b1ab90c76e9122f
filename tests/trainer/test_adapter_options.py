"""What an adapter may be beside factors of attention layers: text encoders, DoRA, convolutions.

The oracle is what diffusers and peft make of the same file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import family_rig
import numpy as np
import pytest
import torch
from test_lora_roundtrip import assert_same
from trainer_rig import MakePictures

from trainer import arithmetic, frozen_text, injection, lora_file, models, tensor_file
from trainer.aggregate.files import ROUNDS_KEY
from trainer.config import VALIDATION_DRAWS
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.mix import alone, ingredient, mixed
from trainer.models.base import LoadedModel
from trainer.protocol import (
    AdapterSpec,
    CheckBlob,
    Combine,
    CombineAdapters,
    Evaluate,
    ExportAdapter,
    InitAdapter,
    RestoreAdapter,
    Train,
    Tuning,
    WeightedFile,
)
from trainer.studio import Studio

TEXT = ("q_proj", "k_proj", "v_proj", "out_proj")
CAPTION = "a red house, number 1"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture
def wanted(tiny_model: Path, make_pictures: MakePictures, tmp_path: Path) -> Train:
    """A short training of the text encoder beside the denoiser, at a rate that leaves traces."""
    spec = AdapterSpec(2, 2, text_targets=TEXT)
    return Train(
        str(tiny_model), str(make_pictures(count=4)), str(tmp_path / "out.safetensors"), spec,
        steps=3, batch=2, seed=3, learning_rate=0.05, export="kohya",
    )  # fmt: skip


@contextmanager
def refused(words: str) -> Iterator[None]:
    """Expects an error that says these words."""
    with pytest.raises(TrainerError) as caught:
        yield
    assert words in " ".join((str(caught.value), caught.value.cause, caught.value.remedy))


def loaded(model: Path) -> LoadedModel:
    base = models.resolve(str(model))
    return base.family.load(base, CPU)


def read_by_diffusers(model: Path, adapter: Path) -> Any:
    """The model as diffusers loads it, with the file as diffusers understands it."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(model, safety_checker=None)
    pipe.load_lora_weights(adapter.parent, weight_name=adapter.name)
    return pipe


@torch.no_grad()
def prediction(unet: Any, side: int = 8) -> torch.Tensor:
    draw = torch.Generator().manual_seed(1)
    width = unet.config.cross_attention_dim
    noisy = torch.randn(1, 4, side, side, generator=draw)
    states = torch.randn(1, 7, width, generator=draw)
    output: torch.Tensor = unet(noisy, torch.tensor([10]), states, return_dict=False)[0]
    return output


def test_a_fresh_text_adapter_changes_nothing_and_a_trained_one_every_layer(
    studio: Studio, wanted: Train
) -> None:
    plain = replace(wanted, spec=AdapterSpec(2, 2), steps=1)
    first = studio.train(replace(wanted, steps=1), Job())
    assert first["loss"] == studio.train(plain, Job())["loss"]
    studio.train(wanted, Job())
    made = lora_file.read(Path(wanted.out), models.resolve(wanted.model))
    assert set(made.components) == {"unet", "text_encoder"}
    assert all(factors.B.any() for _, _, factors in lora_file.each_layer(made))


@pytest.mark.parametrize("export", ["kohya", "diffusers"])
def test_diffusers_reads_a_text_adapter_as_it_was_trained(
    studio: Studio, wanted: Train, tiny_model: Path, export: Any
) -> None:
    studio.train(replace(wanted, export=export), Job())
    model, pipe = loaded(tiny_model), read_by_diffusers(tiny_model, Path(wanted.out))
    plain = model.spoken([CAPTION])
    with alone(wanted.out, models.resolve(wanted.model)).on(model), torch.no_grad():
        ours = model.spoken([CAPTION])
        denoised = prediction(model.components["unet"])
    with torch.no_grad():
        theirs = model.family.text_states(pipe, CAPTION)
    assert not torch.allclose(ours, plain, atol=1e-3)
    torch.testing.assert_close(ours[0], theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(denoised, prediction(pipe.unet), atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["stable-diffusion-xl", "stable-diffusion-3", "flux-1"])
def test_every_family_with_a_clip_encoder_trains_it(
    studio: Studio, wanted: Train, tmp_path: Path, family: str
) -> None:
    folder = family_rig.WRITERS[family](tmp_path / "model")
    side = 64 if family == "flux-1" else 32
    studio.train(
        replace(wanted, model=str(folder), export="diffusers", resolution=side, steps=2), Job()
    )
    base = models.resolve(str(folder))
    made = lora_file.read(Path(wanted.out), base)
    encoders = lora_file.Architecture.of(base).text_encoders
    clip = [name for name in encoders if (folder / name / "config.json").read_text().count("CLIP")]
    assert set(made.components) == {base.family.adapted, *clip}
    model, pipe = base.family.load(base, CPU), read_by_diffusers(folder, Path(wanted.out))
    with alone(wanted.out, base).on(model), torch.no_grad():
        ours = model.spoken([CAPTION])[0]
    with torch.no_grad():
        torch.testing.assert_close(ours, base.family.text_states(pipe, CAPTION), atol=1e-5,
                                   rtol=1e-5)  # fmt: skip


def test_a_text_encoder_that_does_not_train_reads_each_caption_once(tmp_path: Path) -> None:
    """The T5 beside two CLIP encoders; the answers are those of an encoder without a memory."""
    model = loaded(family_rig.stable_diffusion_3(tmp_path / "model"))
    t5 = model.components["text_encoder_3"]
    asked = 0

    def count(*_: Any) -> None:
        nonlocal asked
        asked += 1

    plain = model.spoken([CAPTION, "night"])
    layer = next(module for name, module in t5.named_modules() if name.endswith("layer.0"))
    with frozen_text.remembered([t5]), layer.register_forward_hook(count):
        for _ in range(3):
            assert torch.equal(model.spoken([CAPTION, "night"]), plain)
    assert asked == 2
    model.spoken([CAPTION])
    assert "forward" not in vars(t5)


def test_a_text_adapter_resumes_to_the_same_bytes(
    studio: Studio,
    wanted: Train,
    make_pictures: MakePictures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("trainer.loop.PROGRESS_INTERVAL", 0.0)
    step = 0

    def report(data: dict[str, Any]) -> None:
        nonlocal step
        step = data["step"] if data["stage"] == "train" else step

    held_out = str(make_pictures("held-out", 2, first=40))
    spec = replace(wanted.spec, dropout=0.3)
    tuned = replace(wanted, spec=spec, steps=4, tuning=Tuning(held_out=held_out))
    saved = replace(tuned, checkpoint=str(tmp_path / "ck"))
    with pytest.raises(Cancelled):
        studio.train(saved, Job(lambda: step >= 2, report))
    resumed, whole = studio.train(saved, Job()), studio.train(tuned, Job())
    assert resumed["sha256"] == whole["sha256"]
    assert resumed["held_out"] == whole["held_out"]


def test_held_out_pictures_are_measured_with_the_trained_text_encoder(
    studio: Studio, wanted: Train, make_pictures: MakePictures
) -> None:
    """The last validation of a training is what evaluating its adapter says."""
    held_out = str(make_pictures("held-out", 2, first=40))
    trained = studio.train(replace(wanted, tuning=Tuning(held_out=held_out)), Job())
    request = Evaluate(
        wanted.model, held_out, (wanted.out, ""), draws=VALIDATION_DRAWS, seed=wanted.seed
    )
    losses = studio.evaluate(request, Job())["losses"]
    assert trained["held_out"][-1][1] == pytest.approx(losses[wanted.out], rel=1e-2)
    assert losses[wanted.out] != losses[""]


@pytest.mark.parametrize(
    "strength", [{}, {"alpha": 6, "rank_stabilised": True, "dropout": 0.2}], ids=["plain", "scaled"]
)
def test_a_room_combines_text_encoders_exactly_and_its_adapter_goes_out_and_comes_back(
    studio: Studio, wanted: Train, tmp_path: Path, strength: dict[str, Any]
) -> None:
    """At every scale that the room may have agreed on: files hold what was computed."""
    spec, model = replace(wanted.spec, **strength), wanted.model
    wanted = replace(wanted, spec=spec)
    initial, result = str(tmp_path / "initial"), tmp_path / "result"
    arithmetic.init_adapter(InitAdapter(model, spec, 7, initial), Job())
    sent = []
    for number in range(2):
        path = str(tmp_path / f"sent-{number}")
        request = replace(wanted, out=path, initial=initial, export="factors", node=str(number))
        assert studio.train(request, Job())["samples"] == 4
        assert arithmetic.check_blob(CheckBlob(path, model, spec, 1 << 24), Job())["ok"]
        sent.append(WeightedFile(str(number), path, number + 1))
    arithmetic.combine(Combine(tuple(sent), "fedex", initial, str(result)), Job())

    base = models.resolve(model)
    made = ingredient(result, base).plain.adapter
    assert set(made.components) == {"unet", "text_encoder"}
    flat = lora_file.Architecture.of(base).flat_name
    arrays = [tensor_file.read_all(Path(item.path))[0] for item in sent]
    for component, name, factors in lora_file.each_layer(made):
        key = flat(component, name)
        products = [
            file[f"{key}.lora_B.weight"].astype(float) @ file[f"{key}.lora_A.weight"]
            for file in arrays
        ]
        wanted_change = (products[0] + 2 * products[1]) / 3
        change = factors.B.astype(float) @ factors.A
        np.testing.assert_allclose(change, wanted_change, atol=1e-5)

    out, back = str(tmp_path / "out.kohya.safetensors"), tmp_path / "back"
    arithmetic.export_adapter(ExportAdapter(str(result), out, model), Job())
    arithmetic.restore_adapter(RestoreAdapter(out, model, spec.rank, str(back)), Job())
    assert back.read_bytes() == result.read_bytes()
    assert ROUNDS_KEY in tensor_file.read_all(back)[1]


@pytest.mark.parametrize("convolutions", [False, True], ids=["attention", "convolutions"])
def test_diffusers_reads_dora_as_it_was_trained(
    studio: Studio, wanted: Train, tiny_model: Path, convolutions: bool
) -> None:
    targets = AdapterSpec().targets + (("conv1", "proj_in") if convolutions else ())
    dora = replace(
        wanted, spec=AdapterSpec(2, 4, targets), export="diffusers", tuning=Tuning(dora=True)
    )
    plain = studio.train(replace(dora, steps=1, tuning=Tuning()), Job())
    assert studio.train(replace(dora, steps=1), Job())["loss"] == pytest.approx(plain["loss"], 1e-3)
    studio.train(dora, Job())
    base = models.resolve(wanted.model)
    made = lora_file.read(Path(wanted.out), base)
    assert made.has_magnitudes
    model, pipe = loaded(tiny_model), read_by_diffusers(tiny_model, Path(wanted.out))
    with alone(wanted.out, base).on(model):
        ours = prediction(model.components["unet"])
    torch.testing.assert_close(ours, prediction(pipe.unet), atol=1e-4, rtol=1e-4)
    lora_file.write(Path(f"{wanted.out}.again"), made, "diffusers", base, {})
    again = lora_file.read(Path(f"{wanted.out}.again"), base)
    assert_same(again, made)
    lengths = zip(lora_file.each_layer(made), lora_file.each_layer(again), strict=True)
    assert all((one[2].magnitude == two[2].magnitude).all() for one, two in lengths)


def test_dora_with_fresh_factors_is_the_base_itself(tiny_model: Path) -> None:
    model = loaded(tiny_model)
    unet = model.components["unet"]
    before = prediction(unet)
    base = models.resolve(str(tiny_model))
    layers = {
        name: lora_file.Factors(
            np.ones((2, shape[1]), np.float32), np.zeros((shape[0], 2), np.float32)
        )
        for name, shape in base.layers("unet").items()
        if name.endswith(("to_q", "to_v"))
    }
    with injection.attached(model, {"unet": layers}, 0.5, dora=True):
        torch.testing.assert_close(prediction(unet), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(prediction(unet), before)


def test_dora_is_refused_where_it_would_be_wrong(
    studio: Studio, wanted: Train, tmp_path: Path
) -> None:
    dora = replace(wanted, spec=AdapterSpec(2, 2), tuning=Tuning(dora=True))
    for export in ("kohya", "factors"):
        with refused("Rooms cannot average it"):
            studio.train(replace(dora, export=export), Job())  # type: ignore[arg-type]
    studio.train(replace(dora, export="diffusers", steps=1), Job())
    base, out = models.resolve(wanted.model), Path(wanted.out)
    with refused("format diffusers"):
        arithmetic.export_adapter(
            ExportAdapter(wanted.out, str(tmp_path / "k"), wanted.model), Job()
        )
    one = ingredient(out, base)
    for others, weights in (([one], [0.5]), ([one, one], [1.0, 1.0])):
        with refused("works alone and at full strength"):
            mixed(others, weights)
    files = tuple(WeightedFile(str(n), wanted.out, 1) for n in range(2))
    request = CombineAdapters(files, wanted.model, "fedavg", str(tmp_path / "c"))
    with refused("DoRA adapter cannot be combined"):
        arithmetic.combine_adapters(request, Job())


def test_a_text_adapter_needs_a_clip_encoder_and_no_whole_model(
    studio: Studio, wanted: Train, tmp_path: Path
) -> None:
    pixart = family_rig.pixart(tmp_path / "pixart")
    with refused("no text encoder with layers q_proj"):
        studio.train(replace(wanted, model=str(pixart), export="diffusers"), Job())
    with refused("never trained as a whole"):
        studio.train(replace(wanted, mode="dense", export="factors"), Job())
