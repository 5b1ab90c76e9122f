"""Puts the trained parts together as a Stable Diffusion pipeline folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from trainer.embedded.autoencoder import trained_autoencoder
from trainer.embedded.denoiser import averaged, sampling_scheduler

STEPS = 20
GUIDANCE = 3.0
"""Sampling steps and guidance of all figures in the model card."""


def pipeline_of(folder: Path, seed: int) -> StableDiffusionPipeline:
    """The pipeline of what ``folder`` holds so far, fp16; untrained parts are random."""
    unet, text_encoder, tokenizer = averaged(folder, seed)
    vae = trained_autoencoder(folder).half()
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=sampling_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def assemble(folder: Path, destination: Path, seed: int) -> int:
    """Writes the pipeline to ``destination``; returns the bytes of all files there."""
    pipeline_of(folder, seed).save_pretrained(destination, safe_serialization=True)
    # AutoencoderTiny derives one entry from the others and warns when it reads it from a file;
    # the other one is where the weights lay on the machine that made them
    config = destination / "vae" / "config.json"
    entries = json.loads(config.read_text())
    for name in ("block_out_channels", "_name_or_path"):
        entries.pop(name, None)
    config.write_text(json.dumps(entries, indent=2) + "\n")
    for path in destination.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return total_bytes(destination)


def total_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def load_pipeline(folder: Path, device: torch.device | None = None) -> StableDiffusionPipeline:
    """The pipeline of a folder in float32, silent, on the device (CPU by default)."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device or torch.device("cpu"))


@torch.no_grad()
def generate(
    pipe: StableDiffusionPipeline,
    prompts: list[str],
    seed: int,
    *,
    steps: int = STEPS,
    guidance: float = GUIDANCE,
    batch: int = 16,
) -> torch.Tensor:
    """Pictures (n, 3, 64, 64) in -1..1; picture i comes from seed + i whatever the batch."""
    parts = []
    for start in range(0, len(prompts), batch):
        some = prompts[start : start + batch]
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(some))]
        images = pipe(
            some,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=generators,
            output_type="pt",
        ).images
        parts.append(images.float().cpu() * 2 - 1)
    return torch.cat(parts)
