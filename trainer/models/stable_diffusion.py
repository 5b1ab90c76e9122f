"""Stable Diffusion 1.x, and whatever else is stored as a ``StableDiffusionPipeline``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainer.models.base import BaseModel, Family, LoadedModel, read_config

if TYPE_CHECKING:
    import torch


class StableDiffusion(Family):
    """One CLIP text encoder, a conditional UNet, an autoencoder with four latent channels."""

    name = "stable-diffusion-1"
    pipelines = frozenset({"StableDiffusionPipeline"})
    adapted = "unet"
    networks = ("text_encoder", "unet", "vae")
    settings = ("scheduler", "tokenizer")
    architecture = "stable-diffusion-v1"
    base_version = "sd_v1"

    def resolution(self, folder: Path) -> int:
        """The UNet's sample size times the autoencoder's factor."""
        side = read_config(folder / "unet" / "config.json")["sample_size"]
        vae = read_config(folder / "vae" / "config.json")
        blocks = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
        return int(side) * int(2 ** (len(blocks) - 1))

    def load(self, model: BaseModel, device: torch.device) -> LoadedModel:
        """Imports torch and diffusers, which takes seconds, on the first call."""
        from trainer.models.stable_diffusion_parts import StableDiffusionParts

        return StableDiffusionParts.load(model.folder, device)
