"""The autoencoder: an ``AutoencoderTiny`` that makes 16 x 16 x 4 latents of 64 x 64 pictures.

Latents are held near zero mean and unit variance per channel during training, and noise is
added to them before decoding, so that small errors of the denoiser stay invisible.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from diffusers import AutoencoderTiny
from diffusers.training_utils import EMAModel
from torch.nn import functional

from trainer.embedded.pace import Pace, learning_rate
from trainer.embedded.pictures import fresh_batch, scene_tensor
from trainer.embedded.scenes import sample_scene
from trainer.embedded.state import Log, load_state, save_state

BATCH_SCENES = 12
BATCH_DOODLES = 4
PEAK_RATE = 2e-3
LATENT_NOISE = 0.08
"""Standard deviation of the noise on latents in training, at most (uniform from 0)."""
EMA_DECAY = 0.998
DECODER_BATCH = (4, 1, 3)
"""Scenes, doodles and pieces of brushwork in a batch of :func:`train_decoder`."""
DECODER_RATE = 1e-3


@dataclass(frozen=True)
class AutoencoderReport:
    """What the training of the autoencoder did."""

    steps: int
    seconds: float
    pictures: int
    loss: float
    psnr_db: float
    scaling_factor: float


@dataclass(frozen=True)
class DecoderReport:
    """What the second training of the decoder did."""

    steps: int
    seconds: float
    pictures: int
    loss: float
    psnr_db: float


def new_autoencoder() -> AutoencoderTiny:
    """An untrained autoencoder of the final shape."""
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32),
        decoder_block_out_channels=(48, 48, 48),
        num_encoder_blocks=(1, 2, 3),
        num_decoder_blocks=(4, 2, 1),
        latent_channels=4,
        scaling_factor=1.0,
    )


def trained_autoencoder(folder: Path) -> AutoencoderTiny:
    """The latest autoencoder of a training folder in float32; an untrained one without any."""
    for name in ("vae-refined", "vae"):
        if (folder / name).exists():
            return AutoencoderTiny.from_pretrained(folder / name).float()
    return new_autoencoder()


@torch.no_grad()
def rebuilt(model: AutoencoderTiny, pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (n, 3, height, width) in -1..1 as the autoencoder gives them back, on the CPU."""
    device, parts = next(model.parameters()).device, []
    for some in torch.split(pixels, 64):
        latents = model.encode(some.to(device, model.dtype)).latents
        parts.append(model.decode(latents).sample.float().cpu().clamp(-1, 1))
    return torch.cat(parts)


def loss_of(
    model: AutoencoderTiny, pixels: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Reconstruction error plus the pull of latents towards mean 0 and variance 1."""
    latents = model.encoder(pixels).float()
    mean = latents.mean(dim=(0, 2, 3))
    variance = latents.var(dim=(0, 2, 3))
    strength = LATENT_NOISE * torch.rand((len(pixels), 1, 1, 1), generator=generator).to(
        pixels.device
    )
    noise = torch.randn(latents.shape, generator=generator).to(pixels.device)
    output = model.decoder(latents + strength * noise).float()
    error = functional.mse_loss(output, pixels) + 0.05 * functional.l1_loss(output, pixels)
    pull: torch.Tensor = (mean.square() + (variance - 1).square()).mean()
    return error + 0.01 * pull


def train_autoencoder(
    folder: Path, pace: Pace, seed: int, device: torch.device, log: Log, resume: bool
) -> AutoencoderReport:
    """Trains and writes ``folder``/vae; a checkpoint every 200 steps beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    torch.manual_seed(seed)
    model = new_autoencoder().to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.99), fused=True, weight_decay=1e-4
    )
    ema = EMAModel(model.parameters(), decay=EMA_DECAY, use_ema_warmup=True, power=0.75)
    state, step, loss_mean = folder / "vae.state.safetensors", 0, 0.0
    if resume and state.exists():
        step, pace.before, loss_mean = load_state(state, model=model, optimizer=optimizer, ema=ema)
    while pace.progress(step) < 1:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pixels = fresh_batch(seed * 1_000_003 + step, BATCH_SCENES, BATCH_DOODLES).to(device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(pace.progress(step), step, PEAK_RATE)
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(model, pixels, generator)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(model.parameters())
        step += 1
        loss_mean += (loss.item() - loss_mean) * max(0.01, 1 / step)
        if step % 200 == 0:
            log(f"vae {pace.line(step)} loss {loss_mean:.5f}")
            save_state(
                state, step, pace.seconds, loss_mean, model=model, optimizer=optimizer, ema=ema
            )
        if step % 1000 == 0:
            log(f"vae psnr now {psnr(model, seed=77, count=64):.2f} dB")
    save_state(state, step, pace.seconds, loss_mean, model=model, optimizer=optimizer, ema=ema)
    ema.copy_to(model.parameters())
    factor = 1.0 / float(latents_of(model, 512, seed=78).std())
    model.register_to_config(scaling_factor=round(factor, 4))
    figure = psnr(model, seed=79, count=512)
    model.to(torch.float16).save_pretrained(folder / "vae")
    log(f"vae done: psnr {figure:.2f} dB, scaling factor {factor:.4f}")
    pictures = step * (BATCH_SCENES + BATCH_DOODLES)
    return AutoencoderReport(step, pace.seconds, pictures, loss_mean, figure, round(factor, 4))


def train_decoder(
    folder: Path, pace: Pace, seed: int, device: torch.device, log: Log
) -> DecoderReport:
    """Goes on with the decoder of ``folder``/vae alone, now also on brushwork.

    The encoder and with it all latents stay as they are, so this may run before, beside or
    after the training of the denoiser.

    Raises:
        OSError: ``folder`` has no autoencoder.
    """
    model = AutoencoderTiny.from_pretrained(folder / "vae").float().to(device)
    model.to(memory_format=torch.channels_last).requires_grad_(False)
    parameters = [p.requires_grad_(True) for p in model.decoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=DECODER_RATE, betas=(0.9, 0.99), fused=True)
    step, loss_mean = 0, 0.0
    while (share := pace.progress(step)) < 1:
        generator = torch.Generator().manual_seed(seed * 2_000_003 + step)
        pixels = fresh_batch(seed * 2_000_003 + step, *DECODER_BATCH).to(device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(share, step, DECODER_RATE)
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(model, pixels, generator)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        loss_mean += (loss.item() - loss_mean) * max(0.01, 1 / step)
        if step % 100 == 0:
            log(f"decoder {pace.line(step)} loss {loss_mean:.5f}")
    figure = psnr(model, seed=79, count=512)
    model.to(torch.float16).save_pretrained(folder / "vae-refined")
    log(f"decoder done: psnr {figure:.2f} dB")
    return DecoderReport(step, pace.seconds, step * sum(DECODER_BATCH), loss_mean, figure)


@torch.no_grad()
def latents_of(model: AutoencoderTiny, count: int, seed: int) -> torch.Tensor:
    """Unscaled latents (count, 4, 16, 16) of fresh plain scenes."""
    rng = Random(seed)
    device, parts = next(model.parameters()).device, []
    for start in range(0, count, 64):
        pixels = scene_tensor([sample_scene(rng) for _ in range(min(64, count - start))])
        parts.append(model.encode(pixels.to(device, model.dtype)).latents.float().cpu())
    return torch.cat(parts)


def psnr(model: AutoencoderTiny, seed: int, count: int) -> float:
    """Mean over fresh plain scenes of the peak signal-to-noise ratio in dB, 8 bit pictures."""
    rng = Random(seed)
    values: list[torch.Tensor] = []
    for start in range(0, count, 64):
        pixels = scene_tensor([sample_scene(rng) for _ in range(min(64, count - start))])
        eight = (rebuilt(model, pixels) * 127.5 + 127.5).round() / 127.5 - 1
        mse = (eight - pixels).square().mean(dim=(1, 2, 3)) / 4
        values.append(-10 * mse.clamp_min(1e-10).log10())
    return float(torch.cat(values).mean())
