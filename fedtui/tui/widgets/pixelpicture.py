"""One picture in the terminal's own pixels, where :mod:`fedtui.tui.graphics` has found them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from textual.app import ComposeResult
from textual.message import Message

from fedtui.tui.graphics import Graphics
from fedtui.tui.messages import PictureRendered
from fedtui.tui.pixels import Box, Mode, PictureError, load
from fedtui.tui.widgets.picture import Key, Picture

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class PixelsLoaded(Message):
    """A thread has decoded a file; it takes so much room."""

    key: Key
    image: Image
    box: Box


class PixelPicture(Picture):
    """Like :class:`Picture`, drawn by a widget of textual-image in its middle.

    A thread decodes and scales; sixel is encoded where it is drawn, 50 to 150 ms for a new picture.
    """

    DEFAULT_CSS = "PixelPicture { align: center middle; }"

    def __init__(self, graphics: Graphics, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._graphics = graphics
        self._pixels: Any = graphics.widget()
        self._loaded: Key | None = None

    def compose(self) -> ComposeResult:
        """The drawing widget, of no size until there is something to draw."""
        yield self._pixels

    def on_mount(self) -> None:
        """From now on the terminal is written to in one order only."""
        self._pixels.display = False
        driver = self.app._driver
        if driver is not None:
            self._graphics.write_with(driver.write)

    @property
    def settled(self) -> bool:
        """Whether what is on the screen is what was asked for."""
        return self._wanted is None or self._loaded == self._wanted or bool(self._reason)

    def _fitting_mode(self) -> Mode | None:
        return "quadrant"  # not drawn: the key of a picture needs one

    def _render_file(self, key: Key) -> None:
        """Runs in a thread; touches no widget."""
        from PIL import Image as pillow

        try:
            image = load(Path(key.path), key.background)
        except PictureError as error:
            self.post_message(PictureRendered(key, (), str(error)))
            return
        box = self._graphics.fitted(Box(key.columns, key.rows), image.width, image.height)
        across, down = self._graphics.cell
        size = (box.columns * across, box.rows * down)
        self.post_message(PixelsLoaded(key, image.resize(size, pillow.Resampling.BICUBIC), box))

    def on_pixels_loaded(self, message: PixelsLoaded) -> None:
        """Hands the picture over, unless something else is wanted by now."""
        message.stop()
        if message.key != self._wanted:
            return
        self._loaded, self._reason = message.key, ""
        self._pixels.styles.width = message.box.columns
        self._pixels.styles.height = message.box.rows
        self._pixels.image = message.image
        self._pixels.display = True
        self.refresh()

    def on_picture_rendered(self, message: PictureRendered) -> None:
        """The reason why there is no picture takes its place."""
        super().on_picture_rendered(message)
        self._pixels.display = not self._reason


def large_picture(app: object) -> Picture:
    """The best there is for one picture on the whole screen."""
    graphics = cast("Graphics | None", getattr(app, "graphics", None))
    kept = getattr(getattr(app, "look", None), "pictures", "auto")
    if graphics is None or kept == "off" or not (graphics.asked or kept == graphics.protocol):
        return Picture()
    return PixelPicture(graphics)
