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
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from tui_driver import settle, shown, text, until
from tui_scenarios import training

from fedtui.terminal_query import Answers
from fedtui.tui.graphics import Graphics, NoGraphics, chosen, find, sixels
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
LAST_PART = re.compile(rb"m=0;[^\x1b]*\x1b\\")
WIPED = b"\x1b_Ga=d,d=I,"
SIXEL = re.compile(rb'\x1b\[(\d+);(\d+)H\x1bP0;0;0q"1;1;(\d+);(\d+)#[^\x1b]*\x1b\\')
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
    asked: bool = False
    late_s: float = 0.0

    def until(self, come: Callable[[bytes], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not come(self.seen):
            assert time.monotonic() < end, self.seen[-2000:]
            if select.select([self.fd], [], [], 0.1)[0]:
                self.seen += os.read(self.fd, 1 << 16)
                self._answer()

    def _answer(self) -> None:
        if b"\x1b[c" in self.seen and not self.asked:
            self.asked = True
            time.sleep(self.late_s)
            if self.answers == "kitty" and QUERY.search(self.seen):
                os.write(self.fd, b"\x1b_Gi=31;OK\x1b\\")
            os.write(self.fd, b"\x1b[?62;4;22c" if self.answers == "sixel" else b"\x1b[?62;c")

    def press(self, keys: bytes) -> None:
        os.write(self.fd, keys)


@contextmanager
def pane(wish: str, folder: Path, answers: str, late_s: float = 0.0) -> Iterator[Pane]:
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
        yield Pane(ours, answers, late_s=late_s)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def sent(seen: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """The last picture that kitty was given, as a file, and what was said of it."""
    data, keys = b"", {}
    for told, payload in APC.findall(seen):
        said = dict(key.split(b"=") for key in told.split(b","))
        if said.get(b"a") == b"T":
            data, keys = b"", said
        if said.get(b"a") in (b"T", None):
            data += payload
    return base64.b64decode(data + b"=" * (-len(data) % 4)), keys


def shows(screen: Pane, what: bytes) -> None:
    """Waits until something new contains ``what``."""
    at = len(screen.seen)
    screen.until(lambda seen: what in seen[at:])


def assert_nothing_is_torn(seen: bytes) -> None:
    last = seen.rfind(b"\x1b")  # may still be on its way
    starts = [at.start() for at in re.finditer(rb"\x1b[^\\]", seen[:last])]
    assert not [seen[at - 20 : at + 40] for at in starts if not WHOLE.match(seen, at)]


def test_kitty_gets_the_picture_itself_and_loses_it_under_a_dialog(folder: Path) -> None:
    with pane("kitty", folder, "kitty") as screen:
        screen.until(lambda seen: b"sunflower-42" in seen)
        screen.press(b" ")
        shows(screen, b"a=T,f=100")
        screen.until(lambda seen: bool(LAST_PART.search(seen, seen.rfind(b"a=T,"))))
        drawn, keys = sent(screen.seen)
        with Image.open(io.BytesIO(drawn)) as file:
            picture = file.convert("RGB")
        screen.press(b"?")
        shows(screen, WIPED)
        assert b"a=T" not in screen.seen[screen.seen.rfind(WIPED) :]
        screen.press(b"\x1b")
        shows(screen, b"a=T,f=100")
        screen.press(b" ")  # back to the dashboard, where nothing takes its place
        shows(screen, WIPED)
        assert_nothing_is_torn(screen.seen)
    assert picture.width == picture.height == 35 * CELL[1], "as many rows as the screen has"
    assert (int(keys[b"c"]), int(keys[b"r"])) == (70, 35)
    assert "\U0010eeee".encode() not in screen.seen, "no placeholders: kitty 0.26 prints them"
    with Image.open(folder / "r2-0.png") as file:
        expected = file.convert("RGB").resize(picture.size)
    assert max(ImageStat.Stat(ImageChops.difference(picture, expected)).mean) < 3


def test_sixel_is_drawn_over_the_cells_whenever_these_were_painted(folder: Path) -> None:
    with pane("sixel", folder, "sixel") as screen:
        screen.until(lambda seen: b"sunflower-42" in seen)
        screen.press(b" ")
        screen.until(lambda seen: SIXEL.search(seen) is not None)
        drawn = SIXEL.search(screen.seen)
        for keys in (b"?", b"\x1b", b"4", b"1"):
            screen.press(keys)
            time.sleep(0.5)
        at = len(screen.seen)
        screen.until(lambda seen: SIXEL.search(seen[at - 2000 :]) is not None)
        assert_nothing_is_torn(screen.seen)
    assert drawn
    row, column, width, height = map(int, drawn.groups())
    assert (width, height) == (35 * CELL[1], 35 * CELL[1])
    assert row == 3
    assert column == 1 + (COLUMNS - width // CELL[0]) // 2


def test_an_answer_that_takes_a_while_is_waited_for_and_never_taken_for_keys(folder: Path) -> None:
    """kitty 0.26 that has just opened: its ``?62;c`` opened the help page."""
    with pane("kitty", folder, "kitty", late_s=0.6) as screen:
        screen.until(lambda seen: b"sunflower-42" in seen)
        screen.press(b" ")
        shows(screen, b"a=T,f=100")
    assert b"drawn in cells" not in screen.seen


def test_sixel_names_every_colour_before_it_uses_one() -> None:
    """xterm 379 draws with another one otherwise."""
    image = Image.linear_gradient("L").convert("RGB").resize((40, 24))
    told = sixels(image)
    first = re.search(r"#\d+(?!;2;)[^\d;]", told)
    assert first
    assert ";2;" not in told[first.start() :]
    assert len(re.findall(r"#\d+;2;", told)) == len(set(re.findall(r"#(\d+);2;", told))) == 16


def test_a_terminal_without_pixels_shows_cells_and_says_why(folder: Path) -> None:
    with pane("sixel", folder, "") as screen:
        screen.until(lambda seen: b"drawn in cells" in seen)
        screen.press(b" ")
        screen.until(lambda seen: b"[r2]" in seen and "▄".encode() in seen)
    assert SIXEL.search(screen.seen) is None


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


def answering(monkeypatch: pytest.MonkeyPatch, **said: bool) -> None:
    monkeypatch.setattr("fedtui.terminal_query.ask", lambda *, pixels: Answers(**said))


@pytest.mark.parametrize("variable", ["TMUX", "SSH_CONNECTION"])
def test_inside_tmux_and_over_ssh_it_takes_the_command_line(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, sixel=True)
    there = {variable: "x"}
    assert "fedtui --pictures sixel insists" in str(chosen("", "sixel", there))
    assert isinstance(chosen("sixel", "auto", there), Graphics)
    assert isinstance(chosen("", "sixel", {}), Graphics)
    assert chosen("", "auto", {}) == ""


def test_whatever_goes_wrong_is_one_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, kitty=True)
    with pytest.raises(NoGraphics, match=r"does not say that it draws sixel, but .* kitty: fedtui"):
        find("sixel", {})
    with pytest.raises(NoGraphics, match="NO_COLOR"):
        find("sixel", {"NO_COLOR": "1"})
    monkeypatch.setitem(sys.modules, "textual_image._sixel", None)
    with pytest.raises(NoGraphics, match=r"pip install 'fedtui\[graphics\]'"):
        find("sixel", {})
    assert find("kitty", {}).protocol == "kitty", "which needs no library"


def test_letters_of_another_size_make_other_pixels() -> None:
    before = Graphics("sixel", (10, 20))
    assert before.at(None) is before is before.at((10, 20))
    assert before.at((6, 13)) == Graphics("sixel", (6, 13))


def test_a_picture_keeps_its_shape_whatever_the_cells_are() -> None:
    for cell, columns, rows in (((10, 20), 60, 30), ((8, 16), 60, 30), ((12, 12), 30, 30)):
        box = Graphics("sixel", cell).fitted(Box(100, 30), 256, 256)
        assert box == Box(columns, rows)
    assert Graphics("sixel", (10, 20)).fitted(Box(40, 30), 512, 256) == Box(40, 10)
