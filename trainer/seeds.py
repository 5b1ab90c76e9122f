"""Randomness as a pure function of where it is used, so that resuming needs no generator state."""

from __future__ import annotations

import hashlib

import torch


def derived(*parts: str | int) -> int:
    """A seed in 0..2**63-1 from names and numbers, for instance (run, round, node, step)."""
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*parts: str | int) -> torch.Generator:
    """A CPU generator, so that every device draws the same numbers."""
    return torch.Generator("cpu").manual_seed(derived(*parts))
