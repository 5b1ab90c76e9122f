"""The loop of diffusers' ``examples/text_to_image/train_text_to_image_lora.py``, step by step.

Version 0.42: decode and crop each picture, encode it and its caption, predict, step; float32, and
the loss read from the device twice a step. Left out are argument parsing, accelerate and logging.
Clipping is done on a list: the script's own clips an iterator that is used up already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDPMScheduler, StableDiffusionPipeline
from peft import LoraConfig
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

Item = dict[str, torch.Tensor]


class Pictures(Dataset[Item]):
    """What the script's transforms make of an image folder."""

    def __init__(self, folder: Path, tokenizer: Any, resolution: int) -> None:
        self.paths = sorted(folder.glob("*.png"))
        self.resolution = resolution
        self.input_ids = [
            tokenizer(
                path.with_suffix(".txt").read_text().strip(),
                max_length=tokenizer.model_max_length,
                padding="max_length",
                truncation=True,
                return_tensors="pt",
            ).input_ids[0]
            for path in self.paths
        ]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Item:
        image = Image.open(self.paths[index]).convert("RGB")
        scale = self.resolution / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
        left = (image.width - self.resolution) // 2
        top = (image.height - self.resolution) // 2
        image = image.crop((left, top, left + self.resolution, top + self.resolution))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
        return {"pixel_values": (pixels - 0.5) / 0.5, "input_ids": self.input_ids[index]}


@dataclass
class ScriptLoop:
    """Its state after set-up."""

    pipe: Any
    noise_scheduler: Any
    optimizer: torch.optim.Optimizer
    lr_scheduler: Any
    loader: DataLoader[Item]
    train_loss: float = 0.0

    @classmethod
    def of(cls, model: Path, folder: Path, batch: int, rank: int, resolution: int) -> ScriptLoop:
        pipe = StableDiffusionPipeline.from_pretrained(
            model, dtype=torch.float32, safety_checker=None
        )
        for network in (pipe.vae, pipe.text_encoder, pipe.unet):
            network.requires_grad_(False)
        pipe.unet.add_adapter(
            LoraConfig(
                r=rank,
                lora_alpha=rank,
                init_lora_weights="gaussian",
                target_modules=["to_k", "to_q", "to_v", "to_out.0"],
            )
        )
        layers = [p for p in pipe.unet.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(layers, lr=1e-4, weight_decay=1e-2, eps=1e-8)
        return cls(
            pipe,
            DDPMScheduler.from_config(pipe.scheduler.config),
            optimizer,
            torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0),
            DataLoader(Pictures(folder, pipe.tokenizer, resolution), batch, shuffle=True),
        )

    def batches(self) -> Iterator[Item]:
        while True:
            yield from self.loader

    def run(self, steps: int) -> None:
        batches = self.batches()
        for _ in range(steps):
            self.step(next(batches))

    def step(self, batch: Item) -> None:
        loss = self.loss(batch)
        bsz = batch["pixel_values"].shape[0]
        self.train_loss += loss.repeat(bsz).mean().item()
        loss.backward()
        layers = [p for p in self.pipe.unet.parameters() if p.requires_grad]
        torch.nn.utils.clip_grad_norm_(layers, 1.0)
        self.optimizer.step()
        self.lr_scheduler.step()
        self.optimizer.zero_grad()
        loss.detach().item()

    def loss(self, batch: Item) -> torch.Tensor:
        latents = self.latents(batch["pixel_values"])
        noise = torch.randn_like(latents)
        levels = self.noise_scheduler.config.num_train_timesteps
        timesteps = torch.randint(0, levels, (latents.shape[0],)).long()
        return self.error(latents, noise, timesteps, batch["input_ids"])

    def denoise(self, steps: int) -> None:
        """Nothing but the denoiser, forward and backward."""
        batch = next(self.batches())
        with torch.no_grad():
            noisy = torch.randn_like(self.latents(batch["pixel_values"]))
            states = self.pipe.text_encoder(batch["input_ids"], return_dict=False)[0]
        levels = torch.randint(0, self.noise_scheduler.config.num_train_timesteps, noisy.shape[:1])
        for _ in range(steps):
            self.pipe.unet(noisy, levels, states, return_dict=False)[0].square().mean().backward()

    def latents(self, pixels: torch.Tensor) -> torch.Tensor:
        encoded = self.pipe.vae.encode(pixels)
        tiny = isinstance(self.pipe.vae, AutoencoderTiny)
        sample: torch.Tensor = encoded.latents if tiny else encoded.latent_dist.sample()
        return sample * self.pipe.vae.config.scaling_factor

    def error(
        self,
        latents: torch.Tensor,
        noise: torch.Tensor,
        timesteps: torch.Tensor,
        input_ids: torch.Tensor,
    ) -> torch.Tensor:
        """The loss for given noise and levels."""
        noisy = self.noise_scheduler.add_noise(latents, noise, timesteps)
        states = self.pipe.text_encoder(input_ids, return_dict=False)[0]
        target = noise
        if self.noise_scheduler.config.prediction_type == "v_prediction":
            target = self.noise_scheduler.get_velocity(latents, noise, timesteps)
        prediction = self.pipe.unet(noisy, timesteps, states, return_dict=False)[0]
        return functional.mse_loss(prediction.float(), target.float(), reduction="mean")
