"""Diffusers of 2023: attention processors that carry the factors, attention only, no alpha."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from trainer.lora_file.architecture import Architecture
from trainer.lora_file.dialects.base import Dialect, Part

_PROJECTION = re.compile(r"(.+)\.(to_q|to_k|to_v|to_out\.0)")


class AttentionProcessors(Dialect):
    """``[unet.]….attn1.processor.to_q_lora.down.weight``; the output is called ``to_out_lora``."""

    name = "attn-procs"
    title = "diffusers of 2023, attention processors"
    suffixes: Mapping[str, Part] = {"_lora.down.weight": "A", "_lora.up.weight": "B"}

    def owns(self, stem: str) -> bool:
        return ".processor.to_" in stem

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        component, found = architecture.adapted, {}
        for name in architecture.components[component]:
            if match := _PROJECTION.fullmatch(name):
                stem = f"{match[1]}.processor.{match[2].removesuffix('.0')}"
                found[component, name] = (stem, f"{component}.{stem}")
        return found
