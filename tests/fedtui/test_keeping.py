"""Files beside the store: whole or not there, what they say they are, and not for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtui import keeping
from fedtui.paths import RoomPaths, sha256_of


@pytest.fixture
def paths(tmp_path: Path) -> RoomPaths:
    return RoomPaths(tmp_path)


@pytest.fixture
def blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(b"the adapter of round 3")
    return path


def test_a_file_that_a_power_cut_has_torn_is_replaced(paths: RoomPaths, blob: Path) -> None:
    paths.adapters.mkdir()
    paths.adapter(3).write_bytes(b"the ada\0\0\0")
    assert keeping.keep_adapter(paths, blob, sha256_of(blob), 3) == paths.adapter(3)
    assert paths.adapter(3).read_bytes() == blob.read_bytes()
    assert keeping.keep_adapter(paths, blob, sha256_of(blob), 0) == paths.initial


def test_the_bytes_are_on_the_disk_before_the_name(
    paths: RoomPaths, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[bool] = []
    monkeypatch.setattr(keeping, "flush", lambda file: there.append(paths.adapter(1).exists()))
    keeping.keep_adapter(paths, blob, sha256_of(blob), 1)
    assert there == [False]


def test_bytes_that_are_not_the_adapters_are_not_kept(paths: RoomPaths, blob: Path) -> None:
    with pytest.raises(OSError, match="damaged"):
        keeping.keep_adapter(paths, blob, "0" * 64, 1)
    assert not list(paths.adapters.iterdir())


def test_a_disk_that_is_full_leaves_no_part_of_a_file(
    paths: RoomPaths, blob: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "flush", full)
    with pytest.raises(OSError, match="No space"):
        keeping.keep_adapter(paths, blob, sha256_of(blob), 1)
    assert not list(paths.adapters.iterdir())


def test_the_newest_adapters_stay_and_what_people_put_beside_them(
    paths: RoomPaths, blob: Path
) -> None:
    for number in range(1, 8):
        keeping.keep_adapter(paths, blob, sha256_of(blob), number)
    (paths.adapters / "mine.safetensors").touch()
    keeping.forget_adapters(paths, 3)
    kept = {path.name for path in paths.adapters.iterdir()}
    assert kept == {*(paths.adapter(number).name for number in (4, 5, 6, 7)), "mine.safetensors"}


def test_trainings_of_other_rounds_are_deleted(paths: RoomPaths) -> None:
    keeping.forget_trainings(paths, 2)  # nothing there yet
    for number in (1, 2, 3):
        for path in (
            paths.contribution(number),
            paths.contribution(number).with_suffix(".json"),
            paths.checkpoint / f"round-{number:04d}",
        ):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    folder = paths.checkpoint / "round-0004"
    folder.mkdir()
    (folder / "state").touch()
    keeping.forget_trainings(paths, 2)
    left = {path.name for path in (*paths.contributions.iterdir(), *paths.checkpoint.iterdir())}
    assert left == {"round-0002.safetensors", "round-0002.json", "round-0002"}
