"""Captions of scenes: booru-style tags and plain English sentences."""

from __future__ import annotations

from random import Random

from trainer.embedded.scenes import Scene, pick, shuffled

PLACES = {
    "grass": ("on a meadow", "in the grass", "on green grass"),
    "sea": ("by the sea", "at the sea", "on the sea coast"),
    "desert": ("in the desert", "in a sandy desert"),
    "snow": ("in the snow", "in a snowy field"),
}
TIMES_OF_DAY = {
    "day": ("by day", "in daylight", "during the day"),
    "sunset": ("at sunset", "in the evening at sunset"),
    "night": ("at night", "in the night"),
}
BACKDROPS = {
    "flat": ("under a wide flat horizon", "in a flat land"),
    "hill": ("in front of hills", "with hills behind"),
    "mountain": ("in front of mountains", "with mountains behind", "below a mountain"),
}
LIGHTS = {
    "sun": ("under the sun", "with the sun in the sky"),
    "full_moon": ("under a full moon", "with a full moon"),
    "crescent_moon": ("under a crescent moon", "with a crescent moon"),
}
SUBJECTS = {"flat": "a wide flat land", "hill": "hills", "mountain": "mountains"}


def tags(scene: Scene) -> tuple[str, ...]:
    """All tags of a scene, from the sky down, ending in ``scenery``."""
    sky = [scene.time]
    if scene.celestial != "none":
        sky.append(scene.celestial)
    if scene.stars:
        sky.append("stars")
    if scene.clouds:
        sky.append("clouds")
    return (*sky, scene.relief, scene.ground, *scene.objects, "scenery")


def tag_caption(scene: Scene, extra: tuple[str, ...] = ()) -> str:
    """The tags joined by commas, ``extra`` ones (a style, say) in front."""
    return ", ".join((*extra, *tags(scene)))


def sentence(scene: Scene, rng: Random, keep: float = 1.0) -> str:
    """A plain English description; each optional part is kept with probability ``keep``."""

    def kept(options: tuple[str, ...]) -> list[str]:
        chosen = pick(rng, options)
        return [chosen] if rng.random() < keep else []

    if scene.objects:
        subject = " and ".join(f"a {name.replace('_', ' ')}" for name in scene.objects)
        parts = [subject, *kept(PLACES[scene.ground]), *kept(TIMES_OF_DAY[scene.time])]
        parts += kept(BACKDROPS[scene.relief])
    else:
        parts = [SUBJECTS[scene.relief], *kept(PLACES[scene.ground])]
        parts += kept(TIMES_OF_DAY[scene.time])
    sky = kept(LIGHTS[scene.celestial]) if scene.celestial != "none" else []
    if scene.stars:
        sky += kept(("with stars", "and stars"))
    if scene.clouds:
        sky += kept(("with clouds", "and clouds"))
    return " ".join(parts + sky)


def training_caption(scene: Scene, rng: Random) -> str:
    """What the base reads: 60 % tags (a third of them shuffled), 40 % sentences.

    Some tags are left out at times, so that a short prompt also makes sense.
    """
    if rng.random() < 0.4:
        text = sentence(scene, rng, keep=0.9)
        return text if rng.random() < 0.5 else f"{text}, scenery"
    words = list(tags(scene))
    if rng.random() < 0.5:
        words = [word for word in words if rng.random() < 0.85] or ["scenery"]
    return ", ".join(shuffled(rng, words) if rng.random() < 0.33 else words)
