"""The profile directory: private, one node at a time, sockets that fit."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fedtui.errors import UsageError
from fedtui.limits import UNIX_SOCKET_PATH_BYTES
from fedtui.locking import ProfileLock
from fedtui.paths import Profile, default_profile


def test_the_environment_chooses_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDTUI_HOME", str(tmp_path))
    assert default_profile() == Profile(tmp_path)


def test_only_the_owner_may_enter_a_profile(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "profile")
    profile.create()
    assert stat.S_IMODE(profile.root.stat().st_mode) == 0o700


def test_the_control_socket_fits_whatever_the_profile_is_called(tmp_path: Path) -> None:
    deep = Profile(tmp_path / ("very-long-name-" * 12))
    assert len(os.fsencode(deep.control)) <= UNIX_SOCKET_PATH_BYTES
    assert deep.control != Profile(deep.root.with_name("another")).control
    assert Profile(Path("/p")).control == Path("/p/control.sock")


def test_a_place_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot use"):
        Profile(tmp_path / "file" / "profile").create()


def test_a_second_holder_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    first, second = ProfileLock(tmp_path / "lock"), ProfileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(UsageError, match="already running") as caught:
        second.acquire()
    assert str(os.getpid()) in caught.value.cause
    first.release()
    second.acquire()
    second.release()


HOLDER = """
import sys, time
from pathlib import Path
from fedtui.locking import ProfileLock
lock = ProfileLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_kill_9_releases_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError):
        ProfileLock(path).acquire()
    holder.kill()
    holder.wait()
    lock = ProfileLock(path)
    lock.acquire()
    lock.release()
