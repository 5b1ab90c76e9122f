"""Stable Diffusion 1.x and 2.x, and whatever else is stored as a ``StableDiffusionPipeline``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Family, latent_side, read_config

if TYPE_CHECKING:
    import torch

WIDTH_OF_2 = 1024
"""Of the text states that the denoiser of Stable Diffusion 2.x reads; 1.x has 768."""


class StableDiffusion(Family):
    """One CLIP text encoder, a conditional UNet, an autoencoder with four latent channels."""

    name = "stable-diffusion-1"
    pipelines = frozenset({"StableDiffusionPipeline"})
    adapted = "unet"
    networks = ("text_encoder", "unet", "vae")
    settings = ("scheduler", "tokenizer")
    text_parts = ("tokenizer", "text_encoder")
    architecture = "stable-diffusion-v1"
    base_version = "sd_v1"

    def resolution(self, folder: Path) -> int:
        return latent_side(folder, self.adapted)

    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """(tokens, width)."""
        tokens = pipe.tokenizer(
            caption,
            padding="max_length",
            max_length=pipe.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        states: torch.Tensor = pipe.text_encoder(tokens.input_ids.to(pipe.device))[0]
        return states[0]

    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        output: torch.Tensor = pipe.unet(noisy, timesteps, states, return_dict=False)[0]
        return output


class StableDiffusion2(StableDiffusion):
    """As 1.x with OpenCLIP's text encoder; the variants for 768 pixels predict the velocity."""

    name = "stable-diffusion-2"
    architecture = "stable-diffusion-v2-768-v"
    base_version = "sd_v2_v"

    def recognises(self, folder: Path, pipeline: str) -> bool:
        if not super().recognises(folder, pipeline):
            return False
        return bool(
            read_config(folder / "unet" / "config.json").get("cross_attention_dim") == WIDTH_OF_2
        )

    def names(self, folder: Path) -> tuple[str, str]:
        """Programs that load an adapter for a 2.x ask which of the two it is."""
        if self.prediction(folder) == "v_prediction":
            return self.architecture, self.base_version
        return "stable-diffusion-v2-512", "sd_v2"
