"""True pixels for a picture shown large, by kitty's protocol or sixel, for whoever asks.

What the terminal can do it is asked before Textual runs (:func:`find`), which then reads all that
comes from it; nothing is asked afterwards. textual-image encodes sixel; its widgets are not used,
for they ask the terminal themselves and lose the picture when something is painted over it.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from fedtui import terminal_query
from fedtui.tui.pixels import Box

if TYPE_CHECKING:
    from PIL.Image import Image

Protocol = Literal["kitty", "sixel"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
NEEDS = "pip install 'fedtui[graphics]'"
VT340_CELL = (10, 20)
"""Where a terminal tells no size; what sixel was made for."""
KITTY_CHUNK = 4_096
"""Letters of one message, by the protocol."""
NUMBER = 0xFED
"""Of the one picture that is shown at a time; whatever is sent under it takes its place."""
COLOUR = re.compile(r"#(\d+);2;\d+;\d+;\d+")


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

    def at(self, cell: tuple[int, int] | None) -> Graphics:
        """The same after the letters have changed their size; None: nobody knows."""
        return self if cell in (None, self.cell) else replace(self, cell=cast("Any", cell))

    def encoded(self, image: Image, box: Box) -> str:
        """What draws an RGB picture in the cells of ``box``, from the cursor on."""
        return sixels(image) if self.protocol == "sixel" else placed(image, box)

    @property
    def wiped(self) -> str:
        """What takes the picture away: kitty's lies over whatever is written there, sixel goes by
        itself."""
        return f"\x1b_Ga=d,d=I,i={NUMBER},q=2\x1b\\" if self.protocol == "kitty" else ""


def placed(image: Image, box: Box) -> str:
    """A picture for kitty's protocol, sent and shown at once, the cursor left where it is.

    Not by placeholders: kitty before 0.28, Konsole and WezTerm answer that they know the protocol,
    and print them as letters.
    """
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    payload = base64.standard_b64encode(data.getvalue()).decode()
    parts = [payload[at : at + KITTY_CHUNK] for at in range(0, len(payload), KITTY_CHUNK)]
    told = [f"m={int(at < len(parts) - 1)};{part}" for at, part in enumerate(parts)]
    keys = f"a=T,f=100,i={NUMBER},p=1,q=2,C=1,c={box.columns},r={box.rows},"
    return "".join(f"\x1b_G{'' if at else keys}{each}\x1b\\" for at, each in enumerate(told))


def sixels(image: Image) -> str:
    """An RGB picture as sixel.

    All colours are defined before the first is used: xterm (379) takes a definition in between for
    one colour and draws with another.
    """
    from textual_image._sixel import image_to_sixels

    told = image_to_sixels(image)
    head = re.match(r'\x1bP[\d;]*q"[\d;]*', told)
    if head is None:
        return told
    defined = "".join(each[0] for each in COLOUR.finditer(told))
    return head[0] + defined + COLOUR.sub(r"#\1", told[head.end() :])


def find(wish: Protocol, environment: Mapping[str, str], *, asked: bool = False) -> Graphics:
    """Looks whether this terminal draws pixels.

    Raises:
        NoGraphics: it does not, or nobody should try here.
    """
    for variable, where in (("TMUX", "inside tmux"), ("SSH_CONNECTION", "over ssh")):
        if environment.get(variable) and not asked:
            raise NoGraphics(f"{wish} is not tried {where}: fedtui --pictures {wish} insists")
    if "NO_COLOR" in environment:
        raise NoGraphics("there are no colours (NO_COLOR)")
    if wish == "sixel":
        _require_library()
    answers = terminal_query.ask(pixels=True)
    if not (answers.kitty if wish == "kitty" else answers.sixel):
        other = "sixel" if answers.sixel else "kitty" if answers.kitty else ""
        instead = f", but it draws {other}: fedtui --pictures {other}" if other else ""
        raise NoGraphics(f"this terminal does not say that it draws {wish}{instead}")
    return Graphics(wish, terminal_query.cell_now() or answers.cell or VT340_CELL, asked)


def _require_library() -> None:
    """Imports what encodes sixel, or raises :class:`NoGraphics`."""
    try:
        from textual_image._sixel import image_to_sixels
    except ImportError:
        raise NoGraphics(f"textual-image is not installed: {NEEDS}") from None
    except Exception as error:
        raise NoGraphics(f"textual-image does not work: {_told(error)}") from error
    if not callable(image_to_sixels):
        raise NoGraphics("this version of textual-image is not known")


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
