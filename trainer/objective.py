"""What the denoiser is trained to say, and how much each noise level counts. No model in here."""

from __future__ import annotations

from typing import Any

import torch

from trainer.errors import MISUSE, NO_USABLE, TrainerError

KINDS = ("epsilon", "v_prediction", "sample", "flow")
"""Of ``prediction_type`` that can be trained."""


def check(schedule: Any, min_snr: float) -> None:
    """Raises :class:`TrainerError` for a schedule that cannot be trained like this."""
    kind = schedule.config.prediction_type
    if kind not in KINDS:
        raise TrainerError(
            "This kind of model is not supported",
            f"Its scheduler predicts {kind!r}.",
            f"Choose a model that predicts {', '.join(KINDS)}.",
            NO_USABLE,
        )
    if min_snr > 0 and kind == "flow":
        raise TrainerError(
            "The training settings are impossible",
            "Min-SNR weighting is made for diffusion; this model is a rectified flow.",
            "Leave min_snr at 0: the levels themselves are drawn where they count.",
            MISUSE,
        )


def levels(schedule: Any, count: int, draw: torch.Generator) -> torch.Tensor:
    """Noise levels (count,) int64 to train on.

    Uniform for diffusion. Logit-normal for a flow, whose middle is the hardest part (Esser et al.,
    arXiv 2403.03206, section 3.1).
    """
    total = int(schedule.config.num_train_timesteps)
    if schedule.config.prediction_type == "flow":
        u = torch.sigmoid(torch.randn(count, generator=draw))
        return (u * total).long().clamp_max(total - 1)
    return torch.randint(0, total, (count,), generator=draw)


def target(
    schedule: Any, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
) -> torch.Tensor:
    """ε, v = √ᾱ ε - √(1-ᾱ) x₀, x₀, or ε - x₀ of a flow, as ``prediction_type`` says."""
    kind = schedule.config.prediction_type
    if kind == "v_prediction":
        velocity: torch.Tensor = schedule.get_velocity(latents, noise, timesteps)
        return velocity
    return {"epsilon": noise, "sample": latents, "flow": noise - latents}[kind]


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
    prediction: torch.Tensor,
    wanted: torch.Tensor,
    weights: torch.Tensor | None = None,
    masks: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean squared error per example (B,) in float32, then the weighted mean over examples."""
    each = per_example(prediction, wanted, masks)
    return (each if weights is None else each * weights).mean()


def per_example(
    prediction: torch.Tensor, wanted: torch.Tensor, masks: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared error (B,) of (B, C, h, w) tensors in float32.

    ``masks`` (B, 1, h, w) are weights of places; the mean is over what they let through, so that
    a small mask does not mean a small step.
    """
    errors = (prediction.float() - wanted.float()).square()
    if masks is None:
        return errors.mean(dim=(1, 2, 3))
    shares = masks / masks.sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-6)
    return (errors.mean(dim=1, keepdim=True) * shares).sum(dim=(1, 2, 3))
