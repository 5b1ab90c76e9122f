"""The layers of Flux.1 and Stable Diffusion 3, from a few numbers each."""

from __future__ import annotations

from trainer.models.base import Shape

Layers = dict[str, Shape]


def flux_layers(width: int = 3072, double: int = 19, single: int = 38) -> Layers:
    """A FluxTransformer2DModel with guidance, as of Flux.1 dev; ``width`` is of its tokens."""
    found: Layers = {
        "x_embedder": (width, 64),
        "context_embedder": (width, 4096),
        "norm_out.linear": (2 * width, width),
        "proj_out": (64, width),
    }
    for name, into in (("timestep", 256), ("guidance", 256), ("text", 768)):
        found[f"time_text_embed.{name}_embedder.linear_1"] = (width, into)
        found[f"time_text_embed.{name}_embedder.linear_2"] = (width, width)
    for number in range(double):
        place = f"transformer_blocks.{number}"
        for side in ("", "_context"):
            found[f"{place}.norm1{side}.linear"] = (6 * width, width)
            found |= _feed_forward(f"{place}.ff{side}", width)
        found |= _square(f"{place}.attn", width, ("to_q", "to_k", "to_v", "to_out.0"))
        found |= _square(
            f"{place}.attn", width, ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")
        )
    for number in range(single):
        place = f"single_transformer_blocks.{number}"
        found[f"{place}.norm.linear"] = (3 * width, width)
        found[f"{place}.proj_mlp"] = (4 * width, width)
        found[f"{place}.proj_out"] = (width, 5 * width)
        found |= _square(f"{place}.attn", width, ("to_q", "to_k", "to_v"))
    return found


def sd3_layers(width: int = 1536, blocks: int = 24) -> Layers:
    """An SD3Transformer2DModel, as of Stable Diffusion 3 medium; ``width`` is of its tokens."""
    found: Layers = {
        "pos_embed.proj": (width, 16, 2, 2),
        "context_embedder": (width, 4096),
        "norm_out.linear": (2 * width, width),
        "proj_out": (64, width),
    }
    for name, into in (("timestep", 256), ("text", 2048)):
        found[f"time_text_embed.{name}_embedder.linear_1"] = (width, into)
        found[f"time_text_embed.{name}_embedder.linear_2"] = (width, width)
    for number in range(blocks):
        place, last = f"transformer_blocks.{number}", number == blocks - 1
        found[f"{place}.norm1.linear"] = (6 * width, width)
        found[f"{place}.norm1_context.linear"] = ((2 if last else 6) * width, width)
        found |= _feed_forward(f"{place}.ff", width)
        found |= _square(f"{place}.attn", width, ("to_q", "to_k", "to_v", "to_out.0"))
        found |= _square(f"{place}.attn", width, ("add_q_proj", "add_k_proj", "add_v_proj"))
        if not last:
            found |= _square(f"{place}.attn", width, ("to_add_out",))
            found |= _feed_forward(f"{place}.ff_context", width)
    return found


def _square(place: str, width: int, names: tuple[str, ...]) -> Layers:
    return {f"{place}.{name}": (width, width) for name in names}


def _feed_forward(place: str, width: int) -> Layers:
    return {f"{place}.net.0.proj": (4 * width, width), f"{place}.net.2": (width, 4 * width)}
