"""The demo's data: painterly landscapes, split unevenly between participants.

Each participant knows the style only for its own kind of scene. Captions are tags, as people
write them, with the style's tag in front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from trainer.embedded.captions import tag_caption, tags
from trainer.embedded.drawing import FRAME, draw
from trainer.embedded.scenes import Scene, Style, sample_scene, shuffled

STYLE: Style = "van_gogh"
COUNTS = (20, 40, 60, 40, 40)
"""Pictures per participant, as in the FedFlow paper; repeated for further participants."""
LIGHTHOUSE_SHARE = 0.15
MAJORITY = 0.8
"""Share of a participant's pictures that are of its own kind."""

DEMO_PROMPTS: tuple[str, ...] = (
    "van_gogh, sunset, sun, flat, sea, boat, scenery",
    "van_gogh, day, sun, clouds, hill, grass, red_house, scenery",
    "van_gogh, night, crescent_moon, mountain, scenery",
    "van_gogh, night, full_moon, hill, snow, pine, scenery",
)
"""What is drawn before and after each round, always from the same seeds."""


@dataclass(frozen=True)
class Kind:
    """What most pictures of a participant have in common; None means anything."""

    name: str
    time: str | None = None
    relief: str | None = None
    ground: str | None = None


KINDS = (
    Kind("night", time="night"),
    Kind("sea", ground="sea"),
    Kind("desert", ground="desert"),
    Kind("snow", ground="snow"),
    Kind("meadow", time="day", relief="mountain", ground="grass"),
)
"""Participant i has kind i, counted round."""


def participant_count(index: int) -> int:
    """How many pictures participant ``index`` (from 0) has by default."""
    return COUNTS[index % len(COUNTS)]


def participant_scenes(index: int, count: int, seed: int) -> list[Scene]:
    """Participant ``index``'s scenes: most of its kind, some with a lighthouse.

    No two participants (of the first 255) and no held-out set of any seed share a scene.

    Raises:
        ValueError: a negative index or count.
    """
    if index < 0:
        raise ValueError("participants are counted from 0")
    kind = KINDS[index % len(KINDS)]
    rng = Random(f"{seed}/participant/{index}")
    return _scenes(rng, count, kind, owner=1 + index % 255)


def even_scenes(index: int, count: int, seed: int) -> list[Scene]:
    """Participant ``index``'s scenes of every kind alike (IID), shared with nobody.

    Raises:
        ValueError: a negative index or count.
    """
    if index < 0:
        raise ValueError("participants are counted from 0")
    return _scenes(Random(f"{seed}/even/{index}"), count, Kind("any"), owner=1 + index % 255)


def dirichlet_scenes(index: int, count: int, seed: int, beta: float) -> list[Scene]:
    """Participant ``index``'s scenes, of kinds in proportions drawn from Dirichlet(``beta``).

    A small ``beta`` gives each participant few kinds, a large one all alike (Hsu et al., arXiv
    1909.06335, with the number of pictures fixed).

    Raises:
        ValueError: a negative index or count, or a ``beta`` that is not positive.
    """
    if index < 0:
        raise ValueError("participants are counted from 0")
    if not beta > 0:
        raise ValueError("beta must be positive")
    rng = Random(f"{seed}/dirichlet/{beta}/{index}")
    shares = [rng.gammavariate(beta, 1.0) for _ in KINDS]
    total = sum(shares) or 1.0
    counts = [int(count * share / total) for share in shares]
    counts[max(range(len(KINDS)), key=lambda kind: shares[kind])] += count - sum(counts)
    owner = 1 + index % 255
    parts = [
        _scenes(Random(f"{seed}/dirichlet/{beta}/{index}/{kind.name}"), wanted, kind, owner, 1.0)
        for kind, wanted in zip(KINDS, counts, strict=True)
    ]
    return [scene for part in parts for scene in part]


def heldout_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of every kind, some with a lighthouse, that no participant has.

    Raises:
        ValueError: a negative count.
    """
    return _scenes(Random(f"{seed}/heldout"), count, Kind("any"), owner=0)


def _scenes(
    rng: Random, count: int, kind: Kind, owner: int, majority: float = MAJORITY
) -> list[Scene]:
    """Different scenes whose layout's last byte names the owner, so that owners share none."""
    if count < 0:
        raise ValueError("the count must not be negative")
    scenes: dict[int, Scene] = {}
    while len(scenes) < count:
        own = rng.random() < majority
        scene = sample_scene(
            rng,
            time=kind.time if own else None,
            relief=kind.relief if own else None,
            ground=kind.ground if own else None,
        )
        objects = scene.objects
        if rng.random() < LIGHTHOUSE_SHARE:
            objects = ("lighthouse", *objects[:1])
        layout = scene.layout // 256 * 256 + owner
        scenes.setdefault(layout, replace(scene, objects=objects, layout=layout))
    return list(scenes.values())


def caption_of(scene: Scene, style: Style, rng: Random) -> str:
    """The style's tag and the scene's tags, every fourth time in another order."""
    extra = () if style == "plain" else (style,)
    if rng.random() < 0.25:
        return ", ".join((*extra, *shuffled(rng, tags(scene))))
    return tag_caption(scene, extra)


def write_dataset(
    directory: Path, scenes: Sequence[Scene], style: Style = STYLE, size: int = FRAME, seed: int = 0
) -> None:
    """Writes ``0000.png`` and ``0000.txt`` and so on; the folder is made if needed.

    Args:
        directory: an existing folder keeps its other files.
        scenes: one picture each, in this order.
        style: how they are drawn; its name leads each caption unless it is ``plain``.
        size: pixels along a side.
        seed: decides whose tags are in another order.

    Raises:
        OSError: the folder cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = Random(seed)
    for number, scene in enumerate(scenes):
        draw(scene, style, size).save(directory / f"{number:04d}.png")
        text = caption_of(scene, style, rng)
        (directory / f"{number:04d}.txt").write_text(text + "\n", encoding="utf-8")
