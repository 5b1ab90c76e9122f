"""Targets and weights against their formulas and against diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_snr

from trainer import objective
from trainer.errors import TrainerError
from trainer.models.flow import FlowSchedule

KINDS = ("epsilon", "v_prediction", "sample")


def schedule(kind: str) -> DDPMScheduler:
    return DDPMScheduler(prediction_type=kind, beta_schedule="squaredcos_cap_v2")


@pytest.mark.parametrize("kind", KINDS)
def test_the_target_gives_back_latents_and_noise(kind: str) -> None:
    """Whatever is predicted, x_0 and epsilon can be recovered from it and x_t."""
    torch.manual_seed(0)
    s = schedule(kind)
    x, noise = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    t = torch.tensor([10, 400, 900])
    a = s.alphas_cumprod[t].double().view(-1, 1, 1, 1)
    noisy = a.sqrt() * x + (1 - a).sqrt() * noise
    wanted = objective.target(s, x, noise, t).double()
    recovered = {
        "epsilon": (noisy - (1 - a).sqrt() * wanted) / a.sqrt(),
        "v_prediction": a.sqrt() * noisy - (1 - a).sqrt() * wanted,
        "sample": wanted,
    }[kind]
    assert torch.allclose(recovered, x, atol=1e-4)


def test_an_unknown_prediction_type_is_refused() -> None:
    s = schedule("epsilon")
    s.register_to_config(prediction_type="score")
    with pytest.raises(TrainerError, match="not supported"):
        objective.check(s, 0.0)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_flow_has_the_noise_levels_of_the_scheduler_that_draws(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    flow = FlowSchedule.of(scheduler)
    assert torch.allclose(flow.sigmas, scheduler.sigmas.flip(0), atol=1e-6)
    x, noise = torch.randn(2, 3, 4, 8, 8)
    t = torch.tensor([10, 400, 999])
    noisy = flow.add_noise(x, noise, t)
    velocity = objective.target(flow, x, noise, t)
    assert torch.allclose(noisy - flow.sigma(t).view(-1, 1, 1, 1) * velocity, x, atol=1e-5)
    assert torch.allclose(noisy[2], noise[2], atol=1e-6)


def test_a_flow_is_trained_mostly_in_its_middle_and_refuses_min_snr() -> None:
    flow = FlowSchedule(1000, 1.0)
    levels = objective.levels(flow, 4000, torch.Generator().manual_seed(0))
    assert 0 <= int(levels.min()) <= int(levels.max()) <= 999
    middle = ((levels > 250) & (levels < 750)).float().mean()
    assert 0.68 < float(middle) < 0.78  # P(|N(0, 1)| < ln 3) = 0.728
    with pytest.raises(TrainerError, match="impossible"):
        objective.check(flow, 5.0)


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weights_follow_the_paper(kind: str) -> None:
    s, gamma = schedule(kind), 5.0
    t = torch.tensor([1, 100, 500, 990])
    snr = compute_snr(s, t)
    clipped = snr.clamp_max(gamma)
    wanted = {"epsilon": clipped / snr, "v_prediction": clipped / (snr + 1), "sample": clipped}
    weights = objective.min_snr_weights(s, t, gamma)
    assert torch.allclose(weights, wanted[kind], rtol=1e-4)


def test_loss_is_a_mean_over_examples() -> None:
    prediction = torch.stack([torch.full((4, 2, 2), 1.0), torch.full((4, 2, 2), 3.0)])
    zero = torch.zeros_like(prediction)
    assert objective.per_example(prediction, zero).tolist() == [1.0, 9.0]
    assert float(objective.loss(prediction, zero)) == 5.0
    assert float(objective.loss(prediction, zero, torch.tensor([1.0, 0.0]))) == 0.5


def test_a_mask_counts_places_and_not_their_number() -> None:
    prediction, wanted = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    masks = torch.zeros(2, 1, 4, 4)
    masks[:, :, :, :2] = 1.0
    errors = (prediction - wanted).square()
    half = objective.per_example(prediction, wanted, masks)
    assert torch.allclose(half, errors[..., :2].mean(dim=(1, 2, 3)))
    even = objective.per_example(prediction, wanted, torch.full_like(masks, 0.3))
    assert torch.allclose(even, objective.per_example(prediction, wanted))
    assert objective.loss(prediction, wanted, None, masks) == half.mean()
    assert objective.loss(prediction, wanted, None, torch.zeros_like(masks)) == 0.0
