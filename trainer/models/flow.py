"""Rectified flow: straight lines from pictures to noise, for Stable Diffusion 3 and Flux."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class FlowConfig:
    """What the rest of the trainer asks every schedule."""

    num_train_timesteps: int
    prediction_type: str = "flow"


class FlowSchedule:
    """x_t = (1 - σ) x₀ + σ ε; level n of N has σ = s·u / (1 + (s - 1)·u) with u = (n + 1) / N.

    ``shift`` s moves training towards noise, more so for larger pictures (Esser et al.,
    arXiv 2403.03206, section 5.3.2). A scheduler that shifts by size while it draws is trained
    with s = 1, as diffusers' own scripts do.
    """

    def __init__(self, levels: int, shift: float) -> None:
        self.config = FlowConfig(levels)
        u = torch.arange(1, levels + 1, dtype=torch.float64) / levels
        self.sigmas = (shift * u / (1.0 + (shift - 1.0) * u)).float()

    @classmethod
    def of(cls, scheduler: Any) -> FlowSchedule:
        """From the ``FlowMatchEulerDiscreteScheduler`` that draws."""
        config = scheduler.config
        shift = 1.0 if config.get("use_dynamic_shifting") else float(config.get("shift") or 1.0)
        return cls(int(config.num_train_timesteps), shift)

    def sigma(self, timesteps: torch.Tensor) -> torch.Tensor:
        """σ (B,) of these levels."""
        self.sigmas = self.sigmas.to(timesteps.device)  # once, not at every step
        return self.sigmas[timesteps]

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        sigma = self.sigma(timesteps)[:, None, None, None]
        return (1.0 - sigma) * original_samples + sigma * noise
