"""kohya's sd-scripts: dots become underscores, alpha is a tensor; nearly everything reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.lora_file.architecture import Architecture, public_name
from trainer.lora_file.dialects.base import Dialect, Part

_ENCODERS = {
    "text_encoder": ("lora_te", "lora_te1"),
    "text_encoder_2": ("lora_te2",),
    "text_encoder_3": ("lora_te3",),
}
"""Prefixes of text encoders; a base with one has no number, a base with several has."""


class Kohya(Dialect):
    """``lora_unet_down_blocks_0_….lora_down.weight``, for SDXL ``lora_unet_input_blocks_4_1_…``,
    for Flux ``lora_unet_double_blocks_0_img_attn_qkv``, for SD3 ``lora_unet_joint_blocks_0_…``.

    LyCORIS writes plain LoRA layers (LoCon) the same way with another prefix.
    """

    name = "kohya"
    title = "kohya's sd-scripts; A1111 and ComfyUI"
    suffixes: Mapping[str, Part] = {
        ".lora_down.weight": "A",
        ".lora_up.weight": "B",
        ".alpha": "alpha",
    }

    def owns(self, stem: str) -> bool:
        return stem.startswith(("lora_", "lycoris_")) and "." not in stem

    def fused(self, architecture: Architecture) -> Mapping[str, Sequence[tuple[str, str]]]:
        return {
            f"lora_unet_{native.replace('.', '_')}": [
                (architecture.adapted, part) for part in parts
            ]
            for native, parts in architecture.fused.items()
        }

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        several = len(architecture.text_encoders) > 1
        found: dict[tuple[str, str], Sequence[str]] = {}
        for component, name, _ in architecture.each():
            if component == architecture.adapted != "unet":
                found[component, name] = _of_transformer(name, architecture.native.get(name))
                continue
            if component == architecture.adapted:
                names = [name]
                if native := architecture.native.get(name):
                    names.insert(0 if architecture.is_sdxl else 1, native)
                prefixes: Sequence[str] = ("lora_unet", "lycoris")
            else:
                names = [public_name(component, name)]
                prefixes = _ENCODERS.get(component, ())
                if several:
                    prefixes = tuple(reversed(prefixes))
            found[component, name] = tuple(
                f"{prefix}_{spelling.replace('.', '_')}"
                for prefix in prefixes
                for spelling in names
            )
        return found


def _of_transformer(name: str, native: str | None) -> Sequence[str]:
    """sd-scripts' spelling where the original has such a layer, and OneTrainer's."""
    plain = f"lora_transformer_{name.replace('.', '_')}"
    return (f"lora_unet_{native.replace('.', '_')}", plain) if native else (plain,)
