"""PixArt-α and PixArt-Σ: a small transformer that reads a T5's states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Drawing, Family, Watcher, latent_side

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

TOKENS = {"PixArtAlphaPipeline": 120, "PixArtSigmaPipeline": 300}
"""Tokens of a caption that each was trained with."""


class PixArt(Family):
    """The transformer also tells a variance, which training leaves as it is."""

    name = "pixart"
    pipelines = frozenset(TOKENS)
    adapted = "transformer"
    networks = ("text_encoder", "transformer", "vae")
    settings = ("scheduler", "tokenizer")
    text_parts = ("tokenizer", "text_encoder")
    architecture = "pixart"
    base_version = "pixart"
    side_step = 16
    large_text = True

    def resolution(self, folder: Path) -> int:
        return latent_side(folder, self.adapted)

    def tokens_read(self, pipe: Any, tokenizer: str) -> int:
        del tokenizer
        return TOKENS[type(pipe).__name__]

    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """(tokens, width + 1): the last column says which tokens are words."""
        from trainer.models.packing import with_mask

        states, mask, _, _ = pipe.encode_prompt(
            caption,
            do_classifier_free_guidance=False,
            device=pipe.device,
            max_sequence_length=self.tokens_read(pipe, "tokenizer"),
        )
        return with_mask(states[0], mask[0])

    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        from trainer.models.packing import without_mask

        states, mask = without_mask(states)
        batch, channels, height, width = noisy.shape
        conditions: dict[str, torch.Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if pipe.transformer.use_additional_conditions:
            size = noisy.new_tensor([height, width]) * pipe.vae_scale_factor
            conditions = {
                "resolution": size.expand(batch, -1),
                "aspect_ratio": (size[:1] / size[1:]).expand(batch, -1),
            }
        output: torch.Tensor = pipe.transformer(
            noisy,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            timestep=timesteps,
            added_cond_kwargs=conditions,
            return_dict=False,
        )[0]
        return output[:, :channels]

    def draw(self, pipe: Any, drawings: Sequence[Drawing], watch: Watcher) -> list[Image]:
        return self.call(
            pipe,
            drawings,
            callback=lambda step, _, latents: watch(step + 1, latents),
            clean_caption=False,
            use_resolution_binning=False,
            max_sequence_length=TOKENS[type(pipe).__name__],
        )

    def wording(self, drawings: Sequence[Drawing]) -> dict[str, Any]:
        return {
            "prompt": [drawing.prompt for drawing in drawings],
            "negative_prompt": [drawing.negative for drawing in drawings],
        }
