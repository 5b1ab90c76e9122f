"""Flux.1: a transformer over packed latents, trained as a rectified flow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Drawing, Family

if TYPE_CHECKING:
    import torch

PATCH = 2
"""Latents along one side of what the transformer takes for one token."""
GUIDANCE = 1.0
"""Of the distilled variants while they train, as in diffusers' own scripts."""
RESOLUTION = 1024
TOKENS = 512
"""Of a caption, for the T5."""


class Flux(Family):
    """A CLIP encoder for the pooled state and a T5 for the rest."""

    name = "flux-1"
    pipelines = frozenset({"FluxPipeline"})
    adapted = "transformer"
    networks = ("text_encoder", "text_encoder_2", "transformer", "vae")
    settings = ("scheduler", "tokenizer", "tokenizer_2")
    text_parts = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2")
    architecture = "flux-1-dev"
    base_version = "flux1"
    side_step = 16
    large_text = True

    def resolution(self, folder: Path) -> int:
        """The configuration does not say; all of them were made for 1024."""
        del folder
        return RESOLUTION

    def schedule(self, pipe: Any) -> Any:
        from trainer.models.flow import FlowSchedule

        return FlowSchedule.of(pipe.scheduler)

    def denoiser_channels(self, pipe: Any) -> int:
        return super().denoiser_channels(pipe) // PATCH**2

    def tokens_read(self, pipe: Any, tokenizer: str) -> int:
        return min(TOKENS, super().tokens_read(pipe, tokenizer))

    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """(tokens + 1, width): the pooled state is the last row."""
        from trainer.models.packing import with_pooled

        states, pooled, _ = pipe.encode_prompt(
            caption,
            None,
            device=pipe.device,
            max_sequence_length=self.tokens_read(pipe, "tokenizer_2"),
        )
        return with_pooled(states[0], pooled[0])

    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        from trainer.models.packing import without_pooled

        config = pipe.transformer.config
        batch, channels, height, width = noisy.shape
        states, pooled = without_pooled(states, int(config.pooled_projection_dim))
        output: torch.Tensor = pipe.transformer(
            hidden_states=pipe._pack_latents(noisy, batch, channels, height, width),
            timestep=self.schedule(pipe).sigma(timesteps),
            guidance=noisy.new_full((batch,), GUIDANCE) if config.guidance_embeds else None,
            pooled_projections=pooled,
            encoder_hidden_states=states,
            txt_ids=noisy.new_zeros((states.shape[1], 3)),
            img_ids=pipe._prepare_latent_image_ids(
                batch, height // PATCH, width // PATCH, noisy.device, noisy.dtype
            ),
            return_dict=False,
        )[0]
        factor = pipe.vae_scale_factor
        unpacked: torch.Tensor = pipe._unpack_latents(
            output, height * factor, width * factor, factor
        )
        return unpacked

    def wording(self, drawings: Sequence[Drawing]) -> dict[str, Any]:
        """What to keep out needs a second, undistilled guidance, which Flux was not made for."""
        return {
            "prompt": [drawing.prompt for drawing in drawings],
            "max_sequence_length": TOKENS,
        }

    def spread(self, pipe: Any, latents: torch.Tensor, drawing: Drawing) -> torch.Tensor:
        unpacked: torch.Tensor = pipe._unpack_latents(
            latents, drawing.height, drawing.width, pipe.vae_scale_factor
        )
        return unpacked
