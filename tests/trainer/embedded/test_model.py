"""The committed weights: they load as Stable Diffusion, are small, and draw what is asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from random import Random

import PIL
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from trainer.embedded import MODEL_NAME, WEIGHTS, model_files, weights_sha256
from trainer.embedded.assemble import generate, load_pipeline, total_bytes
from trainer.embedded.card import scenes_sha256
from trainer.embedded.classifier import accuracy_on_scenes, load_classifier, read
from trainer.embedded.denoiser import sampling_scheduler, training_scenes
from trainer.embedded.pictures import scene_tensor
from trainer.embedded.scenes import sample_scene
from trainer.embedded.tokens import MAX_LENGTH, new_tokenizer


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    return load_pipeline(WEIGHTS)


@pytest.fixture(scope="module")
def card() -> dict[str, object]:
    content: dict[str, object] = json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8"))
    return content


def test_the_package_itself_is_light() -> None:
    code = (
        "import sys, trainer.embedded as e; e.weights_sha256();"
        "print(sorted({'torch', 'numpy', 'diffusers', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_all_files_together_are_at_most_32_megabytes() -> None:
    assert total_bytes(WEIGHTS) <= 32_000_000


def test_the_hash_names_the_weights() -> None:
    assert MODEL_NAME == "tiny-landscapes"
    assert re.fullmatch("[0-9a-f]{64}", weights_sha256())
    names = {path.name for path in model_files()}
    assert {"model_index.json", "diffusion_pytorch_model.safetensors"} <= names
    assert "card.json" not in names


def test_the_pipeline_has_the_classes_of_stable_diffusion(pipe: StableDiffusionPipeline) -> None:
    assert type(pipe) is StableDiffusionPipeline
    assert type(pipe.unet) is UNet2DConditionModel
    assert type(pipe.text_encoder) is CLIPTextModel
    assert isinstance(pipe.tokenizer, CLIPTokenizer)
    assert pipe.safety_checker is None
    assert pipe.vae_scale_factor == 4
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    for name in ("beta_schedule", "timestep_spacing", "clip_sample"):
        assert pipe.scheduler.config[name] == sampling_scheduler().config[name]


def test_the_autoencoder_gives_back_unseen_scenes(pipe: StableDiffusionPipeline) -> None:
    rng = Random(987_654)
    pixels = scene_tensor([sample_scene(rng) for _ in range(16)])
    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latents
        rebuilt = pipe.vae.decode(latents).sample
    mse = (rebuilt.clamp(-1, 1) - pixels).square().mean(dim=(1, 2, 3)) / 4
    assert float((-10 * mse.log10()).mean()) > 32
    assert 0.8 < float(latents.std()) * pipe.vae.config.scaling_factor < 1.25


def test_prompts_without_doubt_are_drawn_as_asked(pipe: StableDiffusionPipeline) -> None:
    prompts = [
        "night, full_moon, mountain, snow, scenery",
        "day, sun, flat, sea, boat, scenery",
        "a red house on green grass at sunset with hills behind under the sun",
    ]
    classifier = load_classifier(WEIGHTS / "classifier.safetensors")
    night, day, house = read(classifier, generate(pipe, prompts, seed=3))
    assert (night.time, night.celestial, night.relief) == ("night", "full_moon", "mountain")
    assert night.ground == "snow"
    assert (day.time, day.ground) == ("day", "sea")
    assert "boat" in day.present
    assert (house.time, house.ground, house.relief) == ("sunset", "grass", "hill")
    assert "red_house" in house.present
    assert {night.style, day.style, house.style} == {"plain"}


def test_a_picture_does_not_depend_on_its_batch(pipe: StableDiffusionPipeline) -> None:
    prompts = ["day, grass, tree, scenery", "night, sea, boat, scenery"]
    together = generate(pipe, prompts, seed=5, steps=3)
    alone = generate(pipe, prompts[1:], seed=6, steps=3)
    assert torch.allclose(together[1], alone[0], atol=2e-3)


def test_the_classifier_reads_drawn_scenes() -> None:
    classifier = load_classifier(WEIGHTS / "classifier.safetensors")
    assert accuracy_on_scenes(classifier, "plain", 200, seed=55)["mean"] > 0.97
    painted = accuracy_on_scenes(classifier, "van_gogh", 40, seed=56)
    assert painted["style"] > 0.95


def test_the_card_reaches_the_bars_it_states(card: dict[str, dict[str, dict]]) -> None:  # type: ignore[type-arg]
    figures, bars = card["figures"], card["bars"]
    assert figures["psnr_db"]["value"] >= bars["psnr_db"]
    assert figures["classifier_plain"]["mean"] >= bars["classifier"]
    assert figures["shown_tags"]["large_mean"] >= bars["large"]
    assert figures["shown_tags"]["objects_mean"] >= bars["objects"]


def test_the_card_tells_which_scenes_were_learnt(card: dict[str, object]) -> None:
    assert re.fullmatch("[0-9a-f]{64}", str(card["scenes_sha256"]))
    if card["pillow"] == PIL.__version__:
        assert card["scenes_sha256"] == scenes_sha256()


def test_the_base_was_never_shown_what_the_federation_teaches() -> None:
    assert not any("lighthouse" in scene.objects for scene in training_scenes(2000, seed=1))


def test_new_words_keep_tokens_of_their_own(pipe: StableDiffusionPipeline) -> None:
    fresh = new_tokenizer()
    texts = ["van_gogh", "lighthouse", "zebra", "zürich", "red_house", "", "1girl, solo"]
    for text in texts:
        assert pipe.tokenizer(text).input_ids == fresh(text).input_ids
    assert len({tuple(fresh(text).input_ids) for text in texts}) == len(texts)
    assert fresh.convert_ids_to_tokens(fresh("van_gogh").input_ids[1:-1]) == [
        "van</w>", "_</w>", "gogh</w>",
    ]  # fmt: skip
    assert len(fresh("lighthouse").input_ids) == 3
    assert fresh.model_max_length == MAX_LENGTH == pipe.text_encoder.config.max_position_embeddings
