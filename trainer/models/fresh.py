"""A diffusion model that has learnt nothing yet, for training whole models from scratch."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from trainer import disk
from trainer.errors import MISUSE, TrainerError

WIDTHS = (48, 96)
"""Channels at full and at half size."""
LEVELS = 1000


def write_unconditional(folder: Path, side: int, seed: int) -> int:
    """Writes an unconditional DDPM of ``side`` x ``side`` pixels; returns its parameters.

    Ho et al., arXiv 2006.11239, with the cosine schedule of Nichol and Dhariwal, arXiv 2102.09672.
    The same seed gives the same weights. Raises :class:`TrainerError`.
    """
    if side % 8 or not 8 <= side <= 64:
        raise TrainerError(
            "This model cannot be made",
            f"{side} pixels a side.",
            "Use a multiple of 8, up to 64.",
            MISUSE,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = UNet2DModel(
            sample_size=side,
            in_channels=3,
            out_channels=3,
            layers_per_block=1,
            block_out_channels=WIDTHS,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=16,
        )
    schedule = DDIMScheduler(num_train_timesteps=LEVELS, beta_schedule="squaredcos_cap_v2")
    with disk.errors():
        DDIMPipeline(network, schedule).save_pretrained(folder, safe_serialization=True)
    return sum(each.numel() for each in network.parameters())
