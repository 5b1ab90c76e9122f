"""True pixels for a picture shown large, by kitty's protocol or sixel, for whoever asks.

textual-image, which speaks both, finds out what the terminal can do while it is imported: it asks
the terminal and reads the answer from standard input. That belongs to Textual once it runs, so
:func:`find` comes before; nothing is asked of the terminal afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from fedtui.tui.pixels import Box

if TYPE_CHECKING:
    from textual.widget import Widget

Protocol = Literal["kitty", "sixel"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
NEEDS = "pip install 'fedtui[graphics]'"


class NoGraphics(Exception):
    """Pictures stay in cells; the text is the reason, for a person."""


@dataclass(frozen=True)
class Graphics:
    """What the terminal draws. ``cell`` is the size of one in pixels, ``asked`` whether it was said
    on the command line, which overrules what is kept."""

    protocol: Protocol
    cell: tuple[int, int]
    asked: bool = False

    def fitted(self, room: Box, width: int, height: int) -> Box:
        """The cells that a picture of ``width`` x ``height`` pixels takes in ``room``."""
        across, down = self.cell
        scale = min(room.columns * across / width, room.rows * down / height)
        columns, rows = round(width * scale / across), round(height * scale / down)
        return Box(max(1, columns), max(1, rows))

    def widget(self) -> Widget:
        """A new widget of textual-image; its ``image`` is a Pillow image."""
        from textual_image.widget import SixelImage, TGPImage

        return cast("Widget", TGPImage() if self.protocol == "kitty" else SixelImage())

    def write_with(self, write: Callable[[str], object]) -> None:
        """Lets what kitty is sent go the way of all that Textual writes.

        textual-image (0.12) writes it to standard output itself, while a thread of Textual writes
        the screen to the same terminal: one would end up within the other.
        """
        if self.protocol == "kitty":
            from textual_image.renderable import tgp

            def send(*, payload: str | None = None, **keys: int | str | None) -> None:
                told = ",".join(
                    f"{key}={value}" for key, value in keys.items() if value is not None
                )
                write(f"\x1b_G{told}{f';{payload}' if payload else ''}\x1b\\")

            tgp._send_tgp_message = send


def find(wish: Protocol, environment: Mapping[str, str], *, asked: bool = False) -> Graphics:
    """Looks whether this terminal draws pixels; at most 0.3 s where it does not answer.

    Raises:
        NoGraphics: it does not, or nobody should try here.
    """
    for variable, where in (("TMUX", "inside tmux"), ("SSH_CONNECTION", "over ssh")):
        if environment.get(variable) and not asked:
            raise NoGraphics(f"{wish} is not tried {where}: fedtui --pictures {wish} insists")
    if "NO_COLOR" in environment:
        raise NoGraphics("there are no colours (NO_COLOR)")
    try:
        from textual_image import renderable
        from textual_image._terminal import get_cell_size
        from textual_image.renderable import tgp

        found: object = renderable.Image
        if wish == "kitty" and found is renderable.SixelImage and tgp.query_terminal_support():
            found = renderable.TGPImage
        cell = get_cell_size()
        known = callable(tgp._send_tgp_message)
    except ImportError:
        raise NoGraphics(f"textual-image is not installed: {NEEDS}") from None
    except Exception as error:  # version 0.12 divides by zero where a terminal has no size
        raise NoGraphics(f"textual-image does not work here: {_told(error)}") from error
    if not known or min(cell) < 1:
        raise NoGraphics("textual-image does not know this terminal")
    if found is not (renderable.TGPImage if wish == "kitty" else renderable.SixelImage):
        raise NoGraphics(f"this terminal does not say that it draws {wish}")
    return Graphics(wish, (cell.width, cell.height), asked)


def chosen(flag: str, kept: str, environment: Mapping[str, str]) -> Graphics | str:
    """What was asked for on the command line, or else what is kept; why it cannot be had; or
    nothing, where nobody has asked."""
    wish = next((known for known in PROTOCOLS if known == (flag or kept)), None)
    if wish is None:
        return ""
    try:
        return find(wish, environment, asked=bool(flag))
    except NoGraphics as reason:
        return str(reason)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
