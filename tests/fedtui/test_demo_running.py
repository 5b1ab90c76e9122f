"""The demo's runner: what happens while it looks at the room is not missed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from fedtui.demo.founding import Founded
from fedtui.demo.nodes import DemoNode
from fedtui.demo.options import DemoOptions, open_directory
from fedtui.demo.reporting import JsonReporter
from fedtui.demo.running import _Demo


async def test_the_last_news_that_comes_while_a_node_is_asked_for_voters_ends_the_demo(
    tmp_path: Path,
) -> None:
    options = DemoOptions(rounds=1, directory=tmp_path / "demo")
    demo = _Demo(options, open_directory(options), JsonReporter(lambda _: None, lambda _: None))
    applied = {"type": "adapter.applied", "round": 1, "sha256": "ab"}

    async def view() -> Any:
        demo._on_event(cast("DemoNode", survivor), applied)
        return SimpleNamespace(round=SimpleNamespace(voters=("survivor",), quorum=1))

    survivor = SimpleNamespace(peer_id="survivor", name="Ada", view=view)
    demo._nodes.append(cast("DemoNode", survivor))
    demo._lost["killed"] = -9
    preview = SimpleNamespace(preview=SimpleNamespace(count=0))
    founded = cast("Founded", SimpleNamespace(room=SimpleNamespace(task=preview)))
    await asyncio.wait_for(demo._until_rounds_done(founded), 30)
