"""Pictures of one subject side by side: a row per prompt, a column per round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, UnidentifiedImageError

from trainer.config import MAX_SHEET_CELLS
from trainer.errors import MISUSE, TrainerError
from trainer.protocol import SheetRow

CELL = 160
"""Pixels along one side of a picture on the sheet."""
GAP = 8
LABEL_HEIGHT = 20
FONT_SIZE = 13
PAPER = (24, 26, 32)
INK = (215, 220, 228)


def write(out: Path, columns: Sequence[str], rows: Sequence[SheetRow]) -> None:
    """Draws the sheet. Small pictures are enlarged without smoothing, so that their pixels show.

    Raises :class:`TrainerError` when a picture cannot be read or there are too many.
    """
    if not rows or not 1 <= len(columns) * len(rows) <= MAX_SHEET_CELLS:
        raise TrainerError(
            "This sheet cannot be drawn",
            f"{len(rows)} rows of {len(columns)} pictures; 1 to {MAX_SHEET_CELLS} are possible.",
            code=MISUSE,
        )
    row_height = LABEL_HEIGHT + CELL + GAP
    size = (GAP + len(columns) * (CELL + GAP), LABEL_HEIGHT + GAP + len(rows) * row_height)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for at, title in enumerate(columns):
        pen.text((GAP + at * (CELL + GAP), GAP // 2), title, INK, font_size=FONT_SIZE)
    for number, row in enumerate(rows):
        top = LABEL_HEIGHT + GAP + number * row_height
        pen.text((GAP, top), row.label[: size[0] // 8], INK, font_size=FONT_SIZE)
        for at, path in enumerate(row.pictures[: len(columns)]):
            if path:
                place = (GAP + at * (CELL + GAP), top + LABEL_HEIGHT)
                sheet.paste(_fitted(Path(path)), place)
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


def _fitted(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            small = max(picture.size) <= CELL
            method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
            return picture.convert("RGB").resize((CELL, CELL), method)
    except (OSError, UnidentifiedImageError) as error:
        raise TrainerError("A picture cannot be read", f"{path.name}: {error}") from error
