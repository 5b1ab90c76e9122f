"""A diffusers pipeline in memory, as the trainer sees every family of models."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL.Image import Image
from torch import nn

from trainer import disk, samplers
from trainer.device import frozen_dtype
from trainer.errors import NO_USABLE, TrainerError
from trainer.models.base import (
    Drawing,
    Family,
    Shape,
    Watcher,
    has_plain_weights,
    read_config,
)

log = logging.getLogger("trainer")

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of a pipeline that look at finished pictures or at example pictures."""


@dataclass
class LoadedPipeline:
    """See :class:`trainer.models.base.LoadedModel`.

    The denoiser runs in bfloat16 where the device computes it natively, the autoencoder always in
    float32: that of Stable Diffusion 1.x overflows in float16.
    """

    family: Family
    pipe: Any
    schedule: Any
    device: torch.device
    compute: torch.dtype

    @classmethod
    def load(cls, family: Family, folder: Path, device: torch.device) -> LoadedPipeline:
        """Raises :class:`TrainerError` when a component is missing or does not fit."""
        try:
            pipe = _pipeline(family, folder, device)
            loaded = cls(family, pipe, family.schedule(pipe), device, frozen_dtype(device))
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise TrainerError(
                "The model cannot be loaded",
                f"{folder}: {error}",
                "Download or save it again with diffusers' save_pretrained.",
                NO_USABLE,
            ) from error
        takes, has = family.denoiser_channels(pipe), family.latent_channels(pipe)
        if takes != has:
            raise TrainerError(
                "This kind of model is not supported",
                f"The denoiser takes {takes} channels, pictures give {has}; "
                "it is probably an inpainting model or one for grey pictures.",
                "Choose a model that draws coloured pictures.",
                NO_USABLE,
            )
        return loaded

    @property
    def denoiser(self) -> Any:
        return getattr(self.pipe, self.family.adapted)

    @property
    def components(self) -> Mapping[str, nn.Module]:
        names = [name for name in self.family.networks if name not in self.family.picture_parts]
        found = {name: getattr(self.pipe, name, None) for name in names}
        return {name: network for name, network in found.items() if network is not None}

    @property
    def parameters(self) -> int:
        networks = [part for part in self.pipe.components.values() if isinstance(part, nn.Module)]
        return sum(
            parameter.numel()
            for network in networks
            for name, parameter in network.named_parameters()
            if ".lora_" not in name
        )

    @property
    def sampler(self) -> str:
        return type(self.pipe.scheduler).__name__.removesuffix("Scheduler")

    def save(self, folder: Path) -> None:
        with disk.errors():
            self.pipe.save_pretrained(folder, safe_serialization=True)

    @torch.no_grad()
    def moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels themselves without an autoencoder; (B, 2C, h, w) mean and log variance of a
        variational one; latents of a plain one."""
        vae = getattr(self.pipe, "vae", None)
        if vae is None:
            return pixels
        encoded = vae.encode(pixels.to(self.device))
        found: torch.Tensor = (
            encoded.latent_dist.parameters if hasattr(encoded, "latent_dist") else encoded.latents
        )
        return found

    def latent_shape(self, moments: torch.Tensor) -> Shape:
        batch, _, height, width = moments.shape
        return (batch, self.family.latent_channels(self.pipe), height, width)

    def latents(self, moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        if moments.shape != noise.shape:
            mean, log_variance = moments.chunk(2, dim=1)
            moments = mean + torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * noise
        vae = getattr(self.pipe, "vae", None)
        if vae is None:
            return moments
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        return (moments - shift) * float(vae.config.scaling_factor)

    @torch.no_grad()
    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        vae = getattr(self.pipe, "vae", None)
        if vae is None:
            return latents
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        plain = latents.to(vae.dtype) / float(vae.config.scaling_factor) + shift
        decoded: torch.Tensor = vae.decode(plain, return_dict=False)[0]
        return decoded

    @torch.no_grad()
    def text_states(self, caption: str) -> torch.Tensor:
        return self.family.text_states(self.pipe, caption)

    def spoken(self, captions: Sequence[str]) -> torch.Tensor:
        """Each different caption once, in the order given: sums of gradients depend on it."""
        states = {
            text: self.family.text_states(self.pipe, text).float()
            for text in dict.fromkeys(captions)
        }
        return torch.stack([states[text] for text in captions])

    def tokens_lost(self, caption: str) -> int:
        lost = []
        for name in self.family.settings:
            tokenizer = getattr(self.pipe, name) if name.startswith("tokenizer") else None
            heard = getattr(self.pipe, name.replace("tokenizer", "text_encoder"), None)
            if tokenizer is not None and heard is not None:
                count = len(tokenizer(caption, verbose=False).input_ids)
                lost.append(max(0, count - self.family.tokens_read(self.pipe, name)))
        return min(lost, default=0)

    def predict(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        with self._precision():
            return self.family.predict(self.pipe, noisy, timesteps, states).float()

    @torch.no_grad()
    def draw(self, drawings: Sequence[Drawing], watch: Watcher) -> list[Image]:
        own = self.pipe.scheduler
        self.pipe.scheduler = samplers.made(drawings[0].sampler, own)
        try:
            with self._precision():
                return self.family.draw(self.pipe, drawings, watch)
        finally:
            self.pipe.scheduler = own

    def _precision(self) -> torch.autocast:
        lower = self.compute is not torch.float32
        return torch.autocast(self.device.type, self.compute, enabled=lower)


def _pipeline(family: Family, folder: Path, device: torch.device) -> Any:
    """The whole pipeline of a folder on the device, frozen. Nothing is fetched or unpickled."""
    index = read_config(folder / "model_index.json")
    kind = getattr(diffusers, str(index["_class_name"]))
    plain = has_plain_weights(folder / family.adapted)
    low = frozen_dtype(device)
    dtypes: dict[str, torch.dtype] = {"default": torch.float32, family.adapted: low}
    if family.large_text:
        dtypes |= {name: low for name in family.networks if name.startswith("text_encoder")}
    pipe = kind.from_pretrained(
        folder,
        dtype=dtypes,
        variant=None if plain else "fp16",
        use_safetensors=True,
        local_files_only=True,
        **{name: None for name in UNUSED if name in index},
    )
    pipe.set_progress_bar_config(disable=True)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.to(device).eval().requires_grad_(False)
    if device.type == "cuda":
        getattr(pipe, family.adapted).to(memory_format=torch.channels_last)
    return pipe
