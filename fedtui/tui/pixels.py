"""Pictures as character cells: two pixels per cell with half blocks, four with quadrants.

A quadrant cell shows four pixels with two colours. The pixels are parted at the middle of the
colour channel in which they differ most, and each part takes its mean colour: straighter edges than
half blocks for the same number of cells, and no numpy. With only 256 colours a mean is no longer in
the palette, so there half blocks are used, after Floyd-Steinberg dithering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from fedtui.tui.limits import PICTURE_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

Mode = Literal["quadrant", "half", "dithered", "shades"]
RGB: TypeAlias = tuple[int, int, int]
Cell: TypeAlias = tuple[str, RGB, RGB]
"""A character, its ink and its paper."""

QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""By bits: 1 upper left, 2 upper right, 4 lower left, 8 lower right."""
MEMBERS = tuple(tuple(bits >> i & 1 for i in range(4)) for bits in range(16))
"""Which of the four pixels are ink, by bits."""
UPPER_HALF = "▀"
SHADES = " .:-=+*#%@"
"""From dark to bright."""
FLAT = 8
"""A cell whose channels differ by no more than this is painted in one colour."""


class PictureError(Exception):
    """A file that cannot be shown; the text is a reason for a person."""


@dataclass(frozen=True)
class Box:
    """Room for a picture, in cells. A cell is taken to be twice as high as wide."""

    columns: int
    rows: int

    def fitted(self, width: int, height: int) -> Box:
        """The largest box in this one with the aspect of ``width`` x ``height`` pixels."""
        scale = min(self.columns / width, self.rows * 2 / height)
        return Box(max(1, round(width * scale)), max(1, round(height * scale / 2)))


def load(path: Path, background: RGB) -> Image:
    """Decodes a file and flattens its transparency onto ``background``.

    Raises:
        PictureError: it is missing, broken, no picture, or too large.
    """
    from PIL import Image, UnidentifiedImageError  # 30 ms that the first paint need not wait for

    try:
        with Image.open(path, formats=("PNG", "WEBP", "JPEG")) as image:
            if image.width * image.height > PICTURE_PIXELS:
                raise PictureError("the picture is too large")
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                ground = Image.new("RGBA", image.size, (*background, 255))
                return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
            return image.convert("RGB")
    except FileNotFoundError:
        raise PictureError("the file is missing") from None
    except UnidentifiedImageError:
        raise PictureError("the file is not a picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"the file cannot be read: {error}") from error


def render(image: Image, box: Box, mode: Mode) -> list[list[Cell]]:
    """An RGB picture as rows of cells, as large as fits into ``box`` with its aspect kept."""
    from PIL import Image as pillow

    fit = box.fitted(image.width, image.height)
    across = 2 * fit.columns if mode == "quadrant" else fit.columns
    # Bicubic: Lanczos rings along the hard edges of small pictures when they are enlarged.
    small = image.resize((across, 2 * fit.rows), pillow.Resampling.BICUBIC)
    if mode == "dithered":
        small = dither(small)
    if mode == "shades":
        return shades(image.resize((fit.columns, fit.rows), pillow.Resampling.BICUBIC))
    return quadrants(small) if mode == "quadrant" else halves(small)


def dither(image: Image) -> Image:
    """The picture in the 240 fixed colours of a 256-colour terminal."""
    from PIL import Image as pillow

    levels = (0, 95, 135, 175, 215, 255)
    cube = [(r, g, b) for r in levels for g in levels for b in levels]
    colours = cube + [(8 + 10 * i,) * 3 for i in range(24)]
    palette = pillow.new("P", (1, 1))
    palette.putpalette([value for colour in colours for value in colour])
    return image.quantize(palette=palette, dither=pillow.Dither.FLOYDSTEINBERG).convert("RGB")


def halves(image: Image) -> list[list[Cell]]:
    """Two pixels per cell, the upper one as ink."""
    width = image.width
    data = image.tobytes()
    pixels = list(zip(data[0::3], data[1::3], data[2::3], strict=True))
    return [
        [
            (UPPER_HALF, upper, lower)
            for upper, lower in zip(
                pixels[y * width : (y + 1) * width],
                pixels[(y + 1) * width : (y + 2) * width],
                strict=True,
            )
        ]
        for y in range(0, image.height, 2)
    ]


def shades(image: Image) -> list[list[Cell]]:
    """One pixel per cell, a letter of its brightness in its colour: for ASCII terminals."""
    data, width = image.tobytes(), image.width
    rows = []
    for y in range(image.height):
        row: list[Cell] = []
        for x in range(width):
            i = 3 * (y * width + x)
            colour = (data[i], data[i + 1], data[i + 2])
            bright = (299 * colour[0] + 587 * colour[1] + 114 * colour[2]) // 1000
            row.append((SHADES[bright * len(SHADES) // 256], colour, (0, 0, 0)))
        rows.append(row)
    return rows


def quadrants(image: Image) -> list[list[Cell]]:
    """Four pixels per cell in two colours."""
    width = image.width
    data = image.tobytes()
    pixels = list(zip(data[0::3], data[1::3], data[2::3], strict=True))
    rows = []
    for y in range(0, image.height, 2):
        upper = pixels[y * width : (y + 1) * width]
        lower = pixels[(y + 1) * width : (y + 2) * width]
        quads = zip(upper[0::2], upper[1::2], lower[0::2], lower[1::2], strict=True)
        rows.append([quadrant(quad) for quad in quads])
    return rows


def quadrant(quad: tuple[RGB, RGB, RGB, RGB]) -> Cell:
    """Four pixels (upper left, upper right, lower left, lower right) as one cell."""
    # Written out: it runs for every cell, and generators over four items took three times as long.
    (r0, g0, b0), (r1, g1, b1), (r2, g2, b2), (r3, g3, b3) = quad
    red_low, red_high = min(r0, r1, r2, r3), max(r0, r1, r2, r3)
    green_low, green_high = min(g0, g1, g2, g3), max(g0, g1, g2, g3)
    blue_low, blue_high = min(b0, b1, b2, b3), max(b0, b1, b2, b3)
    red, green, blue = red_high - red_low, green_high - green_low, blue_high - blue_low
    if red <= FLAT and green <= FLAT and blue <= FLAT:
        colour = mean(quad)
        return " ", colour, colour
    if green >= red and green >= blue:
        middle = (green_low + green_high) / 2
        bits = (g0 > middle) | (g1 > middle) << 1 | (g2 > middle) << 2 | (g3 > middle) << 3
    elif red >= blue:
        middle = (red_low + red_high) / 2
        bits = (r0 > middle) | (r1 > middle) << 1 | (r2 > middle) << 2 | (r3 > middle) << 3
    else:
        middle = (blue_low + blue_high) / 2
        bits = (b0 > middle) | (b1 > middle) << 1 | (b2 > middle) << 2 | (b3 > middle) << 3
    ink = mean([pixel for pixel, here in zip(quad, MEMBERS[bits], strict=True) if here])
    paper = mean([pixel for pixel, here in zip(quad, MEMBERS[bits], strict=True) if not here])
    return QUADRANTS[bits], ink, paper


def mean(pixels: Sequence[RGB]) -> RGB:
    """The mean colour."""
    n = len(pixels)
    if n == 1:
        return pixels[0]
    red = green = blue = 0
    for r, g, b in pixels:
        red += r
        green += g
        blue += b
    return red // n, green // n, blue // n
