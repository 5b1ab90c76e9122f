"""Captioned landscapes drawn by code: every picture is known attribute by attribute.

A :class:`Scene` is a handful of independent attributes and a layout number. The same scene
gives the same picture and the same captions on every machine with the same Pillow, so a data
set is a seed and a count. Only ``Random.random`` is used, the one method whose sequence
Python promises to keep between versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

T = TypeVar("T")

Style = Literal["plain", "van_gogh"]

STYLES: tuple[Style, ...] = ("plain", "van_gogh")
TIMES = ("day", "sunset", "night")
CELESTIALS = ("none", "sun", "full_moon", "crescent_moon")
RELIEFS = ("flat", "hill", "mountain")
GROUNDS = ("grass", "sea", "desert", "snow")
BASE_OBJECTS = ("red_house", "blue_house", "boat", "tree", "pine", "cactus")
"""Objects the base model learns."""
HELD_BACK_OBJECTS = ("lighthouse",)
"""Objects that exist only in what a federation trains on; the base never sees them."""
OBJECTS = BASE_OBJECTS + HELD_BACK_OBJECTS

SCENES_VERSION = 1
"""Raise it whenever a scene of a given seed draws or reads differently."""


@dataclass(frozen=True)
class Scene:
    """One landscape: what is in it, and the number from which its places follow."""

    time: str
    celestial: str
    stars: bool
    clouds: bool
    relief: str
    ground: str
    objects: tuple[str, ...]
    layout: int

    def __post_init__(self) -> None:
        """Refuse a scene that cannot be drawn.

        Raises:
            ValueError: an attribute has an unknown value, or two that exclude each other.
        """
        checks = (
            (self.time, TIMES),
            (self.celestial, CELESTIALS),
            (self.relief, RELIEFS),
            (self.ground, GROUNDS),
            *((name, OBJECTS) for name in self.objects),
        )
        for value, allowed in checks:
            if value not in allowed:
                raise ValueError(f"unknown attribute {value!r}; choose from {', '.join(allowed)}")
        if self.time == "night" and self.celestial == "sun":
            raise ValueError("the sun does not shine at night")
        if self.time != "night" and (self.celestial.endswith("moon") or self.stars):
            raise ValueError(f"moon and stars belong to the night, not to {self.time}")
        if "boat" in self.objects and self.ground != "sea":
            raise ValueError("a boat needs the sea")
        if len(self.objects) > 2 or len(set(self.objects)) != len(self.objects):
            raise ValueError("a scene has at most two objects, each once")


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options, uniformly, from a single ``rng.random()``."""
    return options[int(rng.random() * len(options))]


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """The items in random order (sorted by one ``rng.random()`` each)."""
    keyed = [(rng.random(), position) for position in range(len(items))]
    return [items[position] for _, position in sorted(keyed)]


def sample_scene(
    rng: Random,
    *,
    time: str | None = None,
    celestial: str | None = None,
    stars: bool | None = None,
    clouds: bool | None = None,
    relief: str | None = None,
    ground: str | None = None,
    objects: Sequence[str] | None = None,
    pool: Sequence[str] = BASE_OBJECTS,
) -> Scene:
    """A random scene; whatever is given is kept, the rest is drawn independently.

    Args:
        rng: source of randomness, only its ``random`` method is used.
        time, celestial, stars, clouds, relief, ground, objects: fixed attributes.
        pool: objects to choose from; the default never yields a held-back object.

    Raises:
        ValueError: the fixed attributes contradict each other.
    """
    if ground is None:
        ground = "sea" if objects and "boat" in objects else pick(rng, GROUNDS)
    if time is None:
        if stars or (celestial or "").endswith("moon"):
            time = "night"
        else:
            time = pick(rng, TIMES[:2] if celestial == "sun" else TIMES)
    if celestial is None:
        options = ("full_moon", "crescent_moon") if time == "night" else ("sun",)
        celestial = "none" if rng.random() < 0.2 else pick(rng, options)
    if stars is None:
        stars = time == "night" and rng.random() < 0.5
    if clouds is None:
        clouds = rng.random() < 0.4
    if relief is None:
        relief = pick(rng, RELIEFS)
    if objects is None:
        objects = sample_objects(rng, ground, pool)
    layout = int(rng.random() * 2**31)
    return Scene(time, celestial, stars, clouds, relief, ground, tuple(objects), layout)


def sample_objects(rng: Random, ground: str, pool: Sequence[str]) -> tuple[str, ...]:
    """None (10 %), one (55 %) or two (35 %) different objects that fit the ground."""
    fitting = [name for name in pool if name != "boat" or ground == "sea"]
    if ground == "sea" and "boat" in pool:
        fitting += ["boat", "boat"]  # otherwise few boats: only the sea carries them
    u = rng.random()
    count = 0 if u < 0.10 else 1 if u < 0.65 else 2
    order = list(dict.fromkeys(shuffled(rng, fitting)))
    return tuple(order[:count])
