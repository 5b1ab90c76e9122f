"""Stable Diffusion 3 and 3.5: a transformer trained as a rectified flow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.models.base import Family, latent_side

if TYPE_CHECKING:
    import torch


TOKENS = 256
"""Of a caption, for the T5."""


class StableDiffusion3(Family):
    """Two CLIP encoders and a T5, which may be left out to save memory."""

    name = "stable-diffusion-3"
    pipelines = frozenset({"StableDiffusion3Pipeline"})
    adapted = "transformer"
    networks = ("text_encoder", "text_encoder_2", "text_encoder_3", "transformer", "vae")
    settings = ("scheduler", "tokenizer", "tokenizer_2", "tokenizer_3")
    text_parts = (
        "tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2", "tokenizer_3",
        "text_encoder_3",
    )  # fmt: skip
    architecture = "stable-diffusion-3"
    base_version = "sd3"
    tables = frozenset({"pos_embed.pos_embed"})
    side_step = 16
    large_text = True

    def resolution(self, folder: Path) -> int:
        return latent_side(folder, self.adapted)

    def schedule(self, pipe: Any) -> Any:
        from trainer.models.flow import FlowSchedule

        return FlowSchedule.of(pipe.scheduler)

    def tokens_read(self, pipe: Any, tokenizer: str) -> int:
        return TOKENS if tokenizer == "tokenizer_3" else super().tokens_read(pipe, tokenizer)

    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """(tokens + 1, width): the pooled state is the last row."""
        from trainer.models.packing import with_pooled

        states, _, pooled, _ = pipe.encode_prompt(
            caption,
            None,
            None,
            device=pipe.device,
            do_classifier_free_guidance=False,
            max_sequence_length=TOKENS,
        )
        return with_pooled(states[0], pooled[0])

    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        from trainer.models.packing import without_pooled

        width = int(pipe.transformer.config.pooled_projection_dim)
        states, pooled = without_pooled(states, width)
        output: torch.Tensor = pipe.transformer(
            hidden_states=noisy,
            timestep=self._time(pipe, timesteps),
            encoder_hidden_states=states,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        return output

    def _time(self, pipe: Any, timesteps: torch.Tensor) -> torch.Tensor:
        """σ in thousandths, which is what the transformer calls its timestep."""
        schedule = self.schedule(pipe)
        time: torch.Tensor = schedule.sigma(timesteps) * schedule.config.num_train_timesteps
        return time
