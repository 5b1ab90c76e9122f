"""What training will see, before it does: the first batches on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

from trainer import contact_sheet, dataset, models
from trainer.config import MAX_SHEET_CELLS
from trainer.errors import MISUSE, TrainerError
from trainer.job import Job
from trainer.protocol import PreviewData
from trainer.selection import Choice, Selection


def draw(request: PreviewData, job: Job) -> dict[str, Any]:
    """Serves :class:`PreviewData`. Raises :class:`TrainerError`."""
    if request.batch < 1 or not 1 <= request.batch * request.batches <= MAX_SHEET_CELLS:
        raise TrainerError(
            "These batches cannot be drawn",
            f"{request.batches} batches of {request.batch}; up to {MAX_SHEET_CELLS} pictures are "
            "possible.",
            code=MISUSE,
        )
    resolution, side_step = models.sides(request.model, request.resolution)
    contents = dataset.scan(Path(request.folder), job, resolution, request.options)
    contents.require_pictures()
    selection = Selection.of(contents, request.options, resolution, side_step)
    rows, listed = [], []
    for number in range(request.batches):
        job.check()
        place = (request.seed, request.round, request.node)
        choices = selection.choices(request.batch, number, *place)
        images = [_shown(selection, choice) for choice in choices]
        width, height = images[0].size
        rows.append((f"step {number + 1}, {width} x {height} pixels", images))
        listed.append([_listed(selection, choice) for choice in choices])
    out = Path(request.out)
    contact_sheet.save(out, [""] * request.batch, rows)
    return {"path": str(out), "batches": listed}


def _shown(selection: Selection, choice: Choice) -> Image.Image:
    """The view, darkened where its mask takes it out of the loss."""
    entry = selection.entries[choice.entry]
    image = selection.image(choice)
    mask = dataset.load_mask(entry.picture, selection.folder, selection.options)
    if mask is None:
        return image
    least = selection.options.unmasked
    weights = entry.views[choice.view].of(mask).point(lambda v: least * 255 + (1 - least) * v)
    return ImageChops.multiply(image, Image.merge("RGB", [weights] * 3))


def _listed(selection: Selection, choice: Choice) -> dict[str, Any]:
    entry = selection.entries[choice.entry]
    width, height = entry.size
    return {
        "file": entry.picture.file,
        "caption": selection.text(choice),
        "size": f"{width}x{height}",
        "mirrored": entry.views[choice.view].mirrored,
    }
