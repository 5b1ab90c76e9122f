"""What the terminal can do, found out before the interface is imported.

Textual and Rich decide on colours when they are imported and trust ``COLORTERM``, which ssh does
not forward and xterm does not set: pictures then fall to 16 colours and become unusable. So where
the variables leave it open the terminal is asked.
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from fedtui.errors import UsageError

MIN_COLUMNS = 60
MIN_LINES = 16
TRUECOLOR_TERMS = frozenset(
    {
        "xterm-kitty",
        "xterm-ghostty",
        "ghostty",
        "foot",
        "foot-extra",
        "alacritty",
        "wezterm",
        "contour",
        "rio",
    }
)
BARE_TERMS = frozenset({"dumb", "unknown"})
UNASKED_TERMS = BARE_TERMS | {"linux"}
"""The console of Linux takes 24 bits, and shows 16 colours."""
COLOR_VARIABLE = "TEXTUAL_COLOR_SYSTEM"

Depth = Literal["truecolor", "256", "standard", "none"]
Choice = Literal["auto", "truecolor", "256", "16", "none"]


@dataclass(frozen=True)
class Size:
    """In character cells."""

    columns: int
    lines: int


def interactive() -> bool:
    """Whether a person sits at both ends of a terminal that can be drawn on."""
    return at_terminal() and not bare()


def at_terminal() -> bool:
    """Whether input and output are a terminal's. The interface draws on standard error."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def bare() -> bool:
    """Whether the terminal says that it can only print."""
    return os.environ.get("TERM", "") in BARE_TERMS


def require_terminal() -> None:
    """Raises :class:`UsageError` without a terminal that can be drawn on: Textual would spray
    escapes into a file, or between the lines of an editor's shell."""
    if not at_terminal():
        raise UsageError(
            "the interface needs a terminal",
            "standard input, output or error is not one",
            "run `fedtui --daemon` for a node without a screen, `fedtui watch --plain` to look on",
        )
    if bare():
        raise UsageError(
            f"this terminal cannot show the interface (TERM={os.environ['TERM']})",
            "it cannot put text where it is told to",
            "run `fedtui watch --plain`, or set TERM to what the terminal really is",
        )


def color_depth(environment: Mapping[str, str], choice: Choice = "auto") -> Depth | None:
    """The depth to force, or None to leave the decision to the terminal library."""
    if choice != "auto":
        return "standard" if choice == "16" else choice
    if environment.get(COLOR_VARIABLE) or "NO_COLOR" in environment:
        return None
    if environment.get("COLORTERM") or environment.get("TERM_PROGRAM") == "Apple_Terminal":
        return None
    term = environment.get("TERM", "")
    return "truecolor" if term in TRUECOLOR_TERMS or term.endswith("-direct") else None


def is_open(environment: Mapping[str, str]) -> bool:
    """Whether the variables leave open how many colours there are.

    Apple's terminal prints questions it does not know, and has 256 colours.
    """
    return (
        color_depth(environment) is None
        and not environment.get(COLOR_VARIABLE)
        and "NO_COLOR" not in environment
        and environment.get("COLORTERM", "").lower() not in ("truecolor", "24bit")
        and environment.get("TERM_PROGRAM") != "Apple_Terminal"
        and environment.get("TERM", "") not in UNASKED_TERMS
    )


def chosen_color(config: Path, environment: Mapping[str, str] | None = None) -> Choice:
    """The setting ``color`` alone, without the time that reading all settings takes.

    What makes no sense counts as ``auto``: the node refuses it with an explanation.
    """
    chosen: object = (os.environ if environment is None else environment).get("FEDTUI_COLOR")
    if chosen is None:
        try:
            chosen = tomllib.loads(config.read_text(encoding="utf-8")).get("color")
        except (OSError, ValueError):
            return "auto"
    return next((known for known in get_args(Choice) if known == chosen), "auto")


def prepare(
    choice: Choice = "auto",
    environment: MutableMapping[str, str] | None = None,
    deep: Callable[[], bool] | None = None,
) -> None:
    """Sets the variables the interface reads when it is imported. Call it before importing it.

    ``deep`` finds out whether the terminal has 24-bit colour, where the variables leave it open.
    """
    target = os.environ if environment is None else environment
    depth = color_depth(target, choice)
    if depth == "none":
        target["NO_COLOR"] = "1"
    elif depth is not None:
        target[COLOR_VARIABLE] = depth
    elif choice == "auto" and is_open(target) and (deep or _says_so)():
        target[COLOR_VARIABLE] = "truecolor"


def _says_so() -> bool:
    from fedtui.terminal_query import ask

    return at_terminal() and ask().deep


def size() -> Size:
    """The terminal's size now."""
    import shutil

    columns, lines = shutil.get_terminal_size((80, 24))
    return Size(columns, lines)
