"""What the denoiser is trained to say, and how much each noise level counts. No model in here."""

from __future__ import annotations

from typing import Any

import torch

from trainer.errors import NO_USABLE, TrainerError


def target(
    schedule: Any, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """ε, v = √ᾱ ε - √(1-ᾱ) x₀ or x₀, as the schedule's ``prediction_type`` says.

    Raises :class:`TrainerError` for a prediction type unknown here.
    """
    kind = schedule.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "v_prediction":
        velocity: torch.Tensor = schedule.get_velocity(latents, noise, timesteps)
        return velocity
    if kind == "sample":
        return latents
    raise TrainerError(
        "This kind of model is not supported",
        f"Its scheduler predicts {kind!r}.",
        "Choose a model that predicts epsilon, v_prediction or sample.",
        NO_USABLE,
    )


def min_snr_weights(schedule: Any, timesteps: torch.Tensor, gamma: float) -> torch.Tensor:
    """min(SNR, γ) divided by SNR (ε), SNR + 1 (v) or 1 (x₀); float32 shaped like ``timesteps``.

    Hang et al., arXiv 2303.09556, equation 8 and appendix for v.
    """
    alphas: torch.Tensor = schedule.alphas_cumprod.to(timesteps.device)[timesteps].float()
    snr = (alphas / (1.0 - alphas)).clamp_min(1e-8)
    divisor = {"epsilon": snr, "v_prediction": snr + 1.0}.get(schedule.config.prediction_type)
    clipped = snr.clamp_max(gamma)
    return clipped if divisor is None else clipped / divisor


def loss(
    prediction: torch.Tensor, wanted: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared error per example (B,) in float32, then the weighted mean over examples."""
    each = per_example(prediction, wanted)
    return (each if weights is None else each * weights).mean()


def per_example(prediction: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Mean squared error (B,) of (B, C, h, w) tensors in float32."""
    return (prediction.float() - wanted.float()).square().mean(dim=(1, 2, 3))
