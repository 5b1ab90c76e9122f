"""Adapters of Flux and Stable Diffusion 3 in the words of sd-scripts and ComfyUI.

Their files fuse layers that are apart in diffusers. Oracles: diffusers' converter for Flux, and
the products written out by hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_lora_roundtrip import assert_same

from trainer import lora_file
from trainer.errors import TrainerError
from trainer.lora_file import Architecture, Factors, LoraAdapter, known
from trainer.lora_file.known_transformers import flux_layers, sd3_layers
from trainer.tensor_file import read_all, write

DOUBLE, SINGLE, JOINT = "transformer_blocks.0", "single_transformer_blocks.0", "transformer_blocks"


def base(title: str) -> Architecture:
    return next(each for each in known() if each.title == title)


def adapter(architecture: Architecture, ranks: dict[str, int]) -> LoraAdapter:
    """Random factors for these layers of the denoiser."""
    rng, layers = np.random.default_rng(0), {}
    for name, rank in ranks.items():
        out, into = architecture.components["transformer"][name]
        A = rng.normal(size=(rank, into)).astype(np.float32)
        layers[name] = Factors(A, rng.normal(size=(out, rank)).astype(np.float32))
    return LoraAdapter({"transformer": layers}, "kohya", {})


FLUX = {
    f"{DOUBLE}.attn.to_q": 2, f"{DOUBLE}.attn.to_k": 2, f"{DOUBLE}.attn.to_v": 2,
    f"{DOUBLE}.attn.add_q_proj": 2, f"{DOUBLE}.attn.to_out.0": 3, f"{DOUBLE}.ff.net.0.proj": 1,
    f"{SINGLE}.attn.to_q": 2, f"{SINGLE}.attn.to_v": 2, f"{SINGLE}.proj_out": 2,
    f"{SINGLE}.norm.linear": 1,
}  # fmt: skip
SD3 = {
    "transformer_blocks.1.attn.to_q": 2, "transformer_blocks.1.attn.to_k": 2,
    "transformer_blocks.1.attn.to_v": 2, "transformer_blocks.23.attn.add_v_proj": 2,
    "transformer_blocks.1.attn.to_out.0": 1, "transformer_blocks.2.ff_context.net.2": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("title", "ranks"), [("Flux.1", FLUX), ("Stable Diffusion 3", SD3)], ids=["flux", "sd3"]
)
def test_what_is_written_for_a_transformer_is_read_again(
    title: str, ranks: dict[str, int], tmp_path: Path
) -> None:
    made = adapter(base(title), ranks)
    lora_file.write(tmp_path / "x.safetensors", made, "kohya", base(title), {})
    assert_same(lora_file.read(tmp_path / "x.safetensors", base(title)), made)
    found = lora_file.inspect(tmp_path / "x.safetensors")
    assert (found.dialect, found.model, found.matching) == ("kohya", title, found.modules)


def test_diffusers_reads_a_flux_file_as_it_was_written(tmp_path: Path) -> None:
    from diffusers import FluxPipeline

    made = adapter(base("Flux.1"), FLUX)
    path = tmp_path / "x.safetensors"
    lora_file.write(path, made, "kohya", base("Flux.1"), {})
    theirs = FluxPipeline.lora_state_dict(str(path))
    for name, factors in made.components["transformer"].items():
        A, B = (theirs.pop(f"transformer.{name}.lora_{part}.weight").numpy() for part in "AB")
        np.testing.assert_allclose(B @ A, factors.B @ factors.A, rtol=1e-5, atol=1e-5)
    filled = [value for name, value in theirs.items() if name.endswith("lora_B.weight")]
    assert not any(value.any() for value in filled)


@pytest.mark.parametrize(
    ("prefix", "ends"),
    [
        ("lora_unet_joint_blocks_1_x_block_attn_qkv", (".lora_down.weight", ".lora_up.weight")),
        ("diffusion_model.joint_blocks.1.x_block.attn.qkv", (".lora_A.weight", ".lora_B.weight")),
    ],
    ids=["kohya", "comfyui"],
)
def test_a_fused_layer_of_another_program_becomes_three(
    prefix: str, ends: tuple[str, str], tmp_path: Path
) -> None:
    """sd-scripts trains one A for queries, keys and values; alpha is half the rank here."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=(4, 1536)).astype(np.float32)
    B = rng.normal(size=(3 * 1536, 4)).astype(np.float32)
    alpha = np.float32(2).reshape(())
    file = {prefix + ends[0]: A, prefix + ends[1]: B, f"{prefix}.alpha": alpha}
    write(tmp_path / "x", file)
    read = lora_file.read(tmp_path / "x", base("Stable Diffusion 3")).components["transformer"]
    for number, name in enumerate(("to_q", "to_k", "to_v")):
        factors = read[f"transformer_blocks.1.attn.{name}"]
        rows = B[1536 * number : 1536 * (number + 1)]
        np.testing.assert_array_equal(factors.B, rows * 0.5)
        np.testing.assert_array_equal(factors.A, A)
    write(tmp_path / "y", file | {prefix + ends[1]: B[:-1]})
    with pytest.raises(TrainerError, match="cannot be used"):
        lora_file.read(tmp_path / "y", base("Stable Diffusion 3"))


def test_a_layer_without_a_name_is_refused(tmp_path: Path) -> None:
    """Shift and scale have changed places in the last modulation."""
    made = adapter(base("Flux.1"), {"norm_out.linear": 1})
    with pytest.raises(TrainerError) as caught:
        lora_file.write(tmp_path / "x", made, "kohya", base("Flux.1"), {})
    assert "no name for the layer norm_out.linear" in caught.value.cause


def test_onetrainers_spelling_of_flux_is_read(tmp_path: Path) -> None:
    made = adapter(base("Flux.1"), {f"{DOUBLE}.attn.to_q": 2})
    stem = "lora_transformer_transformer_blocks_0_attn_to_q"
    factors = made.components["transformer"][f"{DOUBLE}.attn.to_q"]
    write(tmp_path / "x", {f"{stem}.lora_down.weight": factors.A,
                           f"{stem}.lora_up.weight": factors.B})  # fmt: skip
    assert_same(lora_file.read(tmp_path / "x", base("Flux.1")), made)


def test_every_alpha_is_the_rank_so_that_no_reader_gets_the_strength_wrong(tmp_path: Path) -> None:
    lora_file.write(tmp_path / "x", adapter(base("Flux.1"), FLUX), "kohya", base("Flux.1"), {})
    arrays, _ = read_all(tmp_path / "x")
    for name, array in arrays.items():
        if name.endswith(".alpha"):
            assert array == arrays[name.replace(".alpha", ".lora_down.weight")].shape[0]


def test_known_transformers_are_those_of_diffusers() -> None:
    """Built without memory for weights, with their published numbers."""
    import torch
    from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

    with torch.device("meta"):
        models = (
            (FluxTransformer2DModel(guidance_embeds=True), flux_layers()),
            (
                SD3Transformer2DModel(
                    num_layers=24, num_attention_heads=24, joint_attention_dim=4096,
                    caption_projection_dim=1536, pooled_projection_dim=2048,
                ),
                sd3_layers(),
            ),
        )  # fmt: skip
    for model, layers in models:
        shapes = {
            name.removesuffix(".weight"): tuple(value.shape)
            for name, value in model.state_dict().items()
            if name.endswith(".weight") and value.ndim in (2, 4)
        }
        assert layers == shapes
