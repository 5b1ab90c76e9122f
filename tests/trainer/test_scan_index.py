"""A folder looked at again costs no decoding, and is never taken for what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from trainer_rig import MakePictures, picture

from trainer import pictures
from trainer.dataset import scan
from trainer.scan_index import FILE, ScanIndex


class Decodings:
    """Counts how often a picture is decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = pictures._opened

        def opened(content: bytes) -> object:
            self.count += 1
            return real(content)

        monkeypatch.setattr(pictures, "_opened", opened)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> Decodings:
    return Decodings(monkeypatch)


def test_what_was_decoded_is_known_by_its_bytes(
    make_pictures: MakePictures, tmp_path: Path, decodings: Decodings
) -> None:
    folder, place = make_pictures(count=4), tmp_path / "cache"
    Image.new("CMYK", (40, 40)).save(folder / "print.jpg")
    first = scan(folder, index=ScanIndex(place))
    assert decodings.count == 5
    again = scan(folder, index=ScanIndex(place))
    assert decodings.count == 5
    assert again == first
    assert any("CMYK" in problem.problem for problem in again.problems)
    (folder / "000.png").rename(folder / "renamed.png")
    assert len(scan(folder, index=ScanIndex(place)).pictures) == 5
    assert decodings.count == 5


def test_an_edit_is_seen_whatever_the_clock_says(
    make_pictures: MakePictures, tmp_path: Path, decodings: Decodings
) -> None:
    folder, place = make_pictures(count=2), tmp_path / "cache"
    before = scan(folder, index=ScanIndex(place))
    path = folder / "001.png"
    stat = path.stat()
    picture(77).save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = scan(folder, index=ScanIndex(place))
    assert decodings.count == 3
    assert before.pictures[1].sha256 != after.pictures[1].sha256


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"version": 99}', '{"version": 1}',
                                    '{"version": 1, "pictures": {"x": {"width": 1}}}'])  # fmt: skip
def test_a_damaged_index_only_costs_time(
    make_pictures: MakePictures, tmp_path: Path, damage: str
) -> None:
    folder, place = make_pictures(count=2), tmp_path / "cache"
    first = scan(folder, index=ScanIndex(place))
    (place / FILE).write_text(damage)
    assert scan(folder, index=ScanIndex(place)) == first


def test_pictures_that_are_gone_are_forgotten(make_pictures: MakePictures, tmp_path: Path) -> None:
    folder, place = make_pictures(count=3), tmp_path / "cache"
    scan(folder, index=ScanIndex(place))
    size = (place / FILE).stat().st_size
    (folder / "000.png").unlink()
    scan(folder, index=ScanIndex(place))
    assert (place / FILE).stat().st_size < size
    assert [path.name for path in place.iterdir()] == [FILE]
