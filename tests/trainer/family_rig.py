"""Narrow checkpoints of random weights in the true architecture of every family of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer_rig import write_random_model

WIDTH = 32
"""Of every text encoder's states."""


def _clip(kind: str, pooled: int = WIDTH, width: int = WIDTH, layers: int = 2) -> Any:
    import transformers

    from trainer.embedded.tokens import new_tokenizer

    tokenizer = new_tokenizer()
    config = transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=2, max_position_embeddings=tokenizer.model_max_length,
        projection_dim=pooled,
    )  # fmt: skip
    config.eos_token_id = tokenizer.eos_token_id
    return getattr(transformers, kind)(config), tokenizer


def _t5(length: int, width: int = WIDTH) -> Any:
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    letters = [(chr(code), -float(code)) for code in range(97, 123)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *letters]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=length)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=64, num_layers=1, num_heads=2
    )
    return T5EncoderModel(config), tokenizer


def _vae(channels: int) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16, 16), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=8, latent_channels=channels,
        use_quant_conv=channels == 4, use_post_quant_conv=channels == 4,
        shift_factor=0.1 if channels == 16 else None,
    )  # fmt: skip


def _conditional_unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings = {
        "sample_size": 16, "block_out_channels": (32, 64), "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "cross_attention_dim": WIDTH,
        "attention_head_dim": 4, "norm_num_groups": 8,
    }  # fmt: skip
    return UNet2DConditionModel(**(settings | changes))


def stable_diffusion_1(folder: Path) -> Path:
    return write_random_model(folder)


def stable_diffusion_2(folder: Path) -> Path:
    """v-prediction, linear projections, and the width that tells it from 1.x."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline
    from transformers import CLIPTextConfig, CLIPTextModel

    from trainer.embedded.tokens import new_tokenizer
    from trainer.models.stable_diffusion import WIDTH_OF_2

    tokenizer = new_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH_OF_2, intermediate_size=32,
        num_hidden_layers=1, num_attention_heads=2, hidden_act="gelu",
        max_position_embeddings=tokenizer.model_max_length,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=_vae(4), text_encoder=CLIPTextModel(text), tokenizer=tokenizer,
        unet=_conditional_unet(cross_attention_dim=WIDTH_OF_2, use_linear_projection=True),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type="v_prediction"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def stable_diffusion_xl(folder: Path) -> Path:
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

    first, tokenizer = _clip("CLIPTextModel")
    second, _ = _clip("CLIPTextModelWithProjection", 48, 48, 10)
    unet = _conditional_unet(
        cross_attention_dim=WIDTH + 48, use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 48,
        transformer_layers_per_block=(1, 1),
    )  # fmt: skip
    StableDiffusionXLPipeline(
        vae=_vae(4), text_encoder=first, text_encoder_2=second, tokenizer=tokenizer,
        tokenizer_2=tokenizer, unet=unet, scheduler=EulerDiscreteScheduler(steps_offset=1),
        add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def stable_diffusion_3(folder: Path) -> Path:
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    first, tokenizer = _clip("CLIPTextModelWithProjection")
    second, _ = _clip("CLIPTextModelWithProjection", 48, 48)
    third, tokenizer_3 = _t5(16, WIDTH + 48)
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, out_channels=16, num_layers=2,
        attention_head_dim=8, num_attention_heads=4, joint_attention_dim=WIDTH + 48,
        caption_projection_dim=32, pooled_projection_dim=WIDTH + 48, pos_embed_max_size=16,
        dual_attention_layers=(0,), qk_norm="rms_norm",
    )  # fmt: skip
    StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(16), text_encoder=first, tokenizer=tokenizer, text_encoder_2=second,
        tokenizer_2=tokenizer, text_encoder_3=third, tokenizer_3=tokenizer_3,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def flux(folder: Path) -> Path:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    clip, tokenizer = _clip("CLIPTextModel")
    t5, tokenizer_2 = _t5(512)
    transformer = FluxTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH,
        guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=_vae(16),
        text_encoder=clip, tokenizer=tokenizer, text_encoder_2=t5, tokenizer_2=tokenizer_2,
        transformer=transformer,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def pixart(folder: Path) -> Path:
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    t5, tokenizer = _t5(300)
    transformer = PixArtTransformer2DModel(
        sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=4,
        in_channels=4, out_channels=8, cross_attention_dim=32, caption_channels=WIDTH,
        use_additional_conditions=False,
    )  # fmt: skip
    PixArtSigmaPipeline(
        tokenizer=tokenizer, text_encoder=t5, vae=_vae(4), transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def ddpm(folder: Path, dropout: float = 0.0, side: int = 32, deeper: int = 0) -> Path:
    """``deeper`` more blocks halve a picture further."""
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=side, block_out_channels=(16, *(32,) * (deeper + 1)), layers_per_block=1,
        norm_num_groups=8, attention_head_dim=8, dropout=dropout,
        down_block_types=("DownBlock2D",) * (deeper + 1) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (deeper + 1),
    )  # fmt: skip
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(folder)
    return folder


WRITERS: dict[str, Callable[[Path], Path]] = {
    "stable-diffusion-1": stable_diffusion_1,
    "stable-diffusion-2": stable_diffusion_2,
    "stable-diffusion-xl": stable_diffusion_xl,
    "stable-diffusion-3": stable_diffusion_3,
    "flux-1": flux,
    "pixart": pixart,
    "ddpm": ddpm,
}
"""Writes a checkpoint of each family into a folder, by the family's name."""
