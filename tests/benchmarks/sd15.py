"""Stable Diffusion 1.5 at its full size, of random weights: 860 M parameters in the denoiser.

No checkpoint can be had everywhere, and speed and memory do not depend on the values of weights.
"""

from __future__ import annotations

from pathlib import Path

TOKENS = 77


def write_checkpoint(folder: Path) -> Path:
    """Writes the model in float16, as it is given away: about 2.1 GB."""
    import torch
    from diffusers import (
        AutoencoderKL,
        PNDMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    from trainer.embedded.tokens import new_tokenizer

    tokenizer = new_tokenizer()
    tokenizer.model_max_length = TOKENS
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=768, intermediate_size=3072, num_hidden_layers=12,
        num_attention_heads=12, max_position_embeddings=TOKENS, projection_dim=768,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        unet = UNet2DConditionModel(
            sample_size=64, cross_attention_dim=768, attention_head_dim=8,
            block_out_channels=(320, 640, 1280, 1280), layers_per_block=2,
        )  # fmt: skip
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            sample_size=512,
        )  # fmt: skip
        encoder = CLIPTextModel(text)
    finally:
        torch.set_default_dtype(default)
    StableDiffusionPipeline(
        vae=vae.half(),
        text_encoder=encoder.half(),
        tokenizer=tokenizer,
        unet=unet.half(),
        scheduler=PNDMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1,
            skip_prk_steps=True, set_alpha_to_one=False,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder
