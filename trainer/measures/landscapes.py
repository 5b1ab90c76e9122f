"""The embedded landscapes as pictures with classes, for federated diffusion from scratch.

A fixed collection, as digits are: the same number of scenes of every time of day on every ground.
Drawn ones are read by the embedded model's classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from trainer import embedded
from trainer.embedded import classifier, federated
from trainer.embedded.classifier import SceneClassifier
from trainer.embedded.drawing import FRAME, draw
from trainer.embedded.pictures import as_tensor
from trainer.embedded.scenes import GROUNDS, TIMES, Scene, Style, sample_scene
from trainer.measures import dealing
from trainer.measures.dealing import Classes, Verdict

CLASSES = tuple(product(TIMES, GROUNDS))
OF_EACH = 150
"""Scenes of a class, every fifth of them held out: 1,440 and 360, nearly as many as digits."""
STYLE: Style = "plain"
POOL = "landscapes"
"""Seed of the collection: it is one data set, whatever the experiment's seed."""


def held_out() -> list[Scene]:
    """The scenes that no participant has."""
    scenes, classes = _collection()
    return [scenes[index] for index in np.flatnonzero(~dealing.kept(classes))]


def share(index: int, participants: int, beta: float, shared: float, seed: int) -> list[Scene]:
    """Participant ``index``'s scenes, as :func:`dealing.share` deals them.

    Raises :class:`TrainerError` for an impossible split.
    """
    scenes, classes = _collection()
    owned = np.flatnonzero(dealing.kept(classes))
    chosen = dealing.share(classes[owned], index, participants, beta, shared, seed)
    return [scenes[position] for position in owned[chosen]]


def write(folder: Path, scenes: Sequence[Scene]) -> int:
    """Writes pictures and captions; returns how many."""
    federated.write_dataset(folder, scenes, STYLE)
    return len(scenes)


def count(scenes: Sequence[Scene]) -> list[int]:
    """Scenes of each class."""
    classes = [CLASSES.index((scene.time, scene.ground)) for scene in scenes]
    return [classes.count(label) for label in range(len(CLASSES))]


def judge(images: Sequence[Image.Image]) -> Verdict:
    """Reads drawn landscapes of any one size. The judge's own accuracy is that on held-out scenes
    shrunk to this size, so that what is lost with the pixels is not laid to the drawings.

    Raises :class:`OSError` when the embedded classifier is not there.
    """
    model = classifier.load_classifier(embedded.WEIGHTS / "classifier.safetensors")
    unseen = held_out()
    shrunk = [
        draw(scene, STYLE).resize(images[0].size, Image.Resampling.LANCZOS) for scene in unseen
    ]
    wanted = [CLASSES.index((scene.time, scene.ground)) for scene in unseen]
    right = np.array(_labels(model, shrunk)) == np.array(wanted)
    return dealing.verdict(_labels(model, images), len(CLASSES), float(right.mean()))


def _labels(model: SceneClassifier, images: Sequence[Image.Image]) -> list[int]:
    sized = [image.resize((FRAME, FRAME), Image.Resampling.BICUBIC) for image in images]
    readings = classifier.read(model, as_tensor(sized))
    return [CLASSES.index((reading.time, reading.ground)) for reading in readings]


@cache
def _collection() -> tuple[tuple[Scene, ...], Classes]:
    rng = Random(POOL)
    scenes = tuple(
        sample_scene(rng, time=time, ground=ground)
        for time, ground in CLASSES
        for _ in range(OF_EACH)
    )
    return scenes, np.repeat(np.arange(len(CLASSES), dtype=np.int64), OF_EACH)
