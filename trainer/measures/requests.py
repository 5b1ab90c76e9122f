"""Requests about sets of pictures; each is described in :mod:`trainer.protocol`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from PIL import Image

from trainer import whole_file
from trainer.arithmetic import HELD_OUT, Handler, Result, written
from trainer.errors import NO_USABLE, TrainerError
from trainer.job import Job
from trainer.measures import (
    attacks,
    digits,
    distances,
    extractors,
    landscapes,
    picture_files,
    scenes,
)
from trainer.protocol import (
    DigitData,
    GatherPictures,
    GraftWhole,
    JudgeDigits,
    JudgeLandscapes,
    JudgeScenes,
    LandscapeData,
    MeasureClip,
    MeasureSet,
    NewModel,
    PoisonData,
    Request,
    Tamper,
)


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


def measure_clip(request: MeasureClip, job: Job) -> Result:
    from trainer.measures import clip_score

    clip = clip_score.load(request.clip, job)
    scores = clip_score.score(clip, Path(request.folder), request.resamples, request.seed, job)
    return asdict(scores) | {"clip": clip.described()}


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


def landscape_data(request: LandscapeData, job: Job) -> Result:
    job.check()
    if request.participant == HELD_OUT:
        chosen = landscapes.held_out()
    else:
        chosen = landscapes.share(
            request.participant, request.participants, request.beta, request.shared, request.seed
        )
    written_ = landscapes.write(Path(request.folder), chosen)
    return {"written": written_, "classes": landscapes.count(chosen)}


def judge_landscapes(request: JudgeLandscapes, job: Job) -> Result:
    return asdict(landscapes.judge(_pictures(Path(request.folder), job)))


def gather_pictures(request: GatherPictures, job: Job) -> Result:
    out, count = Path(request.folder), 0
    out.mkdir(parents=True, exist_ok=True)
    for number, folder in enumerate(request.folders):
        for path in sorted(Path(folder).glob("*.png")):
            job.check()
            shutil.copyfile(path, out / f"{number:02d}-{path.name}")
            count += 1
    return {"written": count}


def graft_whole(request: GraftWhole, job: Job) -> Result:
    job.check()
    grafted, file = whole_file.graft(
        Path(request.path), Path(request.scion), request.words, Path(request.out)
    )
    return written(file) | {"grafted": grafted}


def new_model(request: NewModel, job: Job) -> Result:
    from trainer.models import fresh

    job.check()
    return {
        "parameters": fresh.write_unconditional(Path(request.folder), request.side, request.seed)
    }


def judge_scenes(request: JudgeScenes, job: Job) -> Result:
    job.check()
    paths = [Path(each.path) for each in request.pictures]
    images = [picture_files.opened(path) for path in paths]
    known = picture_files.captions(paths)
    prompts = [each.prompt or text for each, text in zip(request.pictures, known, strict=True)]
    try:
        return asdict(scenes.judge(images, prompts, request.seed))
    except OSError as error:
        raise TrainerError(
            "The pictures cannot be judged", f"{error}.", "Install fedtui again.", NO_USABLE
        ) from error


def _pictures(folder: Path, job: Job) -> list[Image.Image]:
    images = []
    for path in picture_files.listed(folder, distances.NEIGHBOURS + 1):
        job.check()
        images.append(picture_files.opened(path))
    return images


HANDLERS: Mapping[type[Request], Handler] = {
    MeasureSet: measure_set,
    MeasureClip: measure_clip,
    JudgeScenes: judge_scenes,
    DigitData: digit_data,
    JudgeDigits: judge_digits,
    LandscapeData: landscape_data,
    JudgeLandscapes: judge_landscapes,
    GatherPictures: gather_pictures,
    GraftWhole: graft_whole,
    NewModel: new_model,
    Tamper: tamper,
    PoisonData: poison_data,
}
"""What the full role adds to the studio's requests."""
