"""Pictures of the interface for the documentation, from recorded views or from a running node.

    scripts/screenshots.py record --control SOCKET NAME   keep what a node shows now
    scripts/screenshots.py draw                           draw every recorded view
    scripts/screenshots.py draw --control SOCKET          draw what a node shows now

Recorded views lie in ``tests/tui/data``: one JSON file each, their pictures beside them. Drawing is
the real application without a terminal; the result is SVG, and PNG where ``rsvg-convert`` is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

os.environ["TEXTUAL_COLOR_SYSTEM"] = "truecolor"  # before Textual is imported

from PIL import Image

from fedtui.errors import FedtuiError
from fedtui.tui.app import FedtuiApp
from fedtui.tui.feed import ViewSource
from fedtui.tui.look import Look
from fedtui.tui.widgets.picture import Picture
from fedtui.view import NodeView, from_json, to_json

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "tui" / "data"
PICTURES = ROOT / "docs" / "pictures"
PNG_PIXELS_PER_COLUMN = 12
SETTLE_S = 20.0
STEP_S = 0.1
DRAWN_S = 120.0
"""A picture on a busy machine."""


class Shot(NamedTuple):
    """A screen at a size, after some keys, when it says ``until``; ``live`` needs a node."""

    name: str
    columns: int
    lines: int
    keys: tuple[str, ...] = ()
    until: str = ""
    live: bool = False


SHOTS = (
    Shot("80x24", 80, 24),
    Shot("120x40", 120, 40),
    Shot("200x60", 200, 60),
    Shot("large", 120, 40, ("space",)),
    Shot("help", 120, 40, ("question_mark",)),
    Shot("peers", 120, 40, ("2", "j")),
    Shot("rounds", 120, 40, ("3",)),
    Shot("gallery", 120, 40, ("4",)),
    Shot("wall", 120, 40, ("w",)),
    Shot("data", 120, 40, ("5", "j"), "will be trained", live=True),
    Shot("studio", 120, 40, ("6", "f5"), "✓ 1 drawn", live=True),
    Shot("library", 120, 40, ("7", "enter"), "modules", live=True),
    Shot("room", 120, 40, ("8",), "six words", live=True),
)


class Still:
    """A source that always shows the same view."""

    def __init__(self, view: NodeView) -> None:
        self._view = view

    async def view(self) -> NodeView:
        """The recorded view."""
        return self._view

    async def do(self, name: str, *, within_s: float, **arguments: Any) -> dict[str, Any]:
        """A recorded view can do nothing."""
        raise FedtuiError(f"a recorded view cannot {name!r}")

    async def stop(self) -> None:
        """Nothing runs."""

    async def close(self) -> None:
        """Nothing is open."""


def read(path: Path) -> NodeView:
    """A recorded view, its pictures found beside it."""
    view = from_json(NodeView, json.loads(path.read_text()))
    return replace(
        view, previews=tuple(replace(p, path=str(path.parent / p.path)) for p in view.previews)
    )


def record(view: NodeView, name: str, folder: Path) -> Path:
    """Keeps ``view`` and its pictures in ``folder``, without paths of this machine."""
    pictures = folder / name
    pictures.mkdir(parents=True, exist_ok=True)
    kept = []
    prompts: list[tuple[str, int]] = []
    for preview in view.previews:
        recipe = (preview.prompt, preview.seed)
        if recipe not in prompts:
            prompts.append(recipe)
        target = pictures / f"r{preview.round}-{prompts.index(recipe)}.png"
        shutil.copyfile(preview.path, target)
        kept.append(replace(preview, path=f"{name}/{target.name}"))
    adapter = Path(view.adapter).name if view.adapter else None
    path = folder / f"{name}.json"
    folder_name = Path(view.dataset).name
    anonymous = replace(view, previews=tuple(kept), adapter=adapter, dataset=folder_name)
    path.write_text(json.dumps(to_json(anonymous), indent=1, ensure_ascii=False) + "\n")
    return path


async def draw(source: ViewSource, shot: Shot, theme: str) -> str:
    """One screen as SVG."""
    # Blocks: the fonts of most SVG viewers lack braille, or give it another width.
    app = FedtuiApp(source, look=Look(theme=theme, characters="blocks", pictures="quadrant"))
    async with app.run_test(size=(shot.columns, shot.lines)) as pilot:
        for key in ("", *shot.keys):
            if key:
                await pilot.press(key)
            for _ in range(int(SETTLE_S / STEP_S)):
                await pilot.pause(STEP_S)
                visible = [p for p in app.screen.query(Picture) if p.is_on_screen]
                if app.feed.view is not None and all(p.settled for p in visible):
                    break
        for _ in range(int(DRAWN_S / STEP_S)):
            strips = app.screen._compositor.render_strips(app.screen.size)
            if shot.until in "\n".join(strip.text for strip in strips):
                break
            await pilot.pause(STEP_S)
        await pilot.pause(STEP_S)
        return without_leading_blanks(app.export_screenshot(title="fedtui"))


def without_leading_blanks(svg: str) -> str:
    """The same picture for viewers that drop blanks at the start of a text, as librsvg does."""
    blank = "&#160;"

    def moved(match: re.Match[str]) -> str:
        head, x, middle, length, tail, text = match.groups()
        bare = text
        while bare.startswith(blank):
            bare = bare[len(blank) :]
        blanks = (len(text) - len(bare)) // len(blank)
        if not blanks or not bare:
            return match.group(0)
        width = float(length) / len(re.sub(r"&#?\w+;", "x", text))
        start, rest = float(x) + blanks * width, float(length) - blanks * width
        return f"{head}{start:g}{middle}{rest:g}{tail}{bare}</text>"

    pattern = r'(<text [^>]*?x=")([\d.]+)("[^>]*?textLength=")([\d.]+)("[^>]*>)([^<]*)</text>'
    return re.sub(pattern, moved, svg)


def save(svg: str, path: Path, columns: int) -> None:
    """Writes the SVG and, where there is a converter, a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg)
    print(path)
    converter = shutil.which("rsvg-convert")
    if converter:
        width = str(columns * PNG_PIXELS_PER_COLUMN)
        png = path.with_suffix(".png")
        subprocess.run([converter, "-w", width, "-o", str(png), str(path)], check=True)
        with Image.open(png) as image:  # a quarter of the bytes, and no eye sees it
            image.convert("RGB").quantize(255).save(png, optimize=True)
        print(png)


async def ask(control: Path) -> NodeView:
    """What a running node shows now."""
    from fedtui.control.client import ControlClient

    async with ControlClient(control) as client:
        return await client.view()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    keep = commands.add_parser("record", help="keep what a node shows now")
    keep.add_argument("name")
    keep.add_argument("--control", type=Path, required=True, help="the node's control socket")
    keep.add_argument("--views", type=Path, default=RECORDED)
    paint = commands.add_parser("draw", help="draw recorded views or a running node")
    paint.add_argument("--control", type=Path, help="a running node instead of recorded views")
    paint.add_argument("--views", type=Path, default=RECORDED)
    paint.add_argument("--out", type=Path, default=PICTURES)
    paint.add_argument("--theme", default="fedtui")
    paint.add_argument("--only", default="", help="draw shots whose name contains this")
    chosen = parser.parse_args()
    if chosen.command == "record":
        print(record(asyncio.run(ask(chosen.control)), chosen.name, chosen.views))
        return
    if chosen.control:
        shoot({"node": None}, chosen)
        return
    views = {path.stem: read(path) for path in sorted(chosen.views.glob("*.json"))}
    if not views:
        parser.error(f"no recorded views in {chosen.views}")
    shoot(dict(views), chosen)


def shoot(views: Mapping[str, NodeView | None], chosen: argparse.Namespace) -> None:
    """Every shot of every view; None stands for the running node."""
    from fedtui.control.client import ControlClient

    for name, view in views.items():
        for shot in SHOTS:
            full = f"{name}-{shot.name}"
            if chosen.only in full and (view is None or not shot.live):
                source = ControlClient(chosen.control) if view is None else Still(view)
                svg = asyncio.run(draw(source, shot, chosen.theme))
                save(svg, chosen.out / f"{full}.svg", shot.columns)


if __name__ == "__main__":
    main()
