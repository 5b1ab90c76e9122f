"""CLIP scores with a small CLIP of the true architecture: their value, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clip_rig import SIDE, write_clip
from hub_rig import serving
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from trainer_rig import MakePictures, picture

from trainer import provenance
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.measures import clip_score
from trainer.measures.requests import measure_clip
from trainer.models import hub, store
from trainer.protocol import MeasureClip

COUNT = 9


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny-clip")


@pytest.fixture
def captioned(make_pictures: MakePictures) -> Path:
    return make_pictures(count=COUNT)


def cosine_by_hand(folder: Path, image: Path, caption: str) -> float:
    """By Pillow, numpy and the whole model's own logits; nothing of it is what scores use."""
    from transformers import CLIPModel, CLIPTokenizer

    shown = Image.open(image).convert("RGB")
    scale = SIDE / min(shown.size)
    shown = shown.resize((int(shown.width * scale), int(shown.height * scale)), Image.BICUBIC)
    left, top = (shown.width - SIDE) // 2, (shown.height - SIDE) // 2
    shown = shown.crop((left, top, left + SIDE, top + SIDE))
    means, deviations = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    pixels = (np.asarray(shown, dtype=np.float64) / 255 - means) / deviations
    model = CLIPModel.from_pretrained(folder).eval()
    words = CLIPTokenizer.from_pretrained(folder)(caption, return_tensors="pt")
    with torch.no_grad():
        out = model(
            input_ids=words["input_ids"],
            pixel_values=torch.tensor(pixels).permute(2, 0, 1)[None].float(),
        )
        return float(out.logits_per_image[0, 0] / model.logit_scale.exp())


def test_a_score_is_the_cosine_of_picture_and_caption(clip_folder: Path, captioned: Path) -> None:
    """Also of pictures that are no squares, and whose captions are not equally long."""
    Image.effect_noise((70, 50), 90).convert("RGB").save(captioned / "wide.png")
    (captioned / "wide.txt").write_text("a night over the sea, with a boat and two pines")
    clip = clip_score.load(str(clip_folder), Job())
    scores = clip_score.score(clip, captioned, 10, 0, Job())
    expected = {}
    for path in sorted(captioned.glob("*.png")):
        caption = path.with_suffix(".txt").read_text().strip()
        expected[path.name] = 100 * max(cosine_by_hand(clip_folder, path, caption), 0.0)
    assert scores.by_picture == pytest.approx(expected, abs=1e-3)
    assert scores.mean == pytest.approx(float(np.mean(list(expected.values()))), abs=1e-3)
    assert scores.deviation == pytest.approx(
        float(np.std(list(expected.values()), ddof=1)), abs=1e-3
    )
    assert scores.low < scores.mean < scores.high
    assert scores.pictures == COUNT + 1
    # What lies below zero counts nothing: without such pictures this would not be tried.
    assert 0.0 in expected.values()
    assert max(expected.values()) > 1.0


def test_scores_are_torchmetrics(clip_folder: Path, captioned: Path) -> None:
    """Of one picture each: torchmetrics cuts off below zero after taking the mean."""
    metrics = pytest.importorskip("torchmetrics.functional.multimodal")
    clip = clip_score.load(str(clip_folder), Job())

    class Older:
        """As transformers answered before 5.0, which torchmetrics expects."""

        config = clip.model.config

        def to(self, device: Any) -> Older:
            return self

        def get_image_features(self, pixels: torch.Tensor) -> torch.Tensor:
            return clip.model.get_image_features(pixels).pooler_output

        def get_text_features(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return clip.model.get_text_features(ids, mask).pooler_output

    def processor(**given: Any) -> Any:
        if "images" in given:
            return clip.processor(images=given["images"], return_tensors="pt")
        return clip.tokenizer(given["text"], padding=True, return_tensors="pt")

    scores = clip_score.score(clip, captioned, 0, 0, Job()).by_picture
    for name, score in scores.items():
        image = torch.from_numpy(np.asarray(Image.open(captioned / name).convert("RGB")).copy())
        caption = (captioned / name).with_suffix(".txt").read_text().strip()
        with torch.no_grad():
            theirs = metrics.clip_score(
                image.permute(2, 0, 1), caption, lambda: (Older(), processor)
            )
        assert score == pytest.approx(float(theirs), abs=1e-3)


def test_the_files_of_the_published_clips_are_read(
    clip_folder: Path, captioned: Path, tmp_path: Path
) -> None:
    """As openai/clip-vit-large-patch14 has them, from 2022: sides as plain numbers, another class
    name, words and merges in two files, an end of text that is not its number, and positions among
    the weights."""
    from safetensors.torch import load_file, save_file

    old = shutil.copytree(clip_folder, tmp_path / "published")
    config = json.loads((old / "config.json").read_text())
    for half in ("text_config", "vision_config"):
        config[f"{half}_dict"] = None
    config["text_config"] |= {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    (old / "config.json").write_text(json.dumps(config))
    pixels = json.loads((old / "preprocessor_config.json").read_text())
    pixels |= {"feature_extractor_type": "CLIPFeatureExtractor", "size": SIDE, "crop_size": SIDE}
    del pixels["image_processor_type"], pixels["rescale_factor"], pixels["do_rescale"]
    (old / "preprocessor_config.json").write_text(json.dumps(pixels))
    words = json.loads((old / "tokenizer.json").read_text())["model"]
    (old / "tokenizer.json").unlink()
    (old / "vocab.json").write_text(json.dumps(words["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in words["merges"])
    (old / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")
    weights = load_file(old / "model.safetensors")
    length = weights["text_model.embeddings.position_embedding.weight"].shape[0]
    weights["text_model.embeddings.position_ids"] = torch.arange(length)[None]
    save_file(weights, old / "model.safetensors", {"format": "pt"})
    new, published = (clip_score.load(str(folder), Job()) for folder in (clip_folder, old))
    expected = clip_score.score(new, captioned, 0, 0, Job()).by_picture
    assert clip_score.score(published, captioned, 0, 0, Job()).by_picture == expected


def test_a_result_names_the_clip_and_is_the_same_again(clip_folder: Path, captioned: Path) -> None:
    request = MeasureClip(str(captioned), str(clip_folder), resamples=50)
    first = measure_clip(request, Job())
    assert first == measure_clip(request, Job())
    weights = (clip_folder / "model.safetensors").read_bytes()
    assert first["clip"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert first["clip"]["side"] == SIDE
    assert first["clip"].keys() == {"name", "sha256", "side", "resize", "value_range"}


def test_drawn_pictures_are_held_against_their_prompts(tmp_path: Path) -> None:
    ours, theirs = PngInfo(), PngInfo()
    ours.add_itxt("fedtui", json.dumps({"prompt": "night, sea"}))
    theirs.add_text("parameters", "a house <lora:mine:0.8>, red\nNegative prompt: x\nSteps: 3")
    for name, info in (("a", ours), ("b", theirs), ("c", PngInfo())):
        picture(1).save(tmp_path / f"{name}.png", pnginfo=info)
    assert provenance.prompt_of(tmp_path / "a.png") == "night, sea"
    assert provenance.prompt_of(tmp_path / "b.png") == "a house , red"
    with pytest.raises(TrainerError, match="not there") as caught:
        clip_score.captioned(tmp_path)
    assert "1 of 3" in caught.value.cause
    assert "c.png" in caught.value.cause
    (tmp_path / "c.txt").write_text("a boat")
    (tmp_path / "a.txt").write_text("said anew")
    assert list(clip_score.captioned(tmp_path).values()) == ["said anew", "a house , red", "a boat"]


@pytest.mark.parametrize("text", ["[1]", "{", '{"prompt": 3}', "[" * 100_000, "null"])
def test_what_strangers_write_into_pictures_is_no_crash(text: str, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("fedtui", text)
    picture(1).save(tmp_path / "a.png", pnginfo=info)
    assert provenance.prompt_of(tmp_path / "a.png") in ("", "3")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert provenance.prompt_of(tmp_path / "b.png") == ""


def test_captions_longer_than_it_reads_are_counted(clip_folder: Path, captioned: Path) -> None:
    (captioned / "000.txt").write_text("a red house, " * 60)
    clip = clip_score.load(str(clip_folder), Job())
    assert clip_score.score(clip, captioned, 10, 0, Job()).truncated == 1


def test_one_picture_has_no_spread(clip_folder: Path, make_pictures: MakePictures) -> None:
    clip = clip_score.load(str(clip_folder), Job())
    with pytest.raises(TrainerError, match="cannot be compared") as caught:
        clip_score.score(clip, make_pictures(count=1), 10, 0, Job())
    assert "2 to" in caught.value.remedy


def broken(folder: Path, out: Path, damage: str) -> str:
    if damage == "nothing there":
        return str(out)
    shutil.copytree(folder, out)
    config = json.loads((out / "config.json").read_text())
    if damage == "half":
        config |= {"model_type": "clip_text_model"}
    elif damage == "wide":
        config["vision_config"]["image_size"] = 48
        (out / "config.json").write_text(json.dumps(config))
    elif damage == "other pixels":
        sides = json.loads((out / "preprocessor_config.json").read_text())
        sides["crop_size"] = {"height": 16, "width": 16}
        (out / "preprocessor_config.json").write_text(json.dumps(sides))
    elif damage == "lacking":
        from safetensors.torch import load_file, save_file

        tensors = load_file(out / "model.safetensors")
        save_file(
            {name: value for name, value in tensors.items() if "visual_projection" not in name},
            out / "model.safetensors",
            {"format": "pt"},
        )
    elif damage == "pickle":
        (out / "model.safetensors").rename(out / "pytorch_model.bin")
    elif damage == "no tokenizer":
        (out / "tokenizer.json").unlink()
        (out / "tokenizer_config.json").unlink()
    (out / "config.json").write_text(json.dumps(config))
    return str(out)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("nothing there", "no such folder"),
        ("half", "one half of a CLIP"),
        ("wide", ""),
        ("other pixels", "do not fit each other"),
        ("lacking", "lacks 1 weights: visual_projection.weight"),
        ("pickle", "no weights in safetensors"),
        ("no tokenizer", "lacks the tokenizer: tokenizer.json or vocab.json and merges.txt"),
    ],
)
def test_what_is_no_whole_clip_is_refused(
    damage: str, says: str, clip_folder: Path, tmp_path: Path
) -> None:
    """transformers would fill the missing half with random numbers and go on."""
    with pytest.raises(TrainerError) as caught:
        clip_score.load(broken(clip_folder, tmp_path / "clip", damage), Job())
    assert (caught.value.title, caught.value.code) == ("The CLIP cannot be used", 5)
    assert says in caught.value.cause
    assert "both halves" in caught.value.remedy


def test_a_clip_comes_from_the_hub_once(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.STORE_VARIABLE, str(tmp_path / "store"))
    shutil.copytree(clip_folder, tmp_path / "repository")
    (tmp_path / "repository" / "pytorch_model.bin").write_bytes(b"not needed")
    with serving(tmp_path / "repository") as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        fetched = clip_score.load("owner/tiny", Job())
        assert "pytorch_model.bin" not in {name for name, _ in served.served}
    assert fetched.sha256 == clip_score.load(str(clip_folder), Job()).sha256
    monkeypatch.setattr(hub.huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert clip_score.load("owner/tiny", Job()).sha256 == fetched.sha256
    with pytest.raises(TrainerError, match="cannot be downloaded") as caught:
        clip_score.load("owner/other", Job())
    assert "HF_HUB_OFFLINE is set" in caught.value.cause
    assert caught.value.code == 5


def test_a_diffusion_model_on_the_hub_is_no_clip(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(store.STORE_VARIABLE, str(tmp_path / "store"))
    with serving(tiny_model) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        with pytest.raises(TrainerError, match="cannot be downloaded") as caught:
            clip_score.load("owner/tiny", Job())
    assert "no CLIP" in caught.value.cause
