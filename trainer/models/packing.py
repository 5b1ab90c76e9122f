"""One tensor for all that a model knows of a caption, so that it can be kept and batched."""

from __future__ import annotations

import torch
from torch.nn import functional


def with_pooled(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """(tokens, width) and (n,) with n <= width, as (tokens + 1, width)."""
    row = functional.pad(pooled, (0, states.shape[-1] - pooled.shape[-1]))
    return torch.cat([states, row[None]])


def without_pooled(states: torch.Tensor, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The (B, tokens, w) states and (B, width) pooled states of a batch."""
    return states[:, :-1], states[:, -1, :width]


def with_mask(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(tokens, width) and (tokens,) of ones and zeros, as (tokens, width + 1)."""
    return torch.cat([states, mask[:, None].to(states)], dim=1)


def without_mask(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The (B, tokens, width) states and (B, tokens) int64 mask of a batch."""
    return states[..., :-1], states[..., -1].long()
