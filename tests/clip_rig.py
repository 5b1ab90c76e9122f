"""A CLIP of random weights in the true architecture, small, as ``save_pretrained`` writes it."""

from __future__ import annotations

from pathlib import Path

SIDE = 32
WIDTH = 32


def write_clip(folder: Path) -> Path:
    """Both halves, the tokenizer and what prepares pictures."""
    import torch
    from transformers import CLIPConfig, CLIPModel
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    from trainer.embedded.tokens import new_tokenizer

    tokenizer = new_tokenizer()
    half = {
        "initializer_factor": 6.0,  # so that features depend on what is shown
        "hidden_size": WIDTH,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    }
    text = half | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    vision = half | {"image_size": SIDE, "patch_size": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sides = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=sides).save_pretrained(folder)
    return folder
