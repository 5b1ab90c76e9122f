"""Draws a :class:`Scene` in the plain style: flat shapes, smooth skies, anti-aliased.

Coordinates are in a 64 x 64 frame, drawn four times larger and averaged down.
"""

from __future__ import annotations

from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw

from trainer.embedded.scenes import Scene, Style, pick, shuffled

FRAME = 64
SUPERSAMPLE = 4

Colour = tuple[int, int, int]
Tint = tuple[float, float, float]

SKY: dict[str, tuple[Colour, Colour]] = {
    "day": ((70, 155, 235), (195, 228, 250)),
    "sunset": ((120, 60, 130), (255, 165, 80)),
    "night": ((8, 12, 42), (38, 52, 110)),
}
LAND_TINT: dict[str, Tint] = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.95, 0.70, 0.62),
    "night": (0.31, 0.37, 0.58),
}
OBJECT_TINT: dict[str, Tint] = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.98, 0.82, 0.76),
    "night": (0.86, 0.88, 0.98),
}
GROUND: dict[str, tuple[Colour, Colour]] = {
    "grass": ((150, 205, 85), (95, 165, 55)),
    "sea": ((60, 140, 205), (20, 80, 165)),
    "desert": ((245, 205, 120), (225, 165, 75)),
    "snow": ((250, 252, 255), (205, 222, 242)),
}
HILL: dict[str, Colour] = {
    "grass": (70, 140, 60),
    "sea": (60, 120, 80),
    "desert": (205, 140, 70),
    "snow": (170, 190, 220),
}
MOUNTAIN: Colour = (125, 118, 138)
SUN: dict[str, Colour] = {"day": (255, 225, 60), "sunset": (255, 95, 45)}
MOON: Colour = (250, 245, 205)
LIT: Colour = (255, 220, 90)
SLOTS = (14.0, 32.0, 50.0)


def horizon_of(scene: Scene) -> float:
    """Height of the horizon in frame units, from the top."""
    return 37.0 + 3.0 * Random(scene.layout ^ 0x51).random()


def celestial_place(scene: Scene) -> tuple[float, float]:
    """Centre of sun or moon in frame units; also where clouds must not be."""
    rng = Random(scene.layout ^ 0xC3)
    return pick(rng, SLOTS) + 4 * rng.random() - 2, 10.5 + 3 * rng.random()


def draw_plain(scene: Scene, size: int = FRAME) -> Image.Image:
    """An RGB picture of ``size`` x ``size`` pixels in the plain style."""
    canvas = Canvas(scene, size)
    canvas.sky()
    canvas.relief()
    canvas.ground()
    canvas.objects()
    return canvas.image.reduce(SUPERSAMPLE)


def draw(scene: Scene, style: Style = "plain", size: int = FRAME) -> Image.Image:
    """An RGB picture of ``size`` x ``size`` pixels in the asked style.

    Raises:
        ValueError: the style is unknown.
    """
    if style == "plain":
        return draw_plain(scene, size)
    if style == "van_gogh":
        from trainer.embedded.painterly import draw_painterly

        return draw_painterly(scene, size)
    raise ValueError(f"unknown style {style!r}; choose plain or van_gogh")


def tinted(colour: Colour, tint: Tint) -> Colour:
    """The colour under a light of the given tint."""
    red, green, blue = (min(255, int(c * t)) for c, t in zip(colour, tint, strict=True))
    return red, green, blue


class Canvas:
    """A picture in the making, with drawing calls in frame units."""

    def __init__(self, scene: Scene, size: int) -> None:
        self.scene = scene
        self.scale = SUPERSAMPLE * size / FRAME
        self.pixels = SUPERSAMPLE * size
        self.image = Image.new("RGB", (self.pixels, self.pixels))
        self.pen = ImageDraw.Draw(self.image)
        self.horizon = horizon_of(scene)

    def land(self, colour: Colour) -> Colour:
        return tinted(colour, LAND_TINT[self.scene.time])

    def thing(self, colour: Colour) -> Colour:
        return tinted(colour, OBJECT_TINT[self.scene.time])

    def polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        self.pen.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=fill)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        s = self.scale
        self.pen.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        s = self.scale
        self.pen.rectangle((x0 * s, y0 * s, x1 * s - 1, y1 * s - 1), fill=fill)

    def gradient(self, top: float, bottom: float, above: Colour, below: Colour) -> None:
        """Fills the full width between two heights with a vertical blend."""
        y0, y1 = round(top * self.scale), round(bottom * self.scale)
        strip = Image.new("RGB", (1, 2))
        strip.putpixel((0, 0), above)
        strip.putpixel((0, 1), below)
        # the box skips the half pixels at either end, where bilinear would stay flat
        blend = strip.resize((1, y1 - y0), Image.Resampling.BILINEAR, box=(0, 0.5, 1, 1.5))
        self.image.paste(blend.resize((self.pixels, y1 - y0)), (0, y0))

    def sky(self) -> None:
        scene = self.scene
        self.gradient(0, self.horizon + 4, *SKY[scene.time])
        x, y = celestial_place(scene)
        if scene.stars:
            rng = Random(scene.layout ^ 0x57)
            for index in range(14):
                column, row = index % 5, index // 5
                sx = 6.5 + 13 * column + 6 * rng.random() - 3
                sy = 5 + 10 * row + 5 * rng.random() - 2.5
                r = 1.0 + 0.35 * rng.random()
                if (sx - x) ** 2 + (sy - y) ** 2 > 100 or scene.celestial == "none":
                    self.polygon(
                        [
                            (sx, sy - r * 1.3),
                            (sx + r * 1.3, sy),
                            (sx, sy + r * 1.3),
                            (sx - r * 1.3, sy),
                        ],
                        (255, 250, 215),
                    )
        if scene.celestial == "sun":
            self.ellipse(x, y, 7.5, 7.5, SUN[scene.time])
        elif scene.celestial == "full_moon":
            self.ellipse(x, y, 7.0, 7.0, MOON)
        elif scene.celestial == "crescent_moon":
            self.crescent(x, y, 8.0)
        if scene.clouds:
            self.clouds(x)

    def crescent(self, x: float, y: float, r: float) -> None:
        outer = [(x + r * cos(a), y + r * sin(a)) for a in arc(0.30 * pi, 1.70 * pi)]
        inner = [
            (x + 0.42 * r + 0.83 * r * cos(a), y + 0.83 * r * sin(a))
            for a in arc(1.57 * pi, 0.43 * pi)
        ]
        self.polygon(outer + inner, MOON)

    def clouds(self, occupied: float) -> None:
        colour = {"day": (255, 255, 255), "sunset": (255, 205, 185), "night": (98, 108, 150)}
        rng = Random(self.scene.layout ^ 0xC1)
        free = [
            slot for slot in SLOTS if abs(slot - occupied) > 9 or self.scene.celestial == "none"
        ]
        for slot in shuffled(rng, free)[:2]:
            x, y = slot + 3 * rng.random() - 1.5, 9 + 6 * rng.random()
            fill = colour[self.scene.time]
            self.ellipse(x - 4.5, y + 1, 4.5, 3.0, fill)
            self.ellipse(x + 4.5, y + 1, 4.5, 3.0, fill)
            self.ellipse(x, y - 1, 5.0, 4.0, fill)

    def relief(self) -> None:
        rng = Random(self.scene.layout ^ 0x4E)
        base = self.horizon + 2
        if self.scene.relief == "mountain":
            shift = 14 * rng.random() - 7
            for centre, half in ((10.0, 20.0), (54.0, 22.0), (32.0, 24.0)):
                x = centre + shift + 4 * rng.random() - 2
                peak = 19.5 + 4 * rng.random()
                rock = self.land(MOUNTAIN if centre != 32.0 else (148, 140, 160))
                self.polygon([(x - half, base), (x, peak), (x + half, base)], rock)
                cut = 0.34
                tip = (base - peak) * cut
                left, right = x - half * cut, x + half * cut
                snow = [(left, peak + tip), (x, peak), (right, peak + tip)]
                snow += [(x + half * cut * 0.4, peak + tip * 0.75), (x, peak + tip * 1.15)]
                snow += [(x - half * cut * 0.4, peak + tip * 0.75)]
                self.polygon(snow, self.land((250, 250, 255)))
        elif self.scene.relief == "hill":
            shift = 12 * rng.random() - 6
            colour = HILL[self.scene.ground]
            for index, (centre, rx) in enumerate(((4.0, 24.0), (58.0, 26.0), (31.0, 20.0))):
                x = centre + shift + 4 * rng.random() - 2
                ry = 9 + 4 * rng.random()
                shade = 1.0 if index < 2 else 1.13
                self.ellipse(x, base, rx, ry, self.land(tinted(colour, (shade,) * 3)))

    def ground(self) -> None:
        scene = self.scene
        above, below = (self.land(colour) for colour in GROUND[scene.ground])
        self.gradient(self.horizon, FRAME, above, below)
        rng = Random(scene.layout ^ 0x6D)
        if scene.ground == "sea":
            light = self.land((150, 205, 240))
            for row in range(5):
                y = self.horizon + 3.5 + 4.8 * row
                for column in range(2):
                    x = 32 * column + 24 * rng.random()
                    self.ellipse(x + 4, y, 5.0, 0.75, light)
        elif scene.ground == "desert":
            dune = self.land((212, 150, 68))
            for y in (47.0, 57.0):
                x = 10 + 44 * rng.random()
                self.ellipse(x, y + 5, 20, 4.5, dune)
                self.ellipse(x + 2, y + 6.2, 20, 4.5, self.land((240, 195, 108)))
        elif scene.ground == "grass":
            blade = self.land((65, 130, 45))
            for row in range(3):
                y = self.horizon + 7 + 7 * row
                for column in range(3):
                    x = 4 + 21 * column + 14 * rng.random()
                    self.polygon(
                        [(x - 2, y), (x - 1.2, y - 3), (x, y - 1), (x + 1.2, y - 3), (x + 2, y)],
                        blade,
                    )
        else:
            drift = self.land((180, 202, 232))
            for y in (46.0, 56.0):
                self.ellipse(10 + 44 * rng.random(), y, 15, 1.6, drift)

    def objects(self) -> None:
        rng = Random(self.scene.layout ^ 0x0B)
        places = [slot + 3 * rng.random() - 1.5 for slot in shuffled(rng, SLOTS)]
        heights = [56.0 + 2 * rng.random() for _ in SLOTS]
        standing = list(zip(self.scene.objects, places, heights, strict=False))
        if self.scene.ground == "sea":
            for name, x, y in standing:
                if name != "boat":
                    self.ellipse(x, y + 8, 17, 11, self.land((185, 165, 105)))
                    self.ellipse(x, y + 9, 15, 9.5, self.land((130, 180, 80)))
        for name, x, y in standing:
            getattr(self, name)(x, y)

    def house(self, x: float, y: float, wall: Colour, roof: Colour) -> None:
        night = self.scene.time == "night"
        self.box(x - 8, y - 12, x + 8, y, self.thing(wall))
        self.polygon([(x - 10, y - 11.5), (x, y - 21), (x + 10, y - 11.5)], self.thing(roof))
        self.box(x - 6, y - 9, x - 1.5, y - 4.5, LIT if night else self.thing((235, 245, 255)))
        self.box(x + 1.5, y - 8, x + 5.5, y, self.thing((70, 45, 35)))

    def red_house(self, x: float, y: float) -> None:
        self.house(x, y, (225, 45, 40), (130, 20, 30))

    def blue_house(self, x: float, y: float) -> None:
        self.house(x, y, (50, 110, 240), (25, 45, 130))

    def boat(self, x: float, y: float) -> None:
        y -= 5
        self.box(x - 0.7, y - 18, x + 0.7, y - 3, self.thing((90, 60, 40)))
        self.polygon(
            [(x + 1.2, y - 18), (x + 1.2, y - 5), (x + 9, y - 5)], self.thing((255, 255, 255))
        )
        self.polygon(
            [(x - 1.2, y - 15), (x - 1.2, y - 5), (x - 7, y - 5)], self.thing((240, 235, 220))
        )
        self.polygon(
            [(x - 10, y - 4), (x + 10, y - 4), (x + 7, y + 2), (x - 7, y + 2)],
            self.thing((150, 80, 40)),
        )

    def tree(self, x: float, y: float) -> None:
        self.box(x - 1.8, y - 10, x + 1.8, y, self.thing((110, 70, 40)))
        self.ellipse(x, y - 15, 8.5, 8.0, self.thing((35, 120, 40)))
        self.ellipse(x - 2, y - 17, 4.5, 4.0, self.thing((75, 165, 60)))

    def pine(self, x: float, y: float) -> None:
        self.box(x - 1.5, y - 4, x + 1.5, y, self.thing((90, 60, 40)))
        needles = self.thing((15, 85, 75))
        for top, half, bottom in ((-25, 5.0, -15), (-20, 6.8, -9), (-14, 8.5, -3)):
            self.polygon([(x - half, y + bottom), (x, y + top), (x + half, y + bottom)], needles)

    def cactus(self, x: float, y: float) -> None:
        green = self.thing((60, 150, 75))
        self.box(x - 2.5, y - 20, x + 2.5, y, green)
        self.ellipse(x, y - 20, 2.5, 2.5, green)
        for side, low in ((-1, 9.0), (1, 12.0)):
            arm = x + side * 7
            self.box(min(x, arm), y - low - 1.8, max(x, arm), y - low + 1.8, green)
            self.box(arm - 1.8, y - low - 7, arm + 1.8, y - low + 1.8, green)
            self.ellipse(arm, y - low - 7, 1.8, 1.8, green)

    def lighthouse(self, x: float, y: float) -> None:
        white, red = self.thing((250, 250, 250)), self.thing((215, 40, 40))
        self.polygon([(x - 5.5, y), (x - 3.6, y - 22), (x + 3.6, y - 22), (x + 5.5, y)], white)
        for low, high in ((4.0, 9.0), (14.0, 19.0)):
            a, b = 5.5 - low * 0.086, 5.5 - high * 0.086
            self.polygon(
                [(x - a, y - low), (x - b, y - high), (x + b, y - high), (x + a, y - low)], red
            )
        self.box(x - 4.6, y - 23.5, x + 4.6, y - 22, self.thing((60, 60, 70)))
        self.box(x - 2.8, y - 28, x + 2.8, y - 23.5, LIT)
        self.polygon([(x - 4, y - 28), (x, y - 32), (x + 4, y - 28)], red)


def arc(start: float, end: float, steps: int = 24) -> list[float]:
    """Angles in radians from start to end, both included."""
    return [start + (end - start) * step / steps for step in range(steps + 1)]
