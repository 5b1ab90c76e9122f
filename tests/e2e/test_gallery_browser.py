"""The page in a real browser at a phone's width: pictures come through the page's own policy."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from fedtui.gallery.listener import GalleryListener
from fedtui.view import NodeView, PreviewView, RoundView

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), "")
FIRST, LAST = (214, 37, 152), (21, 182, 91)
"""Colours that nothing else on the page has."""
BROWSER_S = 180.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium; tests/fedtui has the rest"),
]


def a_view(folder: Path) -> NodeView:
    previews = []
    for number, colour in ((0, FIRST), (1, LAST)):
        path = folder / f"r{number}.png"
        Image.new("RGB", (64, 64), colour).save(path)
        previews.append(PreviewView(number, "<b>a lighthouse</b>", 7, str(path)))
    return NodeView(
        room_name="sunflower", round=RoundView(number=2, rounds=3), previews=tuple(previews)
    )


async def looked_at(address: str, folder: Path) -> Image.Image:
    """What a browser of 500 pixels' width (the least that one without a screen takes) draws."""
    out = folder / "page.png"
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless=new",
        *(("--no-sandbox",) if os.geteuid() == 0 else ()),
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--hide-scrollbars",
        "--force-device-scale-factor=1",
        f"--user-data-dir={folder / 'browser'}",
        "--window-size=500,1000",
        f"--screenshot={out}",
        address,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(BROWSER_S):
            await browser.wait()
    finally:
        if browser.returncode is None:
            browser.kill()
            await browser.wait()
    with Image.open(out) as image:
        return image.convert("RGB")


def share(image: Image.Image, colour: tuple[int, int, int]) -> float:
    """How much of an image has a colour."""
    counts = image.getcolors(image.width * image.height) or []
    return sum(n for n, each in counts if each == colour) / (image.width * image.height)


async def test_a_phone_shows_both_pictures_beside_each_other_and_one_alone(tmp_path: Path) -> None:
    view = a_view(tmp_path)
    serving = GalleryListener(lambda: view)
    await serving.start("127.0.0.1", 0)
    try:
        address = f"http://127.0.0.1:{serving.port}/{serving.token}/"
        page = await looked_at(address, tmp_path)
        large = await looked_at(f"{address}#p0r1", tmp_path)
    finally:
        await serving.stop()
    first, last = share(page, FIRST), share(page, LAST)
    assert first > 0.05
    assert abs(first - last) < 0.01
    assert share(large, LAST) > 3 * last
    assert share(large, FIRST) == 0.0
