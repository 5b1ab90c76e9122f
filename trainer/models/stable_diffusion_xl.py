"""Stable Diffusion XL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Family, latent_side

if TYPE_CHECKING:
    import torch


class StableDiffusionXL(Family):
    """Two CLIP text encoders whose states lie side by side, and a pooled state of the second."""

    name = "stable-diffusion-xl"
    pipelines = frozenset({"StableDiffusionXLPipeline"})
    adapted = "unet"
    networks = ("text_encoder", "text_encoder_2", "unet", "vae")
    settings = ("scheduler", "tokenizer", "tokenizer_2")
    text_parts = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
    architecture = "stable-diffusion-xl-v1-base"
    base_version = "sdxl_base_v1-0"

    def resolution(self, folder: Path) -> int:
        return latent_side(folder, self.adapted)

    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """(tokens + 1, width): the pooled state is the last row."""
        from trainer.models.packing import with_pooled

        states, _, pooled, _ = pipe.encode_prompt(
            caption, device=pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return with_pooled(states[0], pooled[0])

    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """Pictures are said to be uncropped and of the size they are trained at."""
        import torch

        from trainer.models.packing import without_pooled

        batch, _, height, width = noisy.shape
        states, pooled = without_pooled(states, int(pipe.text_encoder_2.config.projection_dim))
        size = (height * pipe.vae_scale_factor, width * pipe.vae_scale_factor)
        times = torch.tensor([(*size, 0, 0, *size)], device=noisy.device).expand(batch, -1)
        output: torch.Tensor = pipe.unet(
            noisy,
            timesteps,
            states,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": times},
            return_dict=False,
        )[0]
        return output
