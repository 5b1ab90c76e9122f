"""The pictures of a room by what was asked: one prompt and one seed through all rounds."""

from __future__ import annotations

from dataclasses import dataclass

from fedtui.view import NodeView, PreviewView


@dataclass(frozen=True)
class Recipe:
    """A prompt, its seed, and the pictures it gave, by round."""

    prompt: str
    seed: int
    pictures: tuple[PreviewView, ...]


def recipes(view: NodeView) -> tuple[Recipe, ...]:
    """The previews by prompt and seed, in the order in which they first appeared."""
    found: dict[tuple[str, int], dict[int, PreviewView]] = {}
    for preview in view.previews:
        found.setdefault((preview.prompt, preview.seed), {})[preview.round] = preview
    return tuple(
        Recipe(prompt, seed, tuple(by_round[number] for number in sorted(by_round)))
        for (prompt, seed), by_round in found.items()
    )
