"""LoRA files of other programs, read and written; strength and layer names survive."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trainer import injection, lora_file
from trainer.adapter import factor_shapes, initial_factors, target_layers
from trainer.errors import TrainerError
from trainer.lora_file import Factors, LoraAdapter
from trainer.models import resolve
from trainer.models.base import BaseModel
from trainer.protocol import AdapterSpec
from trainer.tensor_file import read_all, write

RANK = 4
Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
TEXT = tuple(f"encoder.layers.0.self_attn.{name}" for name in ("q_proj", "out_proj"))


@pytest.fixture
def base(tiny_model: Path) -> BaseModel:
    return resolve(str(tiny_model))


@pytest.fixture
def arrays(base: BaseModel) -> dict[str, np.ndarray]:
    """A factors file's content with every value different from zero."""
    rng = np.random.default_rng(0)
    shapes = factor_shapes(target_layers(base, AdapterSpec(RANK, RANK)), RANK)
    return {
        name: array + rng.normal(size=array.shape).astype(np.float32)
        for name, array in initial_factors(shapes, 1)
    }


@pytest.fixture
def factors(tmp_path: Path, arrays: dict[str, np.ndarray]) -> Path:
    return write(tmp_path / "factors", arrays).path


def same(one: LoraAdapter, other: LoraAdapter) -> bool:
    pairs = list(zip(lora_file.each_layer(one), lora_file.each_layer(other), strict=True))
    return all(
        a[:2] == b[:2] and (a[2].A == b[2].A).all() and (a[2].B == b[2].B).all() for a, b in pairs
    )


def with_text(base: BaseModel, adapter: LoraAdapter) -> LoraAdapter:
    shapes = {n.removeprefix("text_model."): s for n, s in base.layers("text_encoder").items()}
    rng = np.random.default_rng(1)
    text = {}
    for name in TEXT:  # diffusers recognises kohya's text keys by their out_proj
        out, into = shapes[name]
        A = rng.normal(size=(RANK, into)).astype(np.float32)
        text[name] = Factors(A, rng.normal(size=(out, RANK)).astype(np.float32))
    components = dict(adapter.components) | {"text_encoder": text}
    return LoraAdapter(components, adapter.dialect, {})


@pytest.mark.parametrize("dialect", ["kohya", "diffusers"])
def test_what_is_written_is_read_back_exactly(
    base: BaseModel, factors: Path, tmp_path: Path, dialect: str
) -> None:
    adapter = with_text(base, lora_file.read(factors, base))
    assert adapter.dialect == "factors"
    lora_file.write(tmp_path / "x", adapter, dialect, base, {"round": "3"})  # type: ignore[arg-type]
    again = lora_file.read(tmp_path / "x", base)
    assert again.dialect == dialect
    assert again.metadata["fedtui.round"] == "3"
    assert same(adapter, again)


def test_kohya_files_say_what_other_programs_look_for(
    base: BaseModel, factors: Path, tmp_path: Path
) -> None:
    adapter = with_text(base, lora_file.read(factors, base))
    lora_file.write(tmp_path / "x.safetensors", adapter, "kohya", base, {})
    arrays, metadata = read_all(tmp_path / "x.safetensors")
    flat = "lora_unet_" + Q.replace(".", "_")
    assert float(arrays[f"{flat}.alpha"]) == RANK
    assert arrays[f"{flat}.lora_down.weight"].shape[0] == RANK
    assert "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight" in arrays
    assert metadata["ss_network_dim"] == str(RANK)
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"


@pytest.mark.parametrize("dialect", ["kohya", "diffusers"])
def test_diffusers_draws_the_same_picture_from_an_exported_file(
    base: BaseModel, factors: Path, tmp_path: Path, tiny_model: Path, dialect: str
) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    adapter = with_text(base, lora_file.read(factors, base))
    name = "pytorch_lora_weights.safetensors"
    lora_file.write(tmp_path / name, adapter, dialect, base, {})  # type: ignore[arg-type]
    model = base.family.load(base, torch.device("cpu"))
    x, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    with injection.attached(model, adapter.components), torch.no_grad():
        states = model.text_states("a red house")[None]
        ours = model.predict(x, t, states)

    theirs = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
    theirs.load_lora_weights(tmp_path, weight_name=name)
    with torch.no_grad():
        embeds, _ = theirs.encode_prompt("a red house", "cpu", 1, False)
        reference = theirs.unet(x, t, embeds).sample
        plain = model.predict(x, t, model.text_states("a red house")[None])
    assert (ours - reference).abs().max() < 1e-5
    assert (ours - plain).abs().max() > 1e-3


def test_alpha_is_folded_into_b(
    base: BaseModel, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    flat = "lora_unet_" + Q.replace(".", "_")
    A, B = arrays[f"{Q}.lora_A.weight"], arrays[f"{Q}.lora_B.weight"]
    kohya = {f"{flat}.lora_down.weight": A, f"{flat}.lora_up.weight": B}
    write(tmp_path / "k", kohya | {f"{flat}.alpha": np.array(RANK / 4, np.float32)})
    config = {"unet.r": RANK, "unet.lora_alpha": RANK / 4}
    new = {f"unet.{Q}.lora_A.weight": A, f"unet.{Q}.lora_B.weight": B}
    write(tmp_path / "d", new, {"lora_adapter_metadata": json.dumps(config)})
    for name in ("k", "d"):
        read = lora_file.read(tmp_path / name, base).components["unet"][Q]
        assert (read.A == A).all()
        assert (read.B == B / 4).all()
    write(tmp_path / "none", kohya)
    assert (lora_file.read(tmp_path / "none", base).components["unet"][Q].B == B).all()


def test_spellings_of_the_same_layer(
    base: BaseModel, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    A, B = arrays[f"{OUT}.lora_A.weight"], arrays[f"{OUT}.lora_B.weight"]
    processor = OUT.removesuffix(".to_out.0") + ".processor.to_out_lora"
    spellings = (
        (f"base_model.model.{OUT}.lora_A.weight", f"base_model.model.{OUT}.lora_B.weight"),
        (f"unet.{OUT}.lora_A.default.weight", f"unet.{OUT}.lora_B.default.weight"),
        (f"unet.{OUT}.lora.down.weight", f"unet.{OUT}.lora.up.weight"),
        (f"{processor}.down.weight", f"{processor}.up.weight"),
        (f"unet.{processor}.down.weight", f"unet.{processor}.up.weight"),
    )
    for down, up in spellings:
        write(tmp_path / "x", {down: A, up: B})
        read = lora_file.read(tmp_path / "x", base)
        assert read.modules == 1
        assert (read.components["unet"][OUT].A == A).all()
        assert (read.components["unet"][OUT].B == B).all()


def test_half_precision_is_read(
    base: BaseModel, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    half = {f"unet.{name}": array.astype(np.float16) for name, array in arrays.items()}
    write(tmp_path / "x", half)
    read = lora_file.read(tmp_path / "x", base).components["unet"][Q]
    assert read.A.dtype == np.float32
    assert np.abs(read.A - arrays[f"{Q}.lora_A.weight"]).max() < 2e-3


FLAT = Q.replace(".", "_")
REFUSED = {
    (f"lora_unet_{FLAT}.hada_w1_a",): "LyCORIS",
    (f"lora_unet_{FLAT}.lokr_w1",): "LyCORIS",
    (f"lora_unet_{FLAT}.dora_scale",): "DoRA",
    (f"lora_unet_{FLAT}.lora_mid.weight",): "Tucker",
    ("diffusion_model.input_blocks.0.0.diff",): "whole weight differences",
    (f"lora_unet_unet_{FLAT}_lora_down.weight",): "no known dialect",
    (f"unet.{Q}.something",): "no known dialect",
    (f"unet.{Q}.lora_A.weight",): "lacks one of its two factors",
    ("unet:900:down", "unet:900:up"): "0 of its 1 layers",
    ("unet.other.layer.lora_A.weight", "unet.other.layer.lora_B.weight"): "0 of its 1 layers",
    ("lora_unet_x_y.lora_down.weight", "lora_unet_x_y.lora_up.weight"): "like 'lora_unet_",
    ("text_encoder.x.lora_A.weight", "text_encoder.x.lora_B.weight"): "0 of its 1 layers",
}


@pytest.mark.parametrize(("keys", "words"), REFUSED.items())
def test_what_cannot_be_used_is_refused_with_its_reason(
    base: BaseModel, tmp_path: Path, keys: tuple[str, ...], words: str
) -> None:
    write(tmp_path / "x", {key: np.ones((RANK, 32), np.float32) for key in keys})
    with pytest.raises(TrainerError) as caught:
        lora_file.read(tmp_path / "x", base)
    assert words in caught.value.cause


def test_an_adapter_of_another_base_is_told_from_which(base: BaseModel, tmp_path: Path) -> None:
    name = "mid_block.attentions.0.transformer_blocks.9.attn1.to_q"
    pair = {"A": np.ones((2, 1280), np.float32), "B": np.ones((1280, 2), np.float32)}
    write(tmp_path / "x", {f"unet.{name}.lora_{part}.weight": pair[part] for part in "AB"})
    with pytest.raises(TrainerError) as caught:
        lora_file.read(tmp_path / "x", base)
    assert "made for Stable Diffusion XL" in caught.value.cause


def test_one_foreign_layer_refuses_the_file(
    base: BaseModel, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    extra = {
        f"other.to_q.lora_{part}.weight": np.ones((RANK, RANK), np.float32) for part in ("A", "B")
    }
    write(tmp_path / "x", arrays | extra)
    with pytest.raises(TrainerError) as caught:
        lora_file.read(tmp_path / "x", base)
    count = len(arrays) // 2
    assert f"{count} of its {count + 1} layers" in caught.value.cause


def test_factors_of_another_width_or_with_nan_are_refused(
    base: BaseModel, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    name = f"{Q}.lora_A.weight"
    write(tmp_path / "x", arrays | {name: np.ones((RANK, 999), np.float32)})
    with pytest.raises(TrainerError, match="cannot be used"):
        lora_file.read(tmp_path / "x", base)
    write(tmp_path / "x", arrays | {name: np.full_like(arrays[name], np.nan)})
    with pytest.raises(TrainerError, match="cannot be used"):
        lora_file.read(tmp_path / "x", base)


def test_several_adapters_become_one_that_does_what_all_do(
    base: BaseModel, factors: Path, arrays: dict[str, np.ndarray], tmp_path: Path
) -> None:
    one = lora_file.read(factors, base)
    q = {f"{Q}.lora_{p}.weight": arrays[f"{Q}.lora_{p}.weight"] for p in "AB"}
    write(tmp_path / "q", {name: array * 2 for name, array in q.items()})
    other = lora_file.read(tmp_path / "q", base)
    mix = injection.mixed([(one, 0.5), (other, -2.0)])["unet"]
    a, b = one.components["unet"][Q], other.components["unet"][Q]
    assert mix[Q].rank == 2 * RANK
    assert np.allclose(mix[Q].B @ mix[Q].A, 0.5 * (b.B @ b.A) / 4 - 2.0 * (b.B @ b.A), atol=1e-3)
    assert (a.B @ a.A).shape == (mix[Q].B @ mix[Q].A).shape
    assert mix[OUT].rank == RANK
