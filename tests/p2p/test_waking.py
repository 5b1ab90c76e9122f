"""A machine that slept hears the others before it blames a leader."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_room import ToyNode, toy_genesis, until

from p2p import clock
from p2p.rounds.effects import SetTimer


async def test_a_woken_node_starts_no_attempt_until_it_has_listened_as_long_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = ToyNode(tmp_path, 0, toy_genesis(3, deadline_ms=3_600_000))
    await node.start(train=False)
    driver, core, real, slept = node.peer._driver, node.peer._core, clock.now, 0.0
    monkeypatch.setattr(clock, "now", lambda: real() + slept)
    try:
        await until(lambda: "deadline" in driver._timers)
        driver._set_timer(SetTimer("attempt", 0.2))
        before = driver._timers["attempt"]
        slept = 3600.0
        await until(lambda: driver._timers.get("attempt") is not before)
        assert core.attempt == 0
        assert driver._timers["attempt"].after == before.after
        await until(lambda: core.attempt == 1)
    finally:
        await node.stop()
