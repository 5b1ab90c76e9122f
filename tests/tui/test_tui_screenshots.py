"""The script that draws the documentation's pictures."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from tui_scenarios import done, training

SCRIPT = Path(__file__).parents[2] / "scripts" / "screenshots.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("screenshots", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_recorded_view_is_the_view_without_paths_of_this_machine(
    script: ModuleType, folder: Path, tmp_path: Path
) -> None:
    view = replace(done(folder), adapter=str(folder / "adapter-8.safetensors"))
    path = script.record(view, "done", tmp_path / "recorded")
    assert str(tmp_path) not in path.read_text()
    again = script.read(path)
    assert again.adapter == "adapter-8.safetensors"
    assert [p.round for p in again.previews] == [p.round for p in view.previews]
    for kept, original in zip(again.previews, view.previews, strict=True):
        assert Path(kept.path).read_bytes() == Path(original.path).read_bytes()
    assert replace(again, previews=(), adapter=None) == replace(view, previews=(), adapter=None)
    assert json.loads(path.read_text())["room_name"] == "sunflower-42"


async def test_a_screen_is_drawn_with_its_pictures(script: ModuleType, folder: Path) -> None:
    svg = await script.draw(script.Still(training(folder)), script.SHOTS[0], "fedtui")
    assert svg.startswith("<svg")
    assert "sunflower-42" in svg
    assert "▀" in svg


def test_leading_blanks_move_the_text_instead(script: ModuleType) -> None:
    text = '<text class="a" x="10" y="5" textLength="40" clip-path="c">&#160;&#160;ab</text>'
    moved = '<text class="a" x="30" y="5" textLength="20" clip-path="c">ab</text>'
    assert script.without_leading_blanks(text) == moved
    blank = '<text class="a" x="10" y="5" textLength="20" clip-path="c">&#160;&#160;</text>'
    assert script.without_leading_blanks(blank) == blank
