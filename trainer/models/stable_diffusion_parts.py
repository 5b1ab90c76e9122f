"""The networks of Stable Diffusion 1.x in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from PIL.Image import Image
from torch import nn
from transformers.models.clip.modeling_clip import CLIPTextModel
from transformers.models.clip.tokenization_clip import CLIPTokenizer

from trainer.errors import NO_USABLE, TrainerError
from trainer.models.base import Drawing, Shape, read_config

AUTOENCODERS = {"AutoencoderKL": AutoencoderKL, "AutoencoderTiny": AutoencoderTiny}


@dataclass
class StableDiffusionParts:
    """See :class:`trainer.models.base.LoadedModel`.

    The denoiser runs in bfloat16 where the device computes it natively, all else in float32: the
    autoencoder of Stable Diffusion 1.x overflows in float16.
    """

    tokenizer: Any
    text_encoder: Any
    vae: Any
    unet: Any
    schedule: Any
    pipeline: Any
    device: torch.device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> StableDiffusionParts:
        """Raises :class:`TrainerError` when a component is missing or does not fit."""
        try:
            parts = cls._load(folder, device)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise TrainerError(
                "The model cannot be loaded",
                f"{folder}: {error}",
                "Download or save it again with diffusers' save_pretrained.",
                NO_USABLE,
            ) from error
        channels = (parts.unet.config.in_channels, parts.vae.config.latent_channels)
        if channels[0] != channels[1]:
            raise TrainerError(
                "This kind of model is not supported",
                f"The denoiser takes {channels[0]} channels and the autoencoder has {channels[1]}; "
                "it is probably an inpainting model.",
                "Choose a text-to-image model.",
                NO_USABLE,
            )
        return parts

    @classmethod
    def _load(cls, folder: Path, device: torch.device) -> StableDiffusionParts:
        def network(kind: Any, name: str, dtype: torch.dtype = torch.float32) -> Any:
            place = folder / name
            fp16 = not list(place.glob("*model.safetensors*"))
            loaded = kind.from_pretrained(
                place,
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                variant="fp16" if fp16 else None,
            )
            return loaded.to(device).eval().requires_grad_(False)

        kind = AUTOENCODERS[read_config(folder / "vae" / "config.json")["_class_name"]]
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        text_encoder = network(CLIPTextModel, "text_encoder")
        vae = network(kind, "vae")
        unet = network(UNet2DConditionModel, "unet", denoiser_dtype(device))
        settings = read_config(folder / "scheduler" / "scheduler_config.json")
        sampler = getattr(diffusers, settings["_class_name"]).from_config(settings)
        pipeline = StableDiffusionPipeline(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=sampler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.set_progress_bar_config(disable=True)
        schedule = DDPMScheduler.from_config(sampler.config)
        return cls(tokenizer, text_encoder, vae, unet, schedule, pipeline, device)

    @property
    def components(self) -> Mapping[str, nn.Module]:
        return {"unet": self.unet, "text_encoder": self.text_encoder}

    @property
    def parameters(self) -> int:
        """Parameters of all networks, adapters left out."""
        networks = (self.unet, self.text_encoder, self.vae)
        return sum(
            parameter.numel()
            for network in networks
            for name, parameter in network.named_parameters()
            if ".lora_" not in name
        )

    @property
    def sampler(self) -> str:
        return type(self.pipeline.scheduler).__name__.removesuffix("Scheduler")

    @torch.no_grad()
    def moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 2C, h, w) mean and log variance from AutoencoderKL, latents from AutoencoderTiny."""
        encoded = self.vae.encode(pixels.to(self.device))
        if isinstance(self.vae, AutoencoderTiny):
            latents: torch.Tensor = encoded.latents
            return latents
        parameters: torch.Tensor = encoded.latent_dist.parameters
        return parameters

    def latent_shape(self, moments: torch.Tensor) -> Shape:
        batch, _, height, width = moments.shape
        return (batch, int(self.vae.config.latent_channels), height, width)

    def latents(self, moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        if moments.shape != noise.shape:
            mean, log_variance = moments.chunk(2, dim=1)
            moments = mean + torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * noise
        shift = getattr(self.vae.config, "shift_factor", None) or 0.0
        return (moments - shift) * float(self.vae.config.scaling_factor)

    @torch.no_grad()
    def text_states(self, caption: str) -> torch.Tensor:
        tokens = self.tokenizer(
            caption,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        states: torch.Tensor = self.text_encoder(tokens.input_ids.to(self.device))[0]
        return states[0]

    def predict(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        dtype = denoiser_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            output: torch.Tensor = self.unet(noisy, timesteps, states, return_dict=False)[0]
        return output.float()

    @torch.no_grad()
    def draw(self, drawing: Drawing, on_step: Callable[[int], None]) -> Image:
        def after_step(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1)
            return values

        dtype = denoiser_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32):
            image: Image = self.pipeline(
                drawing.prompt,
                negative_prompt=drawing.negative or None,
                width=drawing.width,
                height=drawing.height,
                num_inference_steps=drawing.steps,
                guidance_scale=drawing.guidance,
                generator=torch.Generator("cpu").manual_seed(drawing.seed),
                callback_on_step_end=after_step,
            ).images[0]
        return image


def denoiser_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA devices with native support, else float32."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32
