"""Pictures from prompts and seeds, each with its recipe written into the PNG."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from trainer.config import MAX_PICTURES, MAX_RESOLUTION, MAX_SAMPLING_STEPS
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.models.base import Drawing, LoadedModel
from trainer.protocol import Generate

SIDE_STEP = 8
"""Pixels; sides must be multiples of it."""


@dataclass(frozen=True)
class Sheet:
    """All drawings of a request and where each goes."""

    drawings: tuple[Drawing, ...]
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class Provenance:
    """What a picture's metadata says beside its drawing; ``loras`` are (sha256, weight)."""

    model: str
    model_sha256: str
    loras: tuple[tuple[str, float], ...]
    note: str


def planned(request: Generate, resolution: int) -> Sheet:
    """Checks the request before anything is drawn. Raises :class:`TrainerError`."""
    width, height = request.width or resolution, request.height or resolution
    count = len(request.prompts) * len(request.seeds)
    cause = ""
    if not 1 <= count <= MAX_PICTURES:
        cause = f"{count} pictures were asked for; 1 to {MAX_PICTURES} are possible."
    elif not 1 <= request.steps <= MAX_SAMPLING_STEPS:
        cause = f"{request.steps} steps were asked for; 1 to {MAX_SAMPLING_STEPS} are possible."
    elif any(
        side % SIDE_STEP or not SIDE_STEP <= side <= MAX_RESOLUTION for side in (width, height)
    ):
        cause = f"{width} x {height} pixels is not possible."
    elif any(not 0 <= seed < 1 << 63 for seed in request.seeds):
        cause = "A seed is negative or larger than 2^63."
    if cause:
        raise TrainerError(
            "These pictures cannot be drawn",
            cause,
            f"Sides are multiples of {SIDE_STEP} up to {MAX_RESOLUTION}.",
            MISUSE,
        )
    drawings = tuple(
        Drawing(prompt, request.negative, seed, request.steps, request.guidance, width, height)
        for prompt in request.prompts
        for seed in request.seeds
    )
    return Sheet(drawings, tuple(_places(Path(request.out), request)))


def _places(out: Path, request: Generate) -> Iterator[Path]:
    """Where the pictures go: ``out`` itself for one, files beside it or in it for several."""
    is_file = out.suffix.lower() == ".png"
    several = len(request.prompts) > 1
    for number in range(len(request.prompts)):
        for seed in request.seeds:
            if not is_file:
                yield out / f"{number:03d}-{seed}.png"
            elif several:
                yield out.with_name(f"{out.stem}-{number:03d}-{seed}{out.suffix}")
            elif len(request.seeds) > 1:
                yield out.with_name(f"{out.stem}-{seed}{out.suffix}")
            else:
                yield out


def draw_all(
    model: LoadedModel, sheet: Sheet, provenance: Provenance, job: Job
) -> list[dict[str, str | int]]:
    """Draws one picture after the other, so that none depends on its neighbours.

    Reports ``{"step", "steps"}`` over all pictures and announces each finished one.
    """
    finished: list[dict[str, str | int]] = []
    total = sum(drawing.steps for drawing in sheet.drawings)
    before = 0
    for drawing, path in zip(sheet.drawings, sheet.paths, strict=True):

        def on_step(step: int, before: int = before) -> None:
            job.check()
            job.report({"step": before + step, "steps": total})

        job.check()
        save(model.draw(drawing, on_step), path, drawing, provenance, model.sampler)
        entry: dict[str, str | int] = {
            "prompt": drawing.prompt,
            "seed": drawing.seed,
            "path": str(path),
        }
        finished.append(entry)
        job.announce(dict(entry))
        before += drawing.steps
    return finished


def save(image: Image, path: Path, drawing: Drawing, provenance: Provenance, sampler: str) -> None:
    """Writes the PNG, complete or not at all, with ``parameters`` and ``fedtui`` in its header."""
    info = PngInfo()
    info.add_itxt("parameters", parameters_text(drawing, provenance, sampler))
    recipe = asdict(drawing) | asdict(provenance) | {"sampler": sampler}
    info.add_itxt("fedtui", json.dumps(recipe, sort_keys=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(temporary, format="PNG", pnginfo=info)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def parameters_text(drawing: Drawing, provenance: Provenance, sampler: str) -> str:
    """The recipe as A1111 writes it, which most galleries and tools can read."""
    lines = [" ".join(drawing.prompt.split())]
    if drawing.negative:
        lines.append(f"Negative prompt: {' '.join(drawing.negative.split())}")
    settings: Sequence[tuple[str, object]] = (
        ("Steps", drawing.steps),
        ("Sampler", sampler),
        ("CFG scale", drawing.guidance),
        ("Seed", drawing.seed),
        ("Size", f"{drawing.width}x{drawing.height}"),
        ("Model hash", provenance.model_sha256[:10]),
        ("Model", provenance.model),
    )
    lines.append(", ".join(f"{name}: {value}" for name, value in settings))
    return "\n".join(lines)
