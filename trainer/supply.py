"""A selection encoded: batches of moments, text states and masks for the loop."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from trainer.selection import Selection


@dataclass(frozen=True)
class Batch:
    """``moments`` (B, C or 2C, h, w), ``states`` (B, ...), and ``masks`` (B, 1, h, w) or None.

    A mask is the weight of each latent in the loss; ``texts`` are what the states are of.
    """

    moments: torch.Tensor
    states: torch.Tensor
    masks: torch.Tensor | None
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Supply:
    """Everything that training may meet, in memory or a look away.

    ``moments`` and ``masks`` are by entry and view; ``rows`` says which of ``states`` belongs to a
    text.
    """

    selection: Selection
    moments: tuple[tuple[torch.Tensor, ...], ...]
    masks: tuple[tuple[torch.Tensor | None, ...], ...]
    states: tuple[torch.Tensor, ...]
    rows: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.selection.entries)

    def batch(
        self, size: int, number: int, seed: int, round: int, node: str, kind: str = "order"
    ) -> Batch:
        """A pure function of its arguments; see :meth:`Selection.choices`."""
        choices = self.selection.choices(size, number, seed, round, node, kind)
        moments = torch.stack([self.moments[c.entry][c.view] for c in choices])
        texts = tuple(self.selection.text(choice) for choice in choices)
        states = torch.stack([self.states[self.rows[text]] for text in texts])
        masks = [self.masks[c.entry][c.view] for c in choices]
        return Batch(moments, states, _stacked(masks, moments), texts)

    def shapes(self) -> list[torch.Tensor]:
        """One example (1, C or 2C, h, w) of each size."""
        return list({views[0].shape: views[0][None] for views in self.moments}.values())

    def sha256(self) -> str:
        """Names everything that decides what batches hold, for checkpoints."""
        digest = hashlib.sha256()
        for entry in self.selection.entries:
            views = ";".join(",".join(view.key) for view in entry.views)
            parts = (entry.picture.sha256, views, *entry.wordings, str(entry.repeats))
            digest.update("\0".join(parts).encode() + b"\n")
        for masks in self.masks:
            for mask in masks:
                if mask is not None:
                    digest.update(mask.numpy().tobytes())
        for states in self.states:
            digest.update(states.numpy().tobytes())
        return digest.hexdigest()


def _stacked(masks: list[torch.Tensor | None], moments: torch.Tensor) -> torch.Tensor | None:
    """A picture without a mask counts everywhere."""
    if all(mask is None for mask in masks):
        return None
    whole = torch.ones((1, *moments.shape[-2:]))
    return torch.stack([whole if mask is None else mask for mask in masks])
