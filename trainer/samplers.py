"""Samplers by name: which diffusers scheduler draws, and what other programs call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.errors import MISUSE, TrainerError


@dataclass(frozen=True)
class Sampler:
    """``scheduler`` is a class of diffusers, ``title`` and ``schedule`` are A1111's words."""

    scheduler: str
    title: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = ""


_KARRAS = {"use_karras_sigmas": True}
SAMPLERS: Mapping[str, Sampler] = {
    "ddim": Sampler("DDIMScheduler", "DDIM"),
    "ddpm": Sampler("DDPMScheduler", "DDPM"),
    "euler": Sampler("EulerDiscreteScheduler", "Euler"),
    "euler_a": Sampler("EulerAncestralDiscreteScheduler", "Euler a"),
    "heun": Sampler("HeunDiscreteScheduler", "Heun"),
    "dpm2": Sampler("KDPM2DiscreteScheduler", "DPM2"),
    "dpm2_a": Sampler("KDPM2AncestralDiscreteScheduler", "DPM2 a"),
    "dpmpp_2m": Sampler("DPMSolverMultistepScheduler", "DPM++ 2M"),
    "dpmpp_2m_karras": Sampler("DPMSolverMultistepScheduler", "DPM++ 2M", _KARRAS, "Karras"),
    "dpmpp_2m_sde": Sampler(
        "DPMSolverMultistepScheduler", "DPM++ 2M SDE", {"algorithm_type": "sde-dpmsolver++"}
    ),
    "unipc": Sampler("UniPCMultistepScheduler", "UniPC"),
}
"""For models that predict noise, velocity or the picture."""
FLOW_SAMPLERS: Mapping[str, Sampler] = {
    "euler": Sampler("FlowMatchEulerDiscreteScheduler", "Euler"),
    "heun": Sampler("FlowMatchHeunDiscreteScheduler", "Heun"),
}
"""For rectified flows."""


def choices(scheduler: Any) -> Mapping[str, Sampler]:
    """The samplers that can take the place of a model's own scheduler."""
    return FLOW_SAMPLERS if type(scheduler).__name__.startswith("FlowMatch") else SAMPLERS


def checked(name: str) -> None:
    """Raises :class:`TrainerError` for a name that no model has; before one is loaded."""
    if name and name not in SAMPLERS and name not in FLOW_SAMPLERS:
        raise _unknown(name, SAMPLERS)


def made(name: str, scheduler: Any) -> Any:
    """The scheduler called ``name`` for the model whose own is ``scheduler``; that, if empty.

    Raises :class:`TrainerError` when this kind of model cannot be sampled so.
    """
    if not name:
        return scheduler
    known = choices(scheduler)
    if name not in known:
        raise _unknown(name, known)
    import diffusers

    sampler = known[name]
    kind = getattr(diffusers, sampler.scheduler)
    return kind.from_config(scheduler.config, **sampler.settings)


def described(name: str, own: str) -> tuple[str, str]:
    """A1111's name of the sampler and of its noise schedule; ``own`` is the model's scheduler."""
    sampler = SAMPLERS.get(name)
    return (sampler.title, sampler.schedule) if sampler else (own, "")


def _unknown(name: str, known: Mapping[str, Sampler]) -> TrainerError:
    return TrainerError(
        "There is no such sampler",
        f"{name[:40]!r} is none that this model can be drawn with.",
        f"Use one of {', '.join(known)}, or none for the model's own.",
        MISUSE,
    )
