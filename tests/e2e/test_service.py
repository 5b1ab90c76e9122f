"""``fedtui --daemon`` as a service manager, a log collector and a second start see it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_rig import PATIENCE
from joining_rig import LOOPBACK, Home


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where systemd hears from its services."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(PATIENCE)
        yield heard


@pytest.mark.slow
def test_a_service_says_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, manager: socket.socket
) -> None:
    settings = {**LOOPBACK, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    home = Home(tmp_path / "ada", settings=settings)
    home.run("room", "create", "Attic", "--as", "Ada", "--start-on-request")
    home.serve("--log-json")
    try:
        assert manager.recv(256) == b"READY=1"
        events = [json.loads(line) for line in home.run("events").stdout.splitlines()]
        (pid,) = [event["pid"] for event in events if event["type"] == "node.ready"]
        assert str(pid) in home.run("--daemon", code=2).stderr
        plain = home.start("watch", "--plain")
        assert plain.stdout is not None
        assert plain.stdout.readline().strip(), "a line an event"
    finally:
        home.stop()
    assert manager.recv(256) == b"STOPPING=1"
    plain.wait(PATIENCE)
    assert home.exit_code == 0
    entries = [json.loads(line) for line in home.log.splitlines()]
    assert {"ts", "level", "logger", "message"} <= entries[0].keys()
    assert any(entry["message"] == "node ready" for entry in entries)
