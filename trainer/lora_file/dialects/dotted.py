"""The dialects whose layers keep their dots: peft, diffusers, and our own factor files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.lora_file.architecture import Architecture, public_name
from trainer.lora_file.dialects.base import Dialect

_PEFT_PREFIX = "base_model.model."
_COMPONENTS = ("unet", "transformer", "prior", "text_encoder", "text_encoder_2", "text_encoder_3")


class Diffusers(Dialect):
    """``unet.down_blocks.0….to_q.lora_A.weight``, as ``save_lora_weights`` writes it."""

    name = "diffusers"
    title = "diffusers, peft layers under a component's name"

    def owns(self, stem: str) -> bool:
        return stem.partition(".")[0] in _COMPONENTS

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        return {
            (component, name): _both(f"{component}.", component, name)
            for component, name, _ in architecture.each()
        }


class Peft(Dialect):
    """``base_model.model.….lora_A.weight``; alpha lies in the adapter_config.json beside it."""

    name = "peft"
    title = "peft's adapter_model"

    def owns(self, stem: str) -> bool:
        return stem.startswith(_PEFT_PREFIX)

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        # A text encoder's file bears the same prefix, and only one component lies in a file. Of
        # two text encoders with equal names the first is meant.
        found: dict[tuple[str, str], Sequence[str]] = {}
        taken: set[str] = set()
        for component, name, _ in architecture.each():
            spellings = _both(_PEFT_PREFIX, component, name)
            if spellings[0] not in taken:
                taken.add(spellings[0])
                found[component, name] = spellings
        return found


class FactorsFile(Dialect):
    """Bare layers of the denoiser: what a room exchanges, and what peft calls a state dict.

    A room's layers of text encoders are spelled as diffusers spells them.
    """

    name = "factors"
    title = "plain factors"

    def owns(self, stem: str) -> bool:
        return not stem.startswith(("lora_", "lycoris_"))

    def stems(self, architecture: Architecture) -> Mapping[tuple[str, str], Sequence[str]]:
        adapted = architecture.adapted
        return {(adapted, name): (name,) for name in architecture.components[adapted]}


def _both(prefix: str, component: str, name: str) -> Sequence[str]:
    """The public spelling, and the one that lost ``text_model.`` on the way."""
    public = public_name(component, name)
    bare = public.removeprefix("text_model.")
    return (prefix + public,) if public == bare else (prefix + public, prefix + bare)
