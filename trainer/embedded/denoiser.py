"""The denoiser and its text side: ``UNet2DConditionModel`` and ``CLIPTextModel``, trained jointly.

v-prediction on the squared-cosine schedule, uniform weight (in x0 terms SNR + 1), timesteps
stratified over the batch, one caption in ten empty for classifier-free guidance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from random import Random

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from trainer.embedded.captions import training_caption
from trainer.embedded.pace import Pace, learning_rate
from trainer.embedded.pictures import scene_tensor
from trainer.embedded.scenes import Scene, pick, sample_scene
from trainer.embedded.state import Log, Stateful, load_state, save_state
from trainer.embedded.team import Team, run_together
from trainer.embedded.tokens import FILLERS, new_tokenizer

BATCH = 32
PEAK_RATE = 1e-3
EMA_DECAY = 0.999
EMPTY_CAPTIONS = 0.10
FILLED_CAPTIONS = 0.08
TRAIN_STEPS = 1000
WIDTHS = (64, 128, 256)
TEXT_WIDTH = 128
CHECKPOINT_EVERY = 100


@dataclass(frozen=True)
class DenoiserReport:
    """What the training of the denoiser did."""

    steps: int
    seconds: float
    scenes: int
    batch: int
    loss: float


def new_unet() -> UNet2DConditionModel:
    """An untrained denoiser of the final shape: Stable Diffusion 1.5's layout, narrower."""
    down = ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D")
    up = ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D")
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=WIDTHS,
        down_block_types=down,
        up_block_types=up,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder of the final shape for the tokenizer's vocabulary."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def sampling_scheduler() -> DDIMScheduler:
    """What the pipeline draws with; deterministic, starts at pure noise."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def training_scenes(count: int, seed: int) -> list[Scene]:
    """The base's training scenes: no held-back object, drawn in the plain style."""
    rng = Random(seed)
    return [sample_scene(rng) for _ in range(count)]


@torch.no_grad()
def cached_latents(path: Path, scenes: list[Scene], vae: AutoencoderTiny, log: Log) -> torch.Tensor:
    """Scaled latents (n, 4, 16, 16) float16 of the scenes, from ``path`` if it fits them."""
    if path.exists():
        latents: torch.Tensor = load_file(path)["latents"]
        if len(latents) == len(scenes):
            return latents
    device, parts = next(vae.parameters()).device, []
    for start in range(0, len(scenes), 64):
        pixels = scene_tensor(scenes[start : start + 64]).to(device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            latents = vae.encode(pixels).latents
        parts.append((latents.float() * vae.config.scaling_factor).half().cpu())
        if start % 6400 == 0:
            log(f"latents {start}/{len(scenes)}")
    latents = torch.cat(parts).contiguous()
    save_file({"latents": latents}, path)
    return latents


def batch_captions(scenes: list[Scene], seed: int) -> list[str]:
    """One caption for each scene; some empty, some with a word that means nothing here."""
    rng = Random(seed)
    texts = []
    for scene in scenes:
        text = training_caption(scene, rng)
        u = rng.random()
        if u < EMPTY_CAPTIONS:
            text = ""
        elif u < EMPTY_CAPTIONS + FILLED_CAPTIONS:
            filler = pick(rng, FILLERS)
            text = f"{filler}, {text}" if rng.random() < 0.5 else f"{text}, {filler}"
        texts.append(text)
    return texts


class Denoiser:
    """UNet and text encoder with what their training keeps between steps."""

    def __init__(self, seed: int, device: torch.device) -> None:
        torch.manual_seed(seed)
        self.device = device
        self.tokenizer = new_tokenizer()
        self.unet = new_unet().to(device)
        if device.type == "cpu":
            # same numbers, but the fused attention costs 0.94 s of CPU time a step, this 0.71 s
            self.unet.set_attn_processor(AttnProcessor())
        self.text = new_text_encoder(self.tokenizer).to(device)
        self.modules = torch.nn.ModuleDict({"unet": self.unet, "text_encoder": self.text})
        matrices = [p for p in self.modules.parameters() if p.ndim > 1]
        vectors = [p for p in self.modules.parameters() if p.ndim <= 1]
        tables = {
            id(p)
            for m in self.text.modules()
            if isinstance(m, torch.nn.Embedding)
            for p in m.parameters()
        }
        groups = [
            {"params": [p for p in matrices if id(p) not in tables], "weight_decay": 0.01},
            # words the base never reads must keep their random vectors
            {"params": vectors + [p for p in matrices if id(p) in tables], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.99), fused=True)
        self.ema = EMAModel(
            self.modules.parameters(), decay=EMA_DECAY, use_ema_warmup=True, power=0.75
        )
        self.schedule = DDPMScheduler.from_config(sampling_scheduler().config)

    def parts(self) -> dict[str, Stateful]:
        """What a checkpoint holds."""
        return {"modules": self.modules, "optimizer": self.optimizer, "ema": self.ema}

    def loss(
        self, latents: torch.Tensor, captions: list[str], seed: int, part: slice
    ) -> torch.Tensor:
        """Mean squared error of v on a part of a batch of scaled latents (n, 4, 16, 16)."""
        generator = torch.Generator().manual_seed(seed)
        n = len(latents)
        tokens = self.tokenizer(
            captions[part], padding="max_length", truncation=True, return_tensors="pt"
        )
        strata = (torch.randperm(n, generator=generator) + torch.rand(n, generator=generator)) / n
        times = (strata * TRAIN_STEPS).long().clamp_max(TRAIN_STEPS - 1)[part].to(self.device)
        noise = torch.randn(latents.shape, generator=generator)[part].to(self.device)
        clean = latents[part].float().to(self.device)
        noisy = self.schedule.add_noise(clean, noise, times)
        target = self.schedule.get_velocity(clean, noise, times)
        # not channels-last: bf16 group norm is 20 times slower so, a step 1.4 times (CPU)
        with torch.autocast(self.device.type, torch.bfloat16):
            states = self.text(tokens.input_ids.to(self.device))[0]
            output = self.unet(noisy, times, states, return_dict=False)[0]
        return functional.mse_loss(output.float(), target)

    def update(self, rate: float) -> None:
        """One step of the optimizer on the gradients that are there."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.nn.utils.clip_grad_norm_(list(self.modules.parameters()), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def train_denoiser(
    folder: Path,
    pace: Pace,
    seed: int,
    count: int,
    device: torch.device,
    log: Log,
    resume: bool,
    workers: int = 1,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> DenoiserReport:
    """Trains on ``folder``/vae's latents; checkpoints in ``folder``/unet.state.safetensors.

    Args:
        workers: processes of one thread each that share a batch; 1 on anything but a CPU.
        checkpoint_every: steps between checkpoints; a kill loses fewer than these.

    Raises:
        OSError: ``folder`` has no autoencoder.
    """
    vae = AutoencoderTiny.from_pretrained(folder / "vae").float().to(device)
    vae.to(memory_format=torch.channels_last)
    path = folder / f"latents-{count}-{seed}.safetensors"
    cached_latents(path, training_scenes(count, seed), vae, log)
    pace.started = Pace(1, None).started  # the cache is not training
    size = sum(p.numel() for p in Denoiser(seed, torch.device("cpu")).modules.parameters())
    arguments = (folder, pace, seed, count, device, log, resume, checkpoint_every)
    report: DenoiserReport = run_together(workers, size, denoiser_loop, *arguments)
    return report


def denoiser_loop(
    team: Team,
    folder: Path,
    pace: Pace,
    seed: int,
    count: int,
    device: torch.device,
    log: Log,
    resume: bool,
    checkpoint_every: int,
) -> DenoiserReport:
    """What each member of the team does; the first one keeps time, averages and checkpoints."""
    scenes = training_scenes(count, seed)
    latents: torch.Tensor = load_file(folder / f"latents-{count}-{seed}.safetensors")["latents"]
    model, part = Denoiser(seed, device), slice(team.rank, None, team.size)
    parameters = list(model.modules.parameters())
    state, step, loss_mean = folder / "unet.state.safetensors", 0, 0.0
    if resume and state.exists():
        step, pace.before, loss_mean = load_state(state, **model.parts())
    team.meet()
    while (share := team.announce(pace.progress(step))) < 1:
        order = Random(seed * 7_368_787 + step)
        chosen = [int(order.random() * count) for _ in range(BATCH)]
        captions = batch_captions([scenes[at] for at in chosen], seed * 15_485_863 + step)
        loss = model.loss(latents[chosen], captions, seed * 32_452_843 + step, part)
        torch.autograd.backward(loss)
        mean = team.average(parameters, loss.item())
        model.update(learning_rate(share, step, PEAK_RATE, warmup=200))
        step += 1
        loss_mean += (mean - loss_mean) * max(0.005, 1 / step)
        if team.rank == 0:
            model.ema.step(parameters)
            if step % 50 == 0:
                log(f"unet {pace.line(step)} loss {loss_mean:.4f}")
            if step % checkpoint_every == 0:
                save_state(state, step, pace.seconds, loss_mean, **model.parts())
    if team.rank == 0:
        save_state(state, step, pace.seconds, loss_mean, **model.parts())
        log(f"unet done: {step} steps, loss {loss_mean:.4f}")
    return DenoiserReport(step, pace.seconds, count, BATCH, loss_mean)


def averaged(folder: Path, seed: int) -> tuple[UNet2DConditionModel, CLIPTextModel, CLIPTokenizer]:
    """UNet and text encoder with the averaged weights of the latest checkpoint, in fp16.

    Without a checkpoint they have random weights of the final shape.
    """
    model = Denoiser(seed, torch.device("cpu"))
    state = folder / "unet.state.safetensors"
    if state.exists():
        load_state(state, ema=model.ema)
        model.ema.copy_to(chain(model.modules.parameters()))
    return model.unet.half(), model.text.half(), model.tokenizer
