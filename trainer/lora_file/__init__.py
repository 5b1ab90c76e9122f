"""LoRA files of this and other programs: seven dialects read, two written.

Two layers. A dialect says what a key means: which layer, which part of it. Everything else works on
layers by their names in diffusers. In memory the scale is always 1: alpha / rank is folded into B
when a file is read, and a written file says alpha = rank. Losing alpha on the way, or zero
matching layers passing silently, are the two classic faults of this format.
"""

from __future__ import annotations

from trainer.lora_file.architecture import Architecture, public_name
from trainer.lora_file.inspecting import Inspection, inspect, known_base
from trainer.lora_file.known import known
from trainer.lora_file.layers import Factors, FloatArray, LoraAdapter, each_layer
from trainer.lora_file.reading import read
from trainer.lora_file.writing import Format, check_format, write

__all__ = [
    "Architecture",
    "Factors",
    "FloatArray",
    "Format",
    "Inspection",
    "LoraAdapter",
    "check_format",
    "each_layer",
    "inspect",
    "known",
    "known_base",
    "public_name",
    "read",
    "write",
]
