"""Pictures of the same prompts through the rounds, on one sheet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from fedtui.view import PreviewView
from trainer.protocol import ContactSheet, SheetRow

Pictures = Mapping[tuple[int, str, int], str]
"""Files by round, prompt and seed. Round 0 is the base model."""


def pictures_of(previews: Iterable[PreviewView]) -> Pictures:
    """A node's previews by what they show; of two the newer."""
    return {(p.round, p.prompt, p.seed): p.path for p in previews}


def through_rounds(pictures: Pictures, out: Path) -> ContactSheet:
    """A row per prompt and seed in the order they come, a column per round; where there is no
    picture of a round the sheet stays empty."""
    rounds = sorted({number for number, _, _ in pictures})
    subjects = dict.fromkeys((prompt, seed) for _, prompt, seed in pictures)
    return ContactSheet(
        str(out),
        tuple(f"round {number}" if number else "base model" for number in rounds),
        tuple(
            SheetRow(
                f"{prompt}, seed {seed}",
                tuple(pictures.get((number, prompt, seed), "") for number in rounds),
            )
            for prompt, seed in subjects
        ),
    )
