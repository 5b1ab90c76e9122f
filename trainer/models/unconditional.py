"""Unconditional diffusion over pixels (Ho et al., arXiv 2006.11239): no text, no autoencoder."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Drawing, Family, Watcher, noises, read_config

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
    whole_rate = 1e-4  # most are trained from nothing

    def resolution(self, folder: Path) -> int:
        return int(read_config(folder / "unet" / "config.json")["sample_size"])

    def sides(self, folder: Path) -> int:
        """The network halves a picture between its blocks and cannot make an odd half whole again.
        Eight, as for other families, unless the model itself was made for less."""
        blocks = len(read_config(folder / "unet" / "config.json")["down_block_types"])
        halved = 1 << (blocks - 1)
        return halved if self.resolution(folder) % self.side_step else max(self.side_step, halved)

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

    def draw(self, pipe: Any, drawings: Sequence[Drawing], watch: Watcher) -> list[Image]:
        """The pipeline's own loop tells nobody of its steps and knows one size only."""
        import torch

        draws = noises(drawings)
        shape = (1, CHANNELS, drawings[0].height, drawings[0].width)
        sample = torch.cat([torch.randn(shape, generator=draw) for draw in draws]).to(pipe.device)
        scheduler = pipe.scheduler
        scheduler.set_timesteps(drawings[0].steps)
        sample = sample * scheduler.init_noise_sigma
        takes_noise = "generator" in inspect.signature(scheduler.step).parameters
        noise = {"generator": draws} if takes_noise else {}
        for number, time in enumerate(scheduler.timesteps):
            output = pipe.unet(scheduler.scale_model_input(sample, time), time).sample
            sample = scheduler.step(output, time, sample, **noise).prev_sample
            watch(number + 1, sample)
        pixels = (sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).float().cpu().numpy()
        images: list[Image] = pipe.numpy_to_pil(pixels)
        return images
