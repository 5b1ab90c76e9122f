"""The doctor's checks against real faults: modes, ports, folders, clocks, sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedtui import doctor, terminal
from fedtui.paths import Profile
from fedtui.settings import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])


async def test_a_healthy_machine_passes_without_a_profile(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "none")
    checks = [check async for check in doctor.examine(profile, Settings(), trainer=False)]
    assert [check.name for check in checks][:4] == ["python", "packages", "terminal", "clock"]
    assert not [check for check in checks if check.grade == "failed"]
    assert not profile.root.exists()


def test_a_key_that_others_can_read_fails(tmp_path: Path) -> None:
    profile = Profile(tmp_path)
    profile.identity.write_bytes(b"key")
    profile.identity.chmod(0o644)
    check = doctor.check_profile(profile)
    assert check.grade == "failed"
    assert "chmod 600" in check.remedy
    profile.identity.chmod(0o600)
    assert doctor.check_profile(profile).grade == "ok"


def test_a_taken_port_is_named(taken: int) -> None:
    check = doctor.check_port(Settings(host="127.0.0.1", port=taken))
    assert check.grade == "warning"
    assert str(taken) in check.said


def test_a_folder_that_is_gone_fails(tmp_path: Path) -> None:
    check = doctor.check_data(Settings(data=str(tmp_path / "gone")))
    assert check.grade == "failed"
    assert doctor.check_data(Settings(data=str(tmp_path))).grade == "ok"


@pytest.mark.parametrize(("year", "grade"), [(1971, "warning"), (2027, "ok"), (2190, "warning")])
def test_dead_clocks_are_told(year: int, grade: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.mktime((year, 6, 1, 0, 0, 0, 0, 0, 0))
    monkeypatch.setattr(doctor.time, "time", lambda: now)
    assert doctor.check_clock().grade == grade


def test_too_little_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DOCTOR_DISK_BYTES", 1 << 60)
    monkeypatch.setattr(doctor, "DOCTOR_MEMORY_BYTES", 1 << 60)
    assert doctor.check_disk(tmp_path / "not" / "yet").grade == "warning"
    assert doctor.check_memory().grade == "warning"


def test_packages_below_a_floor_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.FLOORS, "aiohttp", (99, 0))
    check = doctor.check_packages()
    assert check.grade == "failed"
    assert "needs 99.0" in check.said


async def test_no_node_is_no_fault(tmp_path: Path) -> None:
    assert (await doctor.check_node(Profile(tmp_path))).grade == "ok"


def test_the_terminal_line_says_what_the_interface_would_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedtui.terminal.at_terminal", lambda: True)
    monkeypatch.setattr("fedtui.terminal.size", lambda: terminal.Size(80, 24))
    asked = {"TERM": "xterm", "TEXTUAL_COLOR_SYSTEM": "truecolor"}
    check = doctor.check_terminal(asked, "sixel")
    assert (check.grade, check.said) == (
        "ok",
        "xterm, 80x24, colours: truecolor, pixels: fedtui --pictures sixel",
    )
    assert doctor.check_terminal({"TERM": "xterm"}).grade == "warning"
    assert "not used (NO_COLOR)" in doctor.check_terminal({**asked, "NO_COLOR": "1"}).said
