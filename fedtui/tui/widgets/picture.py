"""One picture, drawn by a thread and kept as strips."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from time import monotonic
from typing import NamedTuple, cast, get_args

from rich.color import Color as RichColor
from rich.color import ColorType
from rich.color_triplet import ColorTriplet
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget
from textual.worker import Worker, WorkerState

from fedtui.tui.limits import PICTURE_RETRY_S, PICTURES_CACHED
from fedtui.tui.lines import Line, centred, cut, wrapped
from fedtui.tui.look import Look
from fedtui.tui.messages import PictureRendered
from fedtui.tui.pixels import RGB, Box, Cell, Mode, PictureError, load, render
from fedtui.tui.widgets.drawn import inked


class Key(NamedTuple):
    """All that a rendering depends on but the file's content."""

    path: str
    columns: int
    rows: int
    mode: Mode
    background: RGB


class Picture(Widget):
    """Shows a file as large as its room allows, in the middle, or says why it cannot."""

    ALLOW_SELECT = False

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._path = ""
        self._wanted: Key | None = None
        self._strips: tuple[Strip, ...] = ()
        self._reason = ""
        self._asked_at = 0.0

    @property
    def path(self) -> str:
        """The file shown or about to be shown."""
        return self._path

    @property
    def settled(self) -> bool:
        """Whether what is on the screen is what was asked for."""
        return self._wanted is None or bool(self._strips) or bool(self._reason)

    def show(self, path: str) -> None:
        """Shows the file at ``path``; one that could not be read is tried again after a while."""
        if path != self._path:
            self._path, self._strips, self._reason, self._wanted = path, (), "", None
            self.refresh()
        failed = self._reason and monotonic() - self._asked_at > PICTURE_RETRY_S
        if failed:
            self._wanted = None
        self._ask()

    def on_resize(self) -> None:
        """Draws it anew for the new size."""
        self._ask()

    def notify_style_update(self) -> None:
        """A theme brings another ground for transparent pictures."""
        super().notify_style_update()
        self._ask()

    def _ask(self) -> None:
        width, height = self.size
        mode = self._fitting_mode()
        if not self._path or not width or not height:
            return
        if mode is None:
            self._reason = "pictures are off in the settings; o opens the file"
            self.refresh()
            return
        ground = self.background_colors[1]
        background = (ground.r, ground.g, ground.b)
        key = Key(self._path, width, height, mode, background)
        if key == self._wanted:
            return
        self._wanted = key
        self._asked_at = monotonic()
        self.run_worker(
            partial(self._render_file, key),
            group="picture",
            exclusive=True,
            thread=True,
            exit_on_error=False,
        )

    def _fitting_mode(self) -> Mode | None:
        """What the person chose, or what the terminal's colours and characters allow."""
        look: Look = getattr(self.app, "look", Look())
        if look.pictures == "off":
            return None
        if look.pictures in get_args(Mode):
            return cast("Mode", look.pictures)
        if look.characters == "ascii":
            return "shades"
        deep = self.app.console.color_system in ("truecolor", None)
        return "quadrant" if deep else "dithered"

    def _render_file(self, key: Key) -> None:
        """Runs in a thread; touches no widget."""
        try:
            try:
                stat = Path(key.path).stat()
            except OSError:
                raise PictureError("the file is missing") from None
            strips = drawn(key, stat.st_mtime_ns, stat.st_size)
        except PictureError as error:
            self.post_message(PictureRendered(key, (), str(error)))
        else:
            self.post_message(PictureRendered(key, strips))

    def on_picture_rendered(self, message: PictureRendered) -> None:
        """Takes what the thread made, unless something else is wanted by now."""
        message.stop()
        if message.key != self._wanted:
            return
        if (message.strips, message.reason) != (self._strips, self._reason):
            self._strips, self._reason = message.strips, message.reason
            self.refresh()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """A renderer that broke is a reason too."""
        event.stop()
        if event.state is WorkerState.ERROR:
            self._strips, self._reason = (), f"it cannot be drawn: {event.worker.error}"
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """A row of the picture, or of the placeholder."""
        width, height = self.size
        if not self._strips:
            lines = self._placeholder(width, height)
            return inked(self, lines[y] if y < len(lines) else (), width)
        row = y - (height - len(self._strips)) // 2
        if not 0 <= row < len(self._strips):
            return inked(self, (), width)
        strip = self._strips[row]
        margin = max(0, (width - strip.cell_length) // 2)
        ground = self.rich_style
        return Strip([Segment(" " * margin, ground), *strip]).adjust_cell_length(width, ground)

    def _placeholder(self, width: int, height: int) -> list[Line]:
        if not self._reason:
            return []
        said: list[Line] = [((cut("✗ no picture", width), "warning"),)]
        said += wrapped(self._reason, max(4, width - 2), "muted")
        lines = [centred(line, width) for line in said][:height]
        blank: Line = ()
        return [blank] * ((height - len(lines)) // 2) + lines


@lru_cache(PICTURES_CACHED)
def drawn(key: Key, modified_ns: int, size: int) -> tuple[Strip, ...]:
    """The strips of a file as it was at ``modified_ns`` with ``size`` bytes.

    Raises:
        PictureError: it cannot be shown.
    """
    image = load(Path(key.path), key.background)
    return tuple(strip_of(row) for row in render(image, Box(key.columns, key.rows), key.mode))


def strip_of(row: list[Cell]) -> Strip:
    """A row of cells, neighbours of the same colours joined."""
    segments: list[Segment] = []
    text, colours = "", (row[0][1], row[0][2])
    for char, ink, paper in row:
        if (ink, paper) != colours:
            segments.append(Segment(text, style_of(*colours)))
            text, colours = "", (ink, paper)
        text += char
    segments.append(Segment(text, style_of(*colours)))
    return Strip(segments, len(row))


@lru_cache(16_384)
def style_of(ink: RGB, paper: RGB) -> Style:
    """The style of a cell; neighbouring cells and rounds share many."""
    return Style.from_color(colour_of(ink), colour_of(paper))


def colour_of(colour: RGB) -> RichColor:
    """A colour without the name that ``Color.from_rgb`` spends half of its time on."""
    return RichColor("", ColorType.TRUECOLOR, triplet=ColorTriplet(*colour))
