"""Unconditional diffusion over pixels (Ho et al., arXiv 2006.11239): no text, no autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Drawing, Family, read_config

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

CHANNELS = 3
"""Red, green and blue."""


class Unconditional(Family):
    """A UNet that draws what its pictures had in common; prompts say nothing to it."""

    name = "ddpm"
    pipelines = frozenset({"DDPMPipeline", "DDIMPipeline"})
    adapted = "unet"
    networks = ("unet",)
    settings = ("scheduler",)
    picture_parts = ()
    architecture = "ddpm"
    base_version = "ddpm"

    def resolution(self, folder: Path) -> int:
        return int(read_config(folder / "unet" / "config.json")["sample_size"])

    def latent_channels(self, pipe: Any) -> int:
        del pipe
        return CHANNELS

    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """(1,) of nothing."""
        import torch

        del pipe, caption
        return torch.zeros(1)

    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        del states
        output: torch.Tensor = pipe.unet(noisy, timesteps, return_dict=False)[0]
        return output

    def draw(self, pipe: Any, drawing: Drawing, on_step: Callable[[int], None]) -> Image:
        """The pipeline's own loop tells nobody of its steps and knows one size only."""
        import torch

        draw = torch.Generator("cpu").manual_seed(drawing.seed)
        sample = torch.randn((1, CHANNELS, drawing.height, drawing.width), generator=draw)
        sample = sample.to(pipe.device)
        pipe.scheduler.set_timesteps(drawing.steps)
        for number, time in enumerate(pipe.scheduler.timesteps):
            output = pipe.unet(sample, time).sample
            sample = pipe.scheduler.step(output, time, sample, generator=draw).prev_sample
            on_step(number + 1)
        pixels = (sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        image: Image = pipe.numpy_to_pil(pixels)[0]
        return image
