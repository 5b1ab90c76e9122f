"""Adapters of SDXL, whose kohya files speak of other layers, do in diffusers what they do here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from family_rig import WRITERS
from numpy.typing import NDArray
from PIL.Image import Image

from trainer import injection, lora_file, models
from trainer.lora_file import Architecture, Factors, LoraAdapter
from trainer.models.base import BaseModel, Drawing

ADAPTED = ("to_q", "to_out.0", "conv1", "proj_in", "linear_1", "q_proj", "out_proj", "fc1")
RANK = 3


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("family") / "xl"
    return models.resolve(str(WRITERS["stable-diffusion-xl"](folder)))


@pytest.fixture(scope="module")
def adapter(base: BaseModel) -> LoraAdapter:
    """Factors for linear layers and convolutions of the UNet and both text encoders."""
    rng = np.random.default_rng(0)
    components: dict[str, dict[str, Factors]] = {}
    for component, name, (out, *rest) in Architecture.of(base).each():
        if name.endswith(ADAPTED):
            A = rng.normal(size=(RANK, *rest), scale=0.1).astype(np.float32)
            B = rng.normal(size=(out, RANK, *(1 for _ in rest[1:])), scale=0.1).astype(np.float32)
            components.setdefault(component, {})[name] = Factors(A, B)
    assert {len(layers) for layers in components.values()} == {30, 6}
    return LoraAdapter(components, "factors", {})


@pytest.mark.parametrize("dialect", ["kohya", "diffusers"])
def test_diffusers_draws_the_same_picture(
    base: BaseModel, adapter: LoraAdapter, tmp_path: Path, dialect: str
) -> None:
    from diffusers import StableDiffusionXLPipeline

    loaded = base.family.load(base, torch.device("cpu"))
    drawing = Drawing("a house", "", 1, 2, 2.0, 32, 32)
    plain = values(loaded.draw([drawing], lambda *_: None)[0])
    with injection.attached(loaded, adapter.components):
        ours = values(loaded.draw([drawing], lambda *_: None)[0])

    name = f"{dialect}.safetensors"
    lora_file.write(tmp_path / name, adapter, dialect, base, {})  # type: ignore[arg-type]
    pipe = StableDiffusionXLPipeline.from_pretrained(base.folder, add_watermarker=False)
    pipe.load_lora_weights(tmp_path, weight_name=name)
    theirs = pipe(
        drawing.prompt,
        num_inference_steps=2,
        guidance_scale=2.0,
        width=32,
        height=32,
        generator=torch.Generator().manual_seed(1),
    ).images[0]
    assert np.abs(values(theirs) - ours).max() <= 1
    assert np.abs(ours - plain).max() > 20
    assert lora_file.read(tmp_path / name, base).modules == adapter.modules


def values(image: Image) -> NDArray[np.int64]:
    return np.asarray(image).astype(np.int64)
