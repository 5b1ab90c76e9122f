"""Pictures of one subject side by side: a row per prompt, a column per round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from trainer.config import MAX_PIXELS, MAX_SHEET_CELLS
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
    pictures = [(row.label, [_opened(p) for p in row.pictures[: len(columns)]]) for row in rows]
    save(out, columns, pictures)


def save(
    out: Path, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Image.Image | None]]]
) -> None:
    """Draws labelled rows of pictures, or of free places, below titled columns."""
    row_height = LABEL_HEIGHT + CELL + GAP
    size = (GAP + len(columns) * (CELL + GAP), LABEL_HEIGHT + GAP + len(rows) * row_height)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for at, title in enumerate(columns):
        pen.text((GAP + at * (CELL + GAP), GAP // 2), title, INK, font_size=FONT_SIZE)
    for number, (label, pictures) in enumerate(rows):
        top = LABEL_HEIGHT + GAP + number * row_height
        pen.text((GAP, top), label[: size[0] // 8], INK, font_size=FONT_SIZE)
        for at, picture in enumerate(pictures):
            if picture is not None:
                fitted = _fitted(picture)
                left = GAP + at * (CELL + GAP) + (CELL - fitted.width) // 2
                sheet.paste(fitted, (left, top + LABEL_HEIGHT + (CELL - fitted.height) // 2))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, optimize=True)


def _fitted(picture: Image.Image) -> Image.Image:
    small = max(picture.size) <= CELL
    method = Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS
    return ImageOps.contain(picture, (CELL, CELL), method)


def _opened(name: str) -> Image.Image | None:
    """A small copy, so that a large sheet does not hold all pictures at full size."""
    if not name:
        return None
    try:
        with Image.open(name) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"it has more than {MAX_PIXELS // 1_000_000} million pixels")
            return _fitted(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainerError("A picture cannot be read", f"{Path(name).name}: {error}") from error
