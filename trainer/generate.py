"""Pictures from prompts, seeds and adapter weights, each with its recipe written into the PNG."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainer import live_preview, samplers
from trainer.config import (
    MAX_ADAPTER_WEIGHT,
    MAX_ADAPTERS,
    MAX_DRAWN_AT_ONCE,
    MAX_PICTURES,
    MAX_RESOLUTION,
    MAX_SAMPLING_STEPS,
    PREVIEW_INTERVAL,
)
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.live_preview import Look
from trainer.models.base import Drawing, LoadedModel
from trainer.protocol import Generate, Shot
from trainer.provenance import Provenance, save

Weights = tuple[float, ...]


@dataclass(frozen=True)
class Exposure:
    """One picture to draw, the strength of each adapter for it, and where it goes."""

    number: int
    drawing: Drawing
    weights: Weights
    path: Path

    @property
    def manner(self) -> tuple[object, ...]:
        """All that pictures drawn at once must have in common."""
        plain = replace(self.drawing, prompt="", negative="", seed=0)
        return plain, self.weights


def planned(request: Generate, resolution: int, side_step: int = 8) -> tuple[Exposure, ...]:
    """Checks the request before anything is drawn. Raises :class:`TrainerError`.

    Without a size pictures have ``resolution`` pixels a side; sides are multiples of ``side_step``.
    """
    width, height = request.width or resolution, request.height or resolution
    shots = request.shots or _product(request)
    own = tuple(lora.weight for lora in request.loras)
    cause = _impossible(request, shots)
    if any(s % side_step or not side_step <= s <= MAX_RESOLUTION for s in (width, height)):
        cause = f"{width} x {height} pixels is not possible."
    if cause:
        raise TrainerError(
            "These pictures cannot be drawn",
            cause,
            f"Sides are multiples of {side_step} up to {MAX_RESOLUTION}.",
            MISUSE,
        )
    for shot in shots:
        samplers.checked(shot.sampler)
    places = _places(Path(request.out), request, shots)
    return tuple(
        Exposure(
            number,
            Drawing(
                shot.prompt, shot.negative, shot.seed, shot.steps, shot.guidance, width, height,
                shot.sampler,
            ),
            shot.weights or own,
            path,
        )
        for number, (shot, path) in enumerate(zip(shots, places, strict=True))
    )  # fmt: skip


def _product(request: Generate) -> tuple[Shot, ...]:
    return tuple(
        Shot(
            prompt, seed, request.negative, (), request.steps, request.guidance, request.sampler
        )
        for prompt in request.prompts
        for seed in request.seeds
    )  # fmt: skip


def _impossible(request: Generate, shots: Sequence[Shot]) -> str:
    """Why the request makes no sense, or nothing."""
    if not 1 <= len(shots) <= MAX_PICTURES:
        return f"{len(shots)} pictures were asked for; 1 to {MAX_PICTURES} are possible."
    if not 1 <= request.batch <= MAX_DRAWN_AT_ONCE:
        return f"{request.batch} pictures at once; 1 to {MAX_DRAWN_AT_ONCE} are possible."
    if len(request.loras) > MAX_ADAPTERS:
        return f"{len(request.loras)} adapters at once; {MAX_ADAPTERS} are possible."
    for shot in shots:
        if not 1 <= shot.steps <= MAX_SAMPLING_STEPS:
            return f"{shot.steps} steps were asked for; 1 to {MAX_SAMPLING_STEPS} are possible."
        if not 0 <= shot.seed < 1 << 63:
            return "A seed is negative or larger than 2^63."
        if shot.weights and len(shot.weights) != len(request.loras):
            return f"{len(shot.weights)} weights for {len(request.loras)} adapters."
        weights = shot.weights or tuple(lora.weight for lora in request.loras)
        if not all(abs(weight) <= MAX_ADAPTER_WEIGHT for weight in weights):
            return f"An adapter's weight is not within ±{MAX_ADAPTER_WEIGHT:g}."
    return ""


def _places(out: Path, request: Generate, shots: Sequence[Shot]) -> Iterator[Path]:
    """Where the pictures go: ``out`` itself for one, files beside it or in it for several."""
    is_file = out.suffix.lower() == ".png"
    grid = bool(request.shots)
    for number, shot in enumerate(shots):
        name = f"{number if grid else number // len(request.seeds):03d}-{shot.seed}"
        if not is_file:
            yield out / f"{name}.png"
        elif grid or len(request.prompts) > 1:
            yield out if len(shots) == 1 else out.with_name(f"{out.stem}-{name}{out.suffix}")
        elif len(request.seeds) > 1:
            yield out.with_name(f"{out.stem}-{shot.seed}{out.suffix}")
        else:
            yield out


def together(exposures: Sequence[Exposure], batch: int) -> Iterator[tuple[Exposure, ...]]:
    """Pictures that can be drawn at once, at most ``batch`` of them.

    One at a time keeps the order; more are gathered from the whole grid, because along a row of
    weights no two neighbours agree.
    """
    if batch == 1:
        yield from ((exposure,) for exposure in exposures)
        return
    groups: dict[tuple[object, ...], list[Exposure]] = {}
    for exposure in exposures:
        groups.setdefault(exposure.manner, []).append(exposure)
    for group in groups.values():
        for first in range(0, len(group), batch):
            yield tuple(group[first : first + batch])


class Studies:
    """Looks at a picture while it emerges, seldom enough to cost nothing."""

    def __init__(self, model: LoadedModel, place: str) -> None:
        self._look, self._place = Look(model), Path(place) if place else None
        self._last = time.monotonic()

    def look(self, latents: Any, drawing: Drawing) -> dict[str, Any]:
        """The preview's path as a part of a progress message, or nothing if it is not time."""
        if self._place is None or time.monotonic() - self._last < PREVIEW_INTERVAL:
            return {}
        image = self._look.picture(latents[:1], drawing.width * drawing.height)
        live_preview.save(image, self._place)
        self._last = time.monotonic()
        return {"preview": str(self._place)}


def draw_all(
    model: LoadedModel,
    exposures: Sequence[Exposure],
    request: Generate,
    provenance: Provenance,
    weigh: Callable[[Weights], None],
    job: Job,
) -> list[dict[str, str | int]]:
    """Draws and saves everything; ``weigh`` sets the adapters' strengths before each batch.

    With a batch of 1 no picture depends on its neighbours, not even in the last bit.
    """
    finished: list[dict[str, str | int]] = []
    total = sum(exposure.drawing.steps for exposure in exposures)
    studies = Studies(model, request.preview)
    before = 0
    for group in together(exposures, request.batch):
        drawings = [exposure.drawing for exposure in group]

        def watch(
            step: int, latents: Any, before: int = before, group: Sequence[Exposure] = group
        ) -> None:
            job.check()
            look = studies.look(latents, group[0].drawing)
            tell = job.announce if look else job.report
            where = {"picture": group[0].number, "pictures": len(exposures)}
            # Some samplers count a step twice, as PNDM does its first one.
            step = min(step, group[0].drawing.steps)
            tell({"step": before + step * len(group), "steps": total, **where, **look})

        job.check()
        weigh(group[0].weights)
        images = model.draw(drawings, watch)
        for exposure, image in zip(group, images, strict=True):
            save(image, exposure, provenance, model.sampler, request.metadata)
            entry: dict[str, str | int] = {
                "prompt": exposure.drawing.prompt,
                "seed": exposure.drawing.seed,
                "path": str(exposure.path),
                "picture": exposure.number,
            }
            finished.append(entry)
            job.announce(dict(entry))
        before += sum(drawing.steps for drawing in drawings)
    return sorted(finished, key=lambda entry: entry["picture"])
