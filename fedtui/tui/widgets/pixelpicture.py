"""One picture in the terminal's own pixels, where :mod:`fedtui.tui.graphics` has found them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip

from fedtui.terminal_query import cell_now
from fedtui.tui.graphics import Graphics
from fedtui.tui.limits import PIXELS_CACHED
from fedtui.tui.messages import PictureRendered
from fedtui.tui.pixels import Box, PictureError, load
from fedtui.tui.widgets.drawn import inked
from fedtui.tui.widgets.picture import Key, Picture


@dataclass
class PixelsReady(Message):
    """A thread has made what draws a picture; it takes so much room."""

    key: Key
    box: Box
    sequence: str


class PixelPicture(Picture):
    """Like :class:`Picture`, with pixels written over its cells.

    Sixel vanishes where a cell is written again, so the pixels follow every painting of the cells.
    Kitty's stay until they are taken away. While something lies over the picture it is in cells.
    """

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._graphics = graphics
        self._ready: PixelsReady | None = None
        self._due = self._shown = False

    @property
    def settled(self) -> bool:
        """Whether what is on the screen is what was asked for."""
        return self._wanted is None or self._pixels is not None or bool(self._reason)

    @property
    def _pixels(self) -> PixelsReady | None:
        """Those of what is wanted now."""
        ready = self._ready
        return ready if ready is not None and ready.key == self._wanted else None

    def on_unmount(self) -> None:
        """Nothing stays behind."""
        self.withdraw()

    def withdraw(self) -> None:
        """Puts cells in the place of the pixels; the next painting brings these back."""
        driver = self.app._driver
        if self._shown and driver is not None and self._graphics.wiped:
            driver.write(self._graphics.wiped)
        self._shown = False
        self.refresh()

    def _render_file(self, key: Key) -> None:
        """Runs in a thread; touches no widget."""
        graphics = self._graphics
        super()._render_file(key)
        try:
            box, sequence = pixels(graphics, key, Path(key.path).stat().st_mtime_ns)
        except (OSError, PictureError):
            return  # the cells say why
        self.post_message(PixelsReady(key, box, sequence))

    def on_pixels_ready(self, message: PixelsReady) -> None:
        """Takes the pixels, unless something else is wanted by now."""
        message.stop()
        self._ready = message
        self.refresh()

    def on_picture_rendered(self, message: PictureRendered) -> None:
        """A reason why there is no picture takes the place of the last one."""
        super().on_picture_rendered(message)
        if self._reason:
            self.withdraw()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Called for each painting."""
        if not self._due:
            self._due = True
            self.call_later(self._draw)
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        """Nothing under the pixels: they may leave the edge of a cell free."""
        return inked(self, (), self.size.width) if self._shown else super().render_line(y)

    def _place(self) -> Region | None:
        """Where the pixels go; None while they have no room, or would cover something."""
        ready, room = self._pixels, self.content_region
        if ready is None or self._reason or self.app.screen is not self.screen:
            return None
        across, down = room.width - ready.box.columns, room.height - ready.box.rows
        if across < 0 or down < 0:
            return None
        size = (ready.box.columns, ready.box.rows)
        place = Region(room.x + across // 2, room.y + down // 2, *size)
        over = self.screen.query("Toast")
        return None if any(toast.region.overlaps(place) for toast in over) else place

    def _draw(self) -> None:
        self._due = False
        graphics = self._graphics.at(cell_now())
        if graphics is not self._graphics:  # the letters have another size, so have the pixels
            self._graphics, self._wanted = graphics, None
            self._ask()
        driver, ready, place = self.app._driver, self._pixels, self._place()
        if driver is None or ready is None or place is None:
            if self._shown:
                self.withdraw()
        elif not self._shown:
            self._shown = True
            self.refresh()  # an empty ground first; then this comes again
        else:
            driver.write(f"\x1b[{place.y + 1};{place.x + 1}H{ready.sequence}")


@lru_cache(PIXELS_CACHED)
def pixels(graphics: Graphics, key: Key, modified_ns: int) -> tuple[Box, str]:
    """What draws a file as it was at ``modified_ns``, and in how many cells; 50 ms and more.

    Raises:
        PictureError: it cannot be shown.
    """
    from PIL import Image as pillow

    image = load(Path(key.path), key.background)
    box = graphics.fitted(Box(key.columns, key.rows), image.width, image.height)
    across, down = graphics.cell
    image = image.resize((box.columns * across, box.rows * down), pillow.Resampling.BICUBIC)
    return box, graphics.encoded(image, box)


def large_picture(app: object) -> Picture:
    """The best there is for one picture on the whole screen."""
    graphics = cast("Graphics | None", getattr(app, "graphics", None))
    kept = getattr(getattr(app, "look", None), "pictures", "auto")
    if graphics is None or kept == "off" or not (graphics.asked or kept == graphics.protocol):
        return Picture()
    return PixelPicture(graphics)
