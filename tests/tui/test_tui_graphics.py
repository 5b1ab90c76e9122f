"""True pixels: found before the interface runs, never tried unasked, in order with all else."""

from __future__ import annotations

import base64
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageChops, ImageStat
from rich.console import Console
from textual_image import renderable
from textual_image.renderable import tgp
from tui_driver import settle, shown, text, until
from tui_scenarios import training

from fedtui.tui.graphics import Graphics, NoGraphics, chosen, find
from fedtui.tui.look import Look
from fedtui.tui.pixels import Box
from fedtui.tui.screens.large import LargeScreen
from fedtui.tui.widgets.pixelpicture import PixelPicture

WAIT_S = 90.0
CELL = (10, 20)
COLUMNS, ROWS = 120, 40
PROGRAM = """
import os, sys
from pathlib import Path
from fedtui.tui.graphics import chosen
from tui_scenarios import ScriptedSource, training
graphics = chosen(sys.argv[1], "", os.environ)
from fedtui.tui.app import FedtuiApp
FedtuiApp(ScriptedSource(training(Path(sys.argv[2]))), graphics=graphics).run()
"""
QUERY = re.compile(rb"\x1b_Gi=(\d+),[^\x1b]*a=q[^\x1b]*\x1b\\")
APC = re.compile(rb"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")
WHOLE = re.compile(
    rb"\x1b(\[[0-?]*[ -/]*[@-~]|[_P][^\x1b]*\x1b\\|\][^\x07\x1b]*(\x07|\x1b\\)|[0-9=>NOc])"
)
"""A sequence from its beginning to its end, with none within it."""


@dataclass
class Pane:
    """A terminal of 120x40 cells of 10x20 pixels that says what it draws when it is asked."""

    fd: int
    answers: str
    seen: bytes = b""
    asked: set[bytes] = field(default_factory=set)

    def until(self, come: Callable[[bytes], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not come(self.seen):
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 1 << 16)
                self._answer()

    def _answer(self) -> None:
        if b"\x1b[c" in self.seen and b"DA1" not in self.asked:
            self.asked.add(b"DA1")
            os.write(self.fd, b"\x1b[?62;4c" if self.answers == "sixel" else b"\x1b[?62c")
        query = QUERY.search(self.seen)
        if query and query[1] not in self.asked and self.answers == "kitty":
            self.asked.add(query[1])
            os.write(self.fd, b"\x1b_Gi=%s;OK\x1b\\" % query[1])

    def press(self, keys: bytes) -> None:
        os.write(self.fd, keys)


@contextmanager
def pane(wish: str, folder: Path, answers: str) -> Iterator[Pane]:
    """The interface in such a terminal, asked for ``wish``."""
    ours, theirs = pty.openpty()
    size = struct.pack("HHHH", ROWS, COLUMNS, COLUMNS * CELL[0], ROWS * CELL[1])
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, size)
    kept = {k: v for k, v in os.environ.items() if k not in ("TMUX", "SSH_CONNECTION", "NO_COLOR")}
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, wish, str(folder)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": path},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Pane(ours, answers)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def sent(seen: bytes) -> bytes:
    """The picture that kitty was given, as a file; empty while it is not all there."""
    data, whole = b"", False
    for keys, payload in APC.findall(seen):
        told = dict(key.split(b"=") for key in keys.split(b","))
        if told.get(b"f") == b"100":
            data, whole = data + payload, told[b"m"] == b"0"
    return base64.b64decode(data) if whole else b""


def assert_nothing_is_torn(seen: bytes) -> None:
    last = seen.rfind(b"\x1b")  # may still be on its way
    starts = [at.start() for at in re.finditer(rb"\x1b[^\\]", seen[:last])]
    assert not [seen[at - 20 : at + 40] for at in starts if not WHOLE.match(seen, at)]


def test_kitty_gets_the_picture_itself(folder: Path) -> None:
    with pane("kitty", folder, "kitty") as screen:
        screen.until(lambda seen: b"sunflower-42" in seen)
        screen.press(b" ")
        screen.until(lambda seen: bool(sent(seen)) and "\U0010eeee".encode() in seen)
        with Image.open(io.BytesIO(sent(screen.seen))) as drawn:
            picture = drawn.convert("RGB")
    assert picture.width == picture.height == 35 * CELL[1], "as many rows as the screen has"
    with Image.open(folder / "r2-0.png") as file:
        expected = file.convert("RGB").resize(picture.size)
    assert max(ImageStat.Stat(ImageChops.difference(picture, expected)).mean) < 3
    assert_nothing_is_torn(screen.seen)


def test_kitty_is_written_to_by_one_writer_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tgp, "_send_tgp_message", tgp._send_tgp_message)
    training(folder)
    written: list[str] = []
    Graphics("kitty", CELL).write_with(written.append)
    console = Console(file=io.StringIO())
    console.print(renderable.TGPImage(folder / "r2-0.png", width=4, height=2))
    assert APC.findall("".join(written).encode())
    assert capfd.readouterr().out == ""


def test_sixel_is_drawn_over_the_cells_of_the_picture(folder: Path) -> None:
    with pane("sixel", folder, "sixel") as screen:
        screen.until(lambda seen: b"sunflower-42" in seen)
        screen.press(b" ")
        screen.until(lambda seen: re.search(rb"\x1bP[^\x1b]*\x1b\\", seen) is not None)
    drawn = re.search(rb'\x1b\[(\d+);(\d+)H\x1bP0;0;0q"1;1;(\d+);(\d+)#', screen.seen)
    assert drawn
    row, column, width, height = map(int, drawn.groups())
    assert (width, height) == (35 * CELL[1], 35 * CELL[1])
    assert (row, column) == (3, 1 + (COLUMNS - width // CELL[0]) // 2)
    assert_nothing_is_torn(screen.seen)


def test_a_terminal_without_pixels_shows_cells_and_says_why(folder: Path) -> None:
    with pane("sixel", folder, "") as screen:
        screen.until(lambda seen: b"drawn in cells" in seen)
        screen.press(b" ")
        screen.until(lambda seen: b"[r2]" in seen and "▄".encode() in seen)
    assert b"\x1bP" not in screen.seen


async def test_the_reason_is_shown_once_and_large_pictures_are_cells(folder: Path) -> None:
    options = {"look": Look(pictures="kitty"), "graphics": "kitty is not tried inside tmux"}
    async with shown(training(folder), **options) as (pilot, app, _source):
        await until(pilot, lambda: "drawn in cells" in text(app))
        await pilot.press("space")
        await settle(pilot)
        assert isinstance(app.screen, LargeScreen)
        assert not app.screen.query(PixelPicture)
        assert any(glyph in text(app) for glyph in "▀▄▌▐")


@pytest.mark.parametrize(
    ("look", "asked", "pixels"),
    [("kitty", False, True), ("auto", False, False), ("auto", True, True), ("off", True, False)],
)
async def test_pixels_are_for_those_who_chose_them(
    folder: Path, look: str, asked: bool, pixels: bool
) -> None:
    options = {"look": Look(pictures=look), "graphics": Graphics("kitty", CELL, asked)}  # type: ignore[arg-type]
    async with shown(training(folder), **options) as (pilot, app, _source):
        await pilot.press("space")
        await settle(pilot)
        assert bool(app.screen.query(PixelPicture)) is pixels


@pytest.mark.parametrize("variable", ["TMUX", "SSH_CONNECTION"])
def test_inside_tmux_and_over_ssh_it_takes_the_command_line(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderable, "Image", renderable.SixelImage)
    there = {variable: "x"}
    assert "fedtui --pictures sixel insists" in str(chosen("", "sixel", there))
    assert isinstance(chosen("sixel", "auto", there), Graphics)
    assert isinstance(chosen("", "sixel", {}), Graphics)
    assert chosen("", "auto", {}) == ""


def test_whatever_goes_wrong_is_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoGraphics, match="does not say that it draws sixel"):
        find("sixel", {})
    with pytest.raises(NoGraphics, match="NO_COLOR"):
        find("sixel", {"NO_COLOR": "1"})

    def divided() -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("textual_image._terminal.get_cell_size", divided)
    with pytest.raises(NoGraphics, match="does not work here: ZeroDivisionError"):
        find("sixel", {})
    monkeypatch.setattr("textual_image._terminal.get_cell_size", lambda: SimpleNamespace())
    monkeypatch.setitem(sys.modules, "textual_image", None)
    with pytest.raises(NoGraphics, match=r"pip install 'fedtui\[graphics\]'"):
        find("kitty", {})


def test_a_picture_keeps_its_shape_whatever_the_cells_are() -> None:
    for cell, columns, rows in (((10, 20), 60, 30), ((8, 16), 60, 30), ((12, 12), 30, 30)):
        box = Graphics("sixel", cell).fitted(Box(100, 30), 256, 256)
        assert box == Box(columns, rows)
    assert Graphics("sixel", (10, 20)).fitted(Box(40, 30), 512, 256) == Box(40, 10)
