"""Requests about sets of pictures; each is described in :mod:`trainer.protocol`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from trainer.arithmetic import HELD_OUT, Handler, Result, written
from trainer.config import MAX_FILES
from trainer.errors import NO_USABLE, TrainerError
from trainer.job import Job
from trainer.measures import attacks, digits, distances, extractors, scenes
from trainer.protocol import (
    DigitData,
    JudgeDigits,
    JudgeScenes,
    MeasureSet,
    NewModel,
    PoisonData,
    Request,
    Tamper,
)

SUFFIXES = (".png", ".jpg", ".jpeg")


def measure_set(request: MeasureSet, job: Job) -> Result:
    extractor = extractors.load(request.extractor)
    pictures = extractor.of(_pictures(Path(request.folder), job))
    reference = extractor.of(_pictures(Path(request.reference), job))
    count = min(len(pictures), len(reference))
    return {
        "kid": asdict(
            distances.kernel_distance(pictures, reference, request.resamples, request.seed)
        ),
        "frechet": {
            "name": extractor.distance,
            "value": distances.frechet_distance(pictures, reference),
            "biased": count < distances.UNBIASED_FROM,
        },
        **asdict(distances.manifold(pictures, reference)),
        "pictures": len(pictures),
        "reference": len(reference),
        "extractor": extractor.described(),
    }


def tamper(request: Tamper, job: Job) -> Result:
    job.check()
    return written(
        attacks.tamper(
            request.attack,
            Path(request.path),
            Path(request.previous),
            Path(request.out),
            request.factor,
            request.seed,
        )
    )


def poison_data(request: PoisonData, job: Job) -> Result:
    made = attacks.poison(
        Path(request.source), Path(request.folder), request.word, job, beside=request.beside
    )
    return {"written": made}


def digit_data(request: DigitData, job: Job) -> Result:
    job.check()
    if request.participant == HELD_OUT:
        chosen = digits.held_out()
    else:
        chosen = digits.share(
            request.participant, request.participants, request.beta, request.shared, request.seed
        )
    written_ = digits.write(Path(request.folder), chosen)
    counts = [int((chosen.classes == label).sum()) for label in range(digits.CLASSES)]
    return {"written": written_, "classes": counts}


def judge_digits(request: JudgeDigits, job: Job) -> Result:
    return asdict(digits.judge(_pictures(Path(request.folder), job)))


def new_model(request: NewModel, job: Job) -> Result:
    from trainer.models import fresh

    job.check()
    return {
        "parameters": fresh.write_unconditional(Path(request.folder), request.side, request.seed)
    }


def judge_scenes(request: JudgeScenes, job: Job) -> Result:
    job.check()
    images = [_opened(Path(each.path)) for each in request.pictures]
    try:
        return asdict(
            scenes.judge(images, [each.prompt for each in request.pictures], request.seed)
        )
    except OSError as error:
        raise TrainerError(
            "The pictures cannot be judged", f"{error}.", "Install fedtui again.", NO_USABLE
        ) from error


def _pictures(folder: Path, job: Job) -> list[Image.Image]:
    """Every picture of a folder, sorted by name. Raises :class:`TrainerError`."""
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not distances.NEIGHBOURS < len(paths) <= MAX_FILES:
        raise TrainerError(
            "These pictures cannot be compared",
            f"{folder} has {len(paths)} pictures.",
            f"A folder needs {distances.NEIGHBOURS + 1} to {MAX_FILES} PNG or JPEG files.",
            NO_USABLE,
        )
    images = []
    for path in paths:
        job.check()
        images.append(_opened(path))
    return images


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=("PNG", "JPEG")).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise TrainerError(
            "A picture cannot be read", f"{path}: {error}.", "Remove or replace it.", NO_USABLE
        ) from error


HANDLERS: Mapping[type[Request], Handler] = {
    MeasureSet: measure_set,
    JudgeScenes: judge_scenes,
    DigitData: digit_data,
    JudgeDigits: judge_digits,
    NewModel: new_model,
    Tamper: tamper,
    PoisonData: poison_data,
}
"""What the full role adds to the studio's requests."""
