"""One file per dialect of LoRA files. A new one is a file here and a line in DIALECTS."""

from __future__ import annotations

from trainer.lora_file.dialects.attn_procs import AttentionProcessors
from trainer.lora_file.dialects.base import Dialect, Part
from trainer.lora_file.dialects.comfyui import ComfyUI
from trainer.lora_file.dialects.dotted import Diffusers, FactorsFile, Peft
from trainer.lora_file.dialects.kohya import Kohya
from trainer.lora_file.dialects.safelora import Safelora
from trainer.lora_file.layers import Name

__all__ = ["BY_NAME", "DIALECTS", "Dialect", "Part"]

DIALECTS: tuple[Dialect, ...] = (
    Safelora(),
    AttentionProcessors(),
    Kohya(),
    ComfyUI(),
    Peft(),
    Diffusers(),
    FactorsFile(),
)
"""In the order in which a key is offered to them; the last takes any dotted name."""

BY_NAME: dict[Name, Dialect] = {dialect.name: dialect for dialect in DIALECTS}
