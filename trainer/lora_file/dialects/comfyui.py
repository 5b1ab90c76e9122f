"""ComfyUI's generic form: the original checkpoint's names, as its model classes call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.lora_file.architecture import Architecture, public_name
from trainer.lora_file.dialects.base import Dialect

_ENCODERS = {"text_encoder": "clip_l", "text_encoder_2": "clip_g", "text_encoder_3": "t5xxl"}


class ComfyUI(Dialect):
    """``diffusion_model.input_blocks.1.1.….lora_A.weight`` with an ``.alpha`` beside it."""

    name = "comfyui"
    title = "ComfyUI's generic form"

    def owns(self, stem: str) -> bool:
        return stem.startswith(("diffusion_model.", "text_encoders."))

    def fused(self, architecture: Architecture) -> Mapping[str, Sequence[tuple[str, str]]]:
        return {
            f"diffusion_model.{native}": [(architecture.adapted, part) for part in parts]
            for native, parts in architecture.fused.items()
        }

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        adapted = architecture.adapted
        found: dict[tuple[str, str], Sequence[str]] = {
            (adapted, name): (f"diffusion_model.{native}",)
            for name, native in architecture.native.items()
        }
        for component in architecture.text_encoders:
            encoder = _ENCODERS.get(component)
            for name in architecture.components[component] if encoder else ():
                public = public_name(component, name)
                found[component, name] = (f"text_encoders.{encoder}.transformer.{public}",)
        return found
