"""The layers of the bases that most LoRA files in the world belong to, from a few numbers each."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.lora_file.architecture import TEXT_PREFIX, Architecture
from trainer.lora_file.known_transformers import flux_layers, sd3_layers
from trainer.models.base import Shape


@dataclass(frozen=True)
class UNetNumbers:
    """The numbers of a UNet2DConditionModel's configuration that decide its layers."""

    cross: int
    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    depths: tuple[int, ...] = (1, 1, 1, 0)
    linear: bool = False
    added: int = 0
    layers: int = 2

    def shapes(self) -> dict[str, Shape]:
        first, last = self.widths[0], self.widths[-1]
        time = 4 * first
        found: dict[str, Shape] = {
            "conv_in": (first, 4, 3, 3),
            "conv_out": (4, first, 3, 3),
            "time_embedding.linear_1": (time, first),
            "time_embedding.linear_2": (time, time),
        }
        if self.added:
            found["add_embedding.linear_1"] = (time, self.added)
            found["add_embedding.linear_2"] = (time, time)
        skips = [first]
        before = first
        for block, (width, depth) in enumerate(zip(self.widths, self.depths, strict=True)):
            place = f"down_blocks.{block}"
            for number in range(self.layers):
                found |= self._resnet(f"{place}.resnets.{number}", before, width)
                found |= self._attention(f"{place}.attentions.{number}", width, depth)
                before = width
                skips.append(width)
            if block < len(self.widths) - 1:
                found[f"{place}.downsamplers.0.conv"] = (width, width, 3, 3)
                skips.append(width)
        for number in range(2):
            found |= self._resnet(f"mid_block.resnets.{number}", last, last)
        found |= self._attention("mid_block.attentions.0", last, self.depths[-1] or 1)
        for block, width in enumerate(reversed(self.widths)):
            place, depth = f"up_blocks.{block}", self.depths[-1 - block]
            for number in range(self.layers + 1):
                found |= self._resnet(f"{place}.resnets.{number}", before + skips.pop(), width)
                found |= self._attention(f"{place}.attentions.{number}", width, depth)
                before = width
            if block < len(self.widths) - 1:
                found[f"{place}.upsamplers.0.conv"] = (width, width, 3, 3)
        return found

    def _resnet(self, name: str, into: int, out: int) -> dict[str, Shape]:
        found: dict[str, Shape] = {
            f"{name}.conv1": (out, into, 3, 3),
            f"{name}.conv2": (out, out, 3, 3),
            f"{name}.time_emb_proj": (out, 4 * self.widths[0]),
        }
        if into != out:
            found[f"{name}.conv_shortcut"] = (out, into, 1, 1)
        return found

    def _attention(self, name: str, width: int, depth: int) -> dict[str, Shape]:
        found: dict[str, Shape] = {}
        for number in range(depth):
            block = f"{name}.transformer_blocks.{number}"
            for attention, into in (("attn1", width), ("attn2", self.cross)):
                found[f"{block}.{attention}.to_q"] = (width, width)
                found[f"{block}.{attention}.to_k"] = (width, into)
                found[f"{block}.{attention}.to_v"] = (width, into)
                found[f"{block}.{attention}.to_out.0"] = (width, width)
            found[f"{block}.ff.net.0.proj"] = (8 * width, width)
            found[f"{block}.ff.net.2"] = (width, 4 * width)
        if depth:
            ends: Shape = (width, width) if self.linear else (width, width, 1, 1)
            found[f"{name}.proj_in"] = found[f"{name}.proj_out"] = ends
        return found


def clip_layers(width: int, layers: int, *, projected: bool) -> dict[str, Shape]:
    """A CLIP text encoder: CLIPTextModel, or ``projected`` CLIPTextModelWithProjection."""
    found: dict[str, Shape] = {}
    for number in range(layers):
        place = f"{TEXT_PREFIX if projected else ''}encoder.layers.{number}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            found[f"{place}.self_attn.{name}"] = (width, width)
        found[f"{place}.mlp.fc1"] = (4 * width, width)
        found[f"{place}.mlp.fc2"] = (width, 4 * width)
    if projected:
        found["text_projection"] = (width, width)
    return found


def known() -> tuple[Architecture, ...]:
    """Stable Diffusion 1.5, 2, XL and 3, and Flux.1."""
    sdxl = UNetNumbers(2048, (320, 640, 1280), (0, 2, 10), linear=True, added=2816)
    return (
        Architecture(
            "Stable Diffusion 1.5",
            "unet",
            {
                "unet": UNetNumbers(768).shapes(),
                "text_encoder": clip_layers(768, 12, projected=False),
            },
            "stable-diffusion-v1",
            "sd_v1",
        ),
        Architecture(
            "Stable Diffusion 2",
            "unet",
            {
                "unet": UNetNumbers(1024, linear=True).shapes(),
                "text_encoder": clip_layers(1024, 23, projected=False),
            },
            "stable-diffusion-v2-768-v",
            "sd_v2",
        ),
        Architecture(
            "Stable Diffusion XL",
            "unet",
            {
                "unet": sdxl.shapes(),
                "text_encoder": clip_layers(768, 12, projected=False),
                "text_encoder_2": clip_layers(1280, 32, projected=True),
            },
            "stable-diffusion-xl-v1-base",
            "sdxl_base_v1-0",
        ),
        Architecture(
            "Stable Diffusion 3",
            "transformer",
            {
                "transformer": sd3_layers(),
                "text_encoder": clip_layers(768, 12, projected=True),
                "text_encoder_2": clip_layers(1280, 32, projected=True),
            },
            "stable-diffusion-3",
            "sd3",
        ),
        Architecture(
            "Flux.1",
            "transformer",
            {
                "transformer": flux_layers(),
                "text_encoder": clip_layers(768, 12, projected=False),
            },
            "flux-1-dev",
            "flux1",
        ),
    )
