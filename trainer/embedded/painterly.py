"""The ``van_gogh`` style: curved brush strokes that follow shapes, and skies that swirl.

The plain picture is the drawing underneath. Strokes take its colour, run along its edges
where it has some and along whirls around the moon elsewhere, and shift hue and light from
one to the next, so that the paint itself becomes visible.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb, rgb_to_hsv
from math import atan2, cos, exp, hypot, pi, sin
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from trainer.embedded.drawing import (
    FRAME,
    SUPERSAMPLE,
    Colour,
    celestial_place,
    draw_plain,
    horizon_of,
)
from trainer.embedded.scenes import Scene

EDGE = 9.0
"""Luminance step per pixel (of 255) above which strokes follow the edge."""
BRUSHES = ((5.0, 16.0, 5.2), (4.6, 13.0, 3.6))
"""Distance between strokes, their length and width, in frame units: broad ones first.

Finer ones than about 3 units vanish in an autoencoder that shrinks pictures four times.
"""
FOREIGN = 60
"""A stroke ends where the drawing underneath differs by more (sum of three channels)."""


class Flow:
    """The direction of the brush at each place of the 64 x 64 frame."""

    def __init__(self, scene: Scene, grey: Image.Image) -> None:
        rng = Random(scene.layout ^ 0x7A)
        self.grey = grey.tobytes()
        self.horizon = horizon_of(scene)
        self.light = celestial_place(scene)
        self.phase = 2 * pi * rng.random()
        whirls = [(self.light, 15.0)] if scene.celestial != "none" else []
        whirls += [((8 + 48 * rng.random(), 6 + 22 * rng.random()), 11.0) for _ in range(2)]
        self.whirls = whirls

    def gradient(self, x: float, y: float) -> tuple[float, float]:
        """Luminance change per pixel to the right and down."""
        column, row = min(62, max(1, int(x))), min(62, max(1, int(y)))
        at = row * FRAME + column
        across = self.grey[at + 1] - self.grey[at - 1]
        down = self.grey[at + FRAME] - self.grey[at - FRAME]
        return across / 2, down / 2

    def angle(self, x: float, y: float) -> float:
        """Radians."""
        gx, gy = self.gradient(x, y)
        if hypot(gx, gy) > EDGE:
            return atan2(gx, -gy)
        if y > self.horizon:
            return 0.5 * sin(x / 7 + y / 5 + self.phase)
        u, v = 1.0, 0.6 * sin(x / 8 + self.phase)
        for index, ((cx, cy), reach) in enumerate(self.whirls):
            dx, dy = x - cx, y - cy
            pull = 4.0 * exp(-(dx * dx + dy * dy) / (reach * reach))
            turn = pull / max(1.0, hypot(dx, dy)) * (1 if index % 2 else -1)
            u, v = u - dy * turn, v + dx * turn
        return atan2(v, u)


def draw_painterly(scene: Scene, size: int = FRAME) -> Image.Image:
    """An RGB picture of ``size`` x ``size`` pixels in the painterly style."""
    plain = draw_plain(scene, FRAME)
    flow = Flow(scene, plain.convert("L").filter(ImageFilter.GaussianBlur(0.8)))
    rng = Random(scene.layout ^ 0xB5)
    pixels = SUPERSAMPLE * size
    canvas = plain.filter(ImageFilter.GaussianBlur(1.5)).resize((pixels, pixels))
    pen = ImageDraw.Draw(canvas)
    for spacing, length, width in BRUSHES:
        places = [
            (x * spacing, y * spacing)
            for y in range(int(FRAME / spacing) + 2)
            for x in range(int(FRAME / spacing) + 2)
        ]
        keyed = sorted((rng.random(), place) for place in places)
        for _, (x, y) in keyed:
            jx, jy = x + spacing * (rng.random() - 0.5), y + spacing * (rng.random() - 0.5)
            stroke(pen, flow, plain, rng, (jx, jy), length, width, pixels / FRAME)
    return canvas.reduce(SUPERSAMPLE)


def stroke(
    pen: ImageDraw.ImageDraw,
    flow: Flow,
    plain: Image.Image,
    rng: Random,
    start: tuple[float, float],
    length: float,
    width: float,
    scale: float,
) -> None:
    """One curved stroke of the colour found under its start, in frame units."""
    x, y = start
    colour = colour_at(plain, x, y)
    gx, gy = flow.gradient(x, y)
    if hypot(gx, gy) > EDGE:
        length, width = length * 0.45, width * 0.5  # keep the shape readable
    path = [(x, y)]
    step = length / 5
    for _ in range(5):
        angle = flow.angle(x, y)
        x, y = x + step * cos(angle), y + step * sin(angle)
        path.append((x, y))
        if difference(colour, colour_at(plain, x, y)) > FOREIGN:
            break
    points = [(px * scale, py * scale) for px, py in path]
    fill = paint(colour, start, flow, rng)
    pen.line(points, fill=fill, width=max(1, round(width * scale)), joint="curve")


def colour_at(plain: Image.Image, x: float, y: float) -> Colour:
    """The colour of the drawing at a place of the frame; outside, that of its border."""
    pixel = plain.getpixel((min(63, max(0, int(x))), min(63, max(0, int(y)))))
    assert isinstance(pixel, tuple)
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


def difference(one: Colour, other: Colour) -> int:
    """Sum of the absolute differences of red, green and blue."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def paint(colour: Colour, place: tuple[float, float], flow: Flow, rng: Random) -> Colour:
    """The colour with richer saturation, moved in hue and light; rings of light in the sky."""
    hue, saturation, value = rgb_to_hsv(*(c / 255 for c in colour))
    saturation = min(1.0, saturation * 1.35 + 0.12)
    value = min(1.0, max(0.06, value * (0.66 + 0.66 * rng.random())))
    hue = (hue + 0.09 * (rng.random() - 0.5)) % 1.0
    x, y = place
    if y < flow.horizon:
        (cx, cy), _ = flow.whirls[0]
        ring = sin(0.80 * hypot(x - cx, y - cy) + 0.6 * sin(x / 6 + flow.phase))
        value = min(1.0, max(0.10, value + 0.20 * ring))
        if ring > 0.1 and rng.random() < 0.42:
            hue, saturation = 0.13 + 0.03 * rng.random(), 0.60
            value = min(1.0, value + 0.25)
    elif rng.random() < 0.18:
        hue = (hue + 0.12) % 1.0
    red, green, blue = hsv_to_rgb(hue, saturation, value)
    return int(red * 255), int(green * 255), int(blue * 255)
