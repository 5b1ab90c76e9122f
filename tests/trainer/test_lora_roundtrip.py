"""Every dialect gives back what was written in it, for every kind of layer of every base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer import lora_file
from trainer.errors import TrainerError
from trainer.lora_file import Architecture, Factors, LoraAdapter
from trainer.lora_file.dialects import BY_NAME, DIALECTS, Dialect
from trainer.lora_file.known import UNetNumbers, clip_layers, known
from trainer.lora_file.native import native_names
from trainer.tensor_file import read_all, write

_UNET = UNetNumbers(6, widths=(4, 8), depths=(1, 2)).shapes()
SINGLE = Architecture(
    "single", "unet", {"unet": _UNET, "text_encoder": clip_layers(4, 2, projected=False)}, "s", "v"
)
DOUBLE = replace(
    SINGLE, components={**SINGLE.components, "text_encoder_2": clip_layers(6, 1, projected=True)}
)
SMALL = settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def adapters(draw: st.DrawFn, architecture: Architecture, dialect: Dialect) -> LoraAdapter:
    """Some layers for which the dialect has a word, each with a rank of its own."""
    spelled = sorted(dialect.stems(architecture))
    if dialect.name == "peft":  # one component a file
        component = draw(st.sampled_from(["unet", "text_encoder"]))
        spelled = [found for found in spelled if found[0] == component]
    chosen = draw(st.lists(st.sampled_from(spelled), min_size=1, max_size=6, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 20)))
    components: dict[str, dict[str, Factors]] = {}
    for component, name in chosen:
        out, into, *kernel = architecture.components[component][name]
        rank = draw(st.integers(1, 3))
        A = rng.normal(size=(rank, into, *kernel)).astype(np.float32)
        B = rng.normal(size=(out, rank, *(1 for _ in kernel))).astype(np.float32)
        components.setdefault(component, {})[name] = Factors(A, B)
    return LoraAdapter(components, dialect.name, {})


def spelled(
    adapter: LoraAdapter, dialect: Dialect, architecture: Architecture
) -> dict[str, object]:
    """The adapter's tensors in the words of any dialect, alpha where it has one."""
    stems = dialect.stems(architecture)
    arrays: dict[str, object] = {}
    for component, name, factors in lora_file.each_layer(adapter):
        stem = stems[component, name][0]
        arrays[dialect.key(stem, "A")] = factors.A
        arrays[dialect.key(stem, "B")] = factors.B
        if "alpha" in dialect.suffixes.values() and dialect.name in ("kohya", "comfyui"):
            arrays[dialect.key(stem, "alpha")] = np.float32(factors.rank).reshape(())
    return arrays


def assert_same(one: LoraAdapter, other: LoraAdapter) -> None:
    a, b = ({(c, n): f for c, n, f in lora_file.each_layer(x)} for x in (one, other))
    assert a.keys() == b.keys()
    for found, factors in a.items():
        assert factors.A.tobytes() == b[found].A.tobytes()
        assert factors.B.tobytes() == b[found].B.tobytes()


@pytest.mark.parametrize("architecture", [SINGLE, DOUBLE], ids=["sd1", "sdxl"])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@SMALL
@given(data=st.data())
def test_every_dialect_reads_what_is_written_in_it(
    data: st.DataObject, dialect: Dialect, architecture: Architecture, tmp_path: Path
) -> None:
    adapter = data.draw(adapters(architecture, dialect))
    write(tmp_path / "x", spelled(adapter, dialect, architecture))  # type: ignore[arg-type]
    again = lora_file.read(tmp_path / "x", architecture)
    assert again.dialect == dialect.name
    assert_same(adapter, again)


@pytest.mark.parametrize("architecture", [SINGLE, DOUBLE], ids=["sd1", "sdxl"])
@pytest.mark.parametrize("name", ["kohya", "diffusers"])
@SMALL
@given(data=st.data())
def test_what_the_product_writes_changes_weights_as_the_adapter_does(
    data: st.DataObject, name: str, architecture: Architecture, tmp_path: Path
) -> None:
    """Mixed ranks are filled up in diffusers files, so weights are compared and not factors."""
    adapter = data.draw(adapters(architecture, BY_NAME[name]))  # type: ignore[index]
    lora_file.write(tmp_path / "x", adapter, name, architecture, {})  # type: ignore[arg-type]
    again = lora_file.read(tmp_path / "x", architecture)
    for (_, _, one), (_, _, two) in zip(
        lora_file.each_layer(adapter), lora_file.each_layer(again), strict=True
    ):
        assert (two.A[: one.rank] == one.A).all()
        assert (two.B[:, : one.rank] == one.B).all()
        assert not two.A[one.rank :].any()
        assert not two.B[:, one.rank :].any()
    ranks = {factors.rank for _, _, factors in lora_file.each_layer(again)}
    assert name == "kohya" or len(ranks) == 1


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_no_two_layers_share_a_spelling(dialect: Dialect) -> None:
    for base in known():
        spellings = [stem for stems in dialect.stems(base).values() for stem in stems]
        assert spellings or base.adapted == "transformer"
        spellings += dialect.fused(base)
        assert len(spellings) == len(set(spellings))
        assert all(dialect.split(dialect.key(stem, "A")) == (stem, "A") for stem in spellings)


COUNTS = {"Stable Diffusion 1.5": (144, 48), "Stable Diffusion XL": (630, 48)}
"""Layers of safelora: 9 per transformer block of the UNet, 4 per layer of the text encoder."""


def test_safelora_numbers_every_layer_of_a_base_once() -> None:
    for base in known():
        if base.title in COUNTS:
            stems = BY_NAME["safelora"].stems(base)
            counts = tuple(
                sum(component == wanted for component, _ in stems)
                for wanted in ("unet", "text_encoder")
            )
            assert counts == COUNTS[base.title]
    order = BY_NAME["safelora"].stems(known()[0])
    middle = "mid_block.attentions.0.transformer_blocks.0"
    assert order["unet", f"{middle}.attn2.to_out.0"] == ("unet:143",)
    assert order["unet", f"{middle}.ff.net.0.proj"] == ("unet:139",)


def test_known_bases_are_those_of_diffusers() -> None:
    """Built without memory for weights, from the numbers in the published configurations."""
    import torch
    from diffusers import UNet2DConditionModel

    common = {"sample_size": 64, "layers_per_block": 2}
    one = {"cross_attention_dim": 768, "attention_head_dim": 8}
    two = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20]}
    large = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": (320, 640, 1280),
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    linear = {"use_linear_projection": True}
    unets = [base for base in known() if base.adapted == "unet"]
    for base, config in zip(unets, (one, two | linear, large | linear), strict=True):
        with torch.device("meta"):
            unet = UNet2DConditionModel(**(common | config))
        shapes = {
            name.removesuffix(".weight"): tuple(value.shape)
            for name, value in unet.state_dict().items()
            if name.endswith(".weight") and value.ndim in (2, 4)
        }
        assert dict(base.components["unet"]) == shapes, base.title


NATIVE = {
    "conv_in": "input_blocks.0.0",
    "down_blocks.0.resnets.1.conv1": "input_blocks.2.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": (
        "input_blocks.4.1.transformer_blocks.0.attn1.to_q"
    ),
    "down_blocks.2.attentions.1.proj_in": "input_blocks.8.1.proj_in",
    "mid_block.attentions.0.proj_out": "middle_block.1.proj_out",
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "up_blocks.0.attentions.2.proj_in": "output_blocks.2.1.proj_in",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.2.resnets.2.conv_shortcut": "output_blocks.8.0.skip_connection",
    "add_embedding.linear_1": "label_emb.0.0",
    "conv_out": "out.2",
}
"""SDXL's names in both worlds, from the conversion tables of ComfyUI and sd-scripts."""


def test_original_names_of_sdxl() -> None:
    native = known()[2].native
    assert {name: native[name] for name in NATIVE} == NATIVE
    assert len(set(native.values())) == len(native) == len(known()[2].components["unet"])
    one = native_names(known()[0].components["unet"])
    assert one["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.1.conv"


def test_kohya_files_for_sdxl_speak_of_the_original_layers() -> None:
    stems = BY_NAME["kohya"].stems(known()[2])
    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    flat = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
    assert stems["unet", name][0] == flat
    text = "encoder.layers.0.self_attn.q_proj"
    assert stems["text_encoder", text][0] == "lora_te1_text_model_encoder_layers_0_self_attn_q_proj"
    assert stems["text_encoder_2", f"text_model.{text}"][0].startswith("lora_te2_text_model_enc")


Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
A, B = np.ones((2, 4), np.float32), np.ones((4, 2), np.float32)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"lora_alpha": 1, "r": 2}, 0.5),
        ({"lora_alpha": 1, "alpha_pattern": {"attn1.to_q": 8}}, 4.0),
        ({"lora_alpha": 4, "use_rslora": True}, 4 / 2**0.5),
    ],
)
def test_alpha_beside_a_peft_file_counts(
    tmp_path: Path, config: dict[str, object], scale: float
) -> None:
    keys = {f"base_model.model.{Q}.lora_{part}.weight": v for part, v in (("A", A), ("B", B))}
    write(tmp_path / "adapter_model.safetensors", keys)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    read = lora_file.read(tmp_path / "adapter_model.safetensors", SINGLE)
    assert np.allclose(read.components["unet"][Q].B, B * scale)


def test_learned_words_of_a_safelora_are_named_and_left_out(tmp_path: Path) -> None:
    words = {"<s1>": np.ones((4,), np.float32)}
    write(tmp_path / "x", {"unet:0:down": A, "unet:0:up": B} | words, {"<s1>": "<embed>"})
    read = lora_file.read(tmp_path / "x", SINGLE)
    assert read.ignored == ("<s1>",)
    assert list(read.components["unet"]) == [Q]


def test_inspection_counts_without_a_model(tmp_path: Path) -> None:
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    arrays = {
        f"{name}.lora_down.weight": np.ones((4, 1280), np.float16),
        f"{name}.lora_up.weight": np.ones((1280, 4), np.float16),
        f"{name}.alpha": np.float32(2.0).reshape(()),
    }
    write(tmp_path / "x", arrays, {"ss_network_dim": "4"})
    found = lora_file.inspect(tmp_path / "x")
    assert (found.dialect, found.modules, found.matching) == ("kohya", 1, 1)
    assert found.model == "Stable Diffusion 1.5"
    assert (found.ranks, found.alphas, found.dtypes) == ({4: 1}, {2.0: 1}, {"F16": 1})
    assert found.metadata == {"ss_network_dim": "4"}


def test_a_transformer_has_no_kohya_file_and_is_told_before_the_work(tmp_path: Path) -> None:
    flux = Architecture("flux", "transformer", {"transformer": {"x.to_q": (4, 4)}}, "flux-1", "")
    adapter = LoraAdapter({"transformer": {"x.to_q": Factors(A, B)}}, "factors", {})
    with pytest.raises(TrainerError, match="no such file"):
        lora_file.write(tmp_path / "x", adapter, "kohya", flux, {})
    lora_file.write(tmp_path / "x", adapter, "diffusers", flux, {})
    assert set(read_all(tmp_path / "x")[0]) == {f"transformer.x.to_q.lora_{p}.weight" for p in "AB"}
    assert_same(lora_file.read(tmp_path / "x", flux), adapter)
