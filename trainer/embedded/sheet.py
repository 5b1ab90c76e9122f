"""Contact sheets for the documentation, from fixed seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from trainer.embedded.assemble import generate
from trainer.embedded.drawing import draw
from trainer.embedded.pictures import as_images
from trainer.embedded.scenes import Scene, sample_scene

SHEET_PROMPTS = (
    "a red house by the sea at night",
    "a boat at sunset under the sun",
    "a blue house in the snow with mountains behind",
    "a cactus in the desert by day under the sun",
    "a pine and a red house in front of hills under a full moon",
    "a tree on a meadow in daylight with clouds",
    "mountains at the sea at sunset",
    "hills in the snow at night with stars",
    "night, crescent_moon, mountain, scenery",
    "day, sun, clouds, hill, grass, tree, scenery",
    "sunset, sun, flat, sea, boat, scenery",
    "night, full_moon, stars, flat, desert, cactus, scenery",
    "day, sun, mountain, snow, pine, scenery",
    "sunset, clouds, hill, grass, red_house, scenery",
    "night, crescent_moon, stars, hill, sea, blue_house, scenery",
    "day, clouds, flat, desert, cactus, blue_house, scenery",
)
ENLARGE = 2
GAP = 4
CAPTION_HEIGHT = 24
PAPER = (24, 26, 32)
INK = (215, 220, 228)


def grid(images: Sequence[Image.Image], columns: int, captions: Sequence[str] = ()) -> Image.Image:
    """Pictures of one size in rows, enlarged without smoothing, each with its caption below."""
    side = images[0].width * ENLARGE
    tall = side + GAP + (CAPTION_HEIGHT if captions else 0)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (side + GAP) + GAP, rows * tall + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for at, image in enumerate(images):
        x, y = GAP + at % columns * (side + GAP), GAP + at // columns * tall
        sheet.paste(image.resize((side, side), Image.Resampling.NEAREST), (x, y))
        if captions:
            pen.multiline_text(
                (x + 1, y + side + 1), wrapped(captions[at], 24), INK, font_size=10, spacing=1
            )
    return sheet


def wrapped(text: str, width: int) -> str:
    """The first two lines of the text, of at most ``width`` letters each."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    if len(lines) > 2:
        lines[1] += " …"
    return "\n".join(lines[:2])


def model_sheet(pipe: StableDiffusionPipeline, path: Path, seed: int = 7) -> None:
    """Two pictures of each prompt, side by side, written to ``path``."""
    prompts = [prompt for prompt in SHEET_PROMPTS for _ in range(2)]
    images = as_images(generate(pipe, prompts, seed))
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images, 8, prompts).save(path, optimize=True)


def style_sheet(path: Path, seed: int = 5) -> None:
    """Eight scenes drawn plain (above) and painterly (below), written to ``path``."""
    rng = Random(seed)
    scenes: list[Scene] = [sample_scene(rng) for _ in range(7)]
    scenes.append(sample_scene(rng, time="night", ground="sea", objects=("lighthouse",)))
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [draw(scene, style) for style in ("plain", "van_gogh") for scene in scenes]
    grid(images, len(scenes)).save(path, optimize=True)
