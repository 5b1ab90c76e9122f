"""What the widgets share: lines of text become strips, and only changed lines are repainted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.content import Content
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widget import Widget

from fedtui.tui.feed import Feed
from fedtui.tui.lines import Ink, Line, centred, crop, printable, wrapped

INK_VARIABLES: dict[Ink, str] = {
    "text": "foreground",
    "strong": "foreground",
    "muted": "ink-muted",
    "faint": "ink-faint",
    "accent": "primary",
    "key": "primary",
    "ok": "success",
    "warning": "warning",
    "error": "error",
}
"""What each ink is called in a theme."""

BOLD: frozenset[Ink] = frozenset({"strong", "key"})
KEY_GROUND = "panel"
"""What a key stands on: without it ``space Enlarge`` reads as one phrase."""


class Titled(Widget):
    """Sets border titles as plain text, and only when they change."""

    _titles: tuple[Line, Line] = ((), ())

    def entitle(self, title: Line, subtitle: Line = ()) -> None:
        """Shows ``title`` above and ``subtitle`` below."""
        if (title, subtitle) != self._titles:
            self._titles = (title, subtitle)
            self.border_title = self._content(title)
            self.border_subtitle = self._content(subtitle)

    def _content(self, line: Line) -> Content | None:
        if not line:
            return None
        return Content.assemble(*((printable(text), INK_TITLES[ink]) for text, ink in line))


INK_TITLES: dict[Ink, str] = {
    ink: f"bold ${name}" if ink in BOLD else f"${name}" for ink, name in INK_VARIABLES.items()
}


class Drawn(Titled):
    """A widget of lines computed from the feed. Subclasses say what to draw in :meth:`draw`."""

    ALLOW_SELECT = False

    feed: reactive[Feed] = reactive(Feed, repaint=False, init=False)

    _lines: tuple[Line, ...] = ()

    def draw(self, feed: Feed, width: int, height: int) -> Sequence[Line]:
        """The lines for this much room, in cells."""
        raise NotImplementedError

    def watch_feed(self) -> None:
        """Draws what changed."""
        self.redraw()

    def on_resize(self) -> None:
        """Draws anew for the new size."""
        self.redraw()

    def redraw(self) -> None:
        """Computes all lines and repaints those that differ from what is on the screen."""
        width, height = self.size
        if not width or not height:
            return
        lines = tuple(crop(line, width) for line in self.draw(self.feed, width, height)[:height])
        old, self._lines = self._lines, lines
        changed = [
            y for y in range(max(len(old), len(lines))) if old[y : y + 1] != lines[y : y + 1]
        ]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """One line as a strip."""
        line = self._lines[y] if y < len(self._lines) else ()
        return inked(self, line, self.size.width)


class DrawnList(ScrollView, Titled, can_focus=True):
    """A scrolling list that draws only the rows in view."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"list--cursor"}
    DEFAULT_CSS = """
    DrawnList {
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        & > .list--cursor { background: $block-cursor-background; }
    }
    """

    feed: reactive[Feed] = reactive(Feed, repaint=False, init=False)

    @property
    def room(self) -> Size:
        """Cells for lines: without borders, padding, and the scrollbar's column."""
        return self.scrollable_content_region.size


def inked(widget: Widget, line: Line, width: int) -> Strip:
    """A line as a strip of exactly ``width`` cells in the widget's colours."""
    ground = widget.rich_style
    inks = ink_styles(widget)
    segments = [Segment(printable(text), ground + inks[ink]) for text, ink in line]
    return Strip(segments).adjust_cell_length(width, ground)


def ink_styles(widget: Widget) -> dict[Ink, Style]:
    """The inks in the theme of the moment.

    Component classes would be the library's way; eight of them for each of forty widgets took a
    third of the time to the first paint.
    """
    variables = widget.app.theme_variables
    colours = tuple(variables[name] for name in INK_VARIABLES.values())
    return _ink_styles(colours, variables[KEY_GROUND])


@lru_cache(32)
def _ink_styles(colours: tuple[str, ...], ground: str) -> dict[Ink, Style]:
    styles = {
        ink: Style(color=Color.parse(colour).rich_color, bold=True if ink in BOLD else None)
        for ink, colour in zip(INK_VARIABLES, colours, strict=True)
    }
    return styles | {"key": styles["key"] + Style(bgcolor=Color.parse(ground).rich_color)}


def under(strip: Strip, style: Style) -> Strip:
    """A strip on another background."""
    return Strip(
        [Segment(text, (old or Style.null()) + style) for text, old, _ in strip], strip.cell_length
    )


def notice(text: str, width: int, height: int) -> list[Line]:
    """An empty state: quiet text in the middle of the room there is."""
    lines = [centred(line, width) for line in wrapped(text, min(width - 2, 56), "muted")]
    return [()] * max(0, (height - len(lines)) // 2) + lines
