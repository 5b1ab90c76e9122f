"""Every family loads, trains, draws and gives its adapter back, from a folder like a user's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from family_rig import WRITERS
from trainer_rig import MakePictures

from trainer import models, whole_file
from trainer.job import Job
from trainer.models.base import Drawing
from trainer.protocol import AdapterSpec, Generate, LoraFile, Train
from trainer.studio import Studio


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture(scope="module", params=sorted(WRITERS))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    name = str(request.param)
    return WRITERS[name](tmp_path_factory.mktemp("family") / name)


def test_a_family_trains_draws_and_takes_its_adapter_back(
    family: Path, studio: Studio, make_pictures: MakePictures, tmp_path: Path
) -> None:
    base = models.resolve(str(family))
    assert base.family.name == family.name
    request = Train(
        str(family),
        str(make_pictures(count=2)),
        str(tmp_path / "factors"),
        AdapterSpec(2, 2, tuple(base.family.targets)),
        steps=2,
        batch=2,
        learning_rate=0.05,
        resolution=32,
    )
    result = studio.train(request, Job())
    assert result["steps"] == 2
    assert 0.0 < result["loss"] < 10.0
    pictures = {}
    for name, loras in (("plain", ()), ("trained", (LoraFile(request.out),))):
        drawn = studio.generate(
            Generate(
                str(family), ("a house",), (1,), str(tmp_path / f"{name}.png"), loras, "", 2, 2.0,
                32, 32,
            ),
            Job(),
        )  # fmt: skip
        pictures[name] = Path(drawn["pictures"][0]["path"]).read_bytes()
    assert pictures["plain"] != pictures["trained"]
    again = studio.train(replace(request, initial=request.out, learning_rate=1e-12), Job())
    assert again["loss"] != result["loss"]


def test_training_asks_the_denoiser_what_drawing_asks_it(family: Path, studio: Studio) -> None:
    """Text, size and time reach it as in the pipeline: equal input gives equal output."""
    base = models.resolve(str(family))
    loaded = studio._use(str(family), Job()).model
    seen: dict[str, Any] = {}

    def keep(_: Any, arguments: Any, named: Any, output: Any) -> None:
        seen["noisy"] = arguments[0] if arguments else named["hidden_states"]
        seen["time"] = arguments[1] if len(arguments) > 1 else named.get("timestep")
        seen["output"] = output[0]

    denoiser = loaded.components[base.family.adapted]
    hook = denoiser.register_forward_hook(keep, with_kwargs=True)
    try:
        loaded.draw([Drawing("a house", "", 1, 1, 1.0, 32, 32)], lambda step, latents: None)
    finally:
        hook.remove()
    flow = loaded.schedule.config.prediction_type == "flow"
    level = 999 if flow else int(torch.as_tensor(seen["time"]).flatten()[0])
    noisy, output = seen["noisy"], seen["output"]
    if base.family.name == "flux-1":
        pipe = loaded.pipe  # type: ignore[attr-defined]
        noisy, output = (pipe._unpack_latents(t, 32, 32, 2) for t in (noisy, output))
    states = loaded.text_states("a house")[None]
    with torch.no_grad():
        predicted = loaded.predict(noisy, torch.tensor([level]), states)
    assert torch.allclose(predicted, output[:, : noisy.shape[1]], atol=1e-5)


def test_a_room_of_whole_models_expects_exactly_what_trains(family: Path, studio: Studio) -> None:
    """What the torch-free role reads from headers is what the network says of itself."""
    base = models.resolve(str(family))
    network = studio._use(str(family), Job()).model.components[base.family.adapted]
    own = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert whole_file.shapes(base) == own


def test_a_caption_is_lost_where_no_text_encoder_reads_on(family: Path, studio: Studio) -> None:
    loaded = studio._use(str(family), Job()).model
    assert loaded.tokens_lost("a house") == 0
    if family.name == "ddpm":
        assert loaded.tokens_lost("a " * 999) == 0
        return
    heard = {"stable-diffusion-3": 256, "flux-1": 512, "pixart": 300}.get(family.name)
    # Two tokens for each word of a T5 here, one of CLIP.
    words = heard // 2 if heard else loaded.pipe.tokenizer.model_max_length  # type: ignore[attr-defined]
    assert loaded.tokens_lost("a " * (words - 5)) == 0
    assert loaded.tokens_lost("a " * (words + 5)) > 0
