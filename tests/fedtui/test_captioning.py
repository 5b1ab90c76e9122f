"""A caption is kept whole beside its picture, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedtui.captioning import write_caption
from fedtui.errors import FedtuiError, UsageError
from trainer.protocol import MAX_CAPTION_BYTES


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "10_cats").mkdir(parents=True)
    (folder / "one.png").write_bytes(b"picture")
    (folder / "10_cats" / "two.png").write_bytes(b"picture")
    return folder


def test_a_caption_is_written_and_what_was_there_comes_back(pictures: Path) -> None:
    assert write_caption(pictures, "one.png", "a cat") == {"file": "one.png", "before": None}
    assert (pictures / "one.txt").read_text() == "a cat"
    assert write_caption(pictures, "one.png", "a dog")["before"] == "a cat"
    assert write_caption(pictures, "10_cats/two.png", "two")["before"] is None
    assert (pictures / "10_cats" / "two.txt").read_text() == "two"
    write_caption(pictures, "one.png", "a cat")
    write_caption(pictures, "one.png", None)
    left = {p.relative_to(pictures).as_posix() for p in pictures.rglob("*") if p.is_file()}
    assert left == {"one.png", "10_cats/two.png", "10_cats/two.txt"}


def test_every_line_of_an_older_caption_is_handed_back(pictures: Path) -> None:
    (pictures / "one.caption").write_bytes("Straße\nhouse\n".encode("latin-1"))
    assert write_caption(pictures, "one.png", "x")["before"] == "Straße\nhouse\n"
    assert (pictures / "one.caption").read_text() == "x"
    assert not (pictures / "one.txt").exists()


@pytest.mark.parametrize("file", ["../one.png", "/etc/passwd", "none.png", "", "a\0b", "10_cats"])
def test_only_pictures_of_the_folder_have_captions(pictures: Path, file: str) -> None:
    (pictures.parent / "one.png").write_bytes(b"another")
    with pytest.raises(UsageError, match="no picture"):
        write_caption(pictures, file, "x")


def test_no_link_leads_out_of_the_folder(pictures: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(b"x")
    (pictures / "linked.png").symlink_to(outside)
    with pytest.raises(UsageError, match="no picture"):
        write_caption(pictures, "linked.png", "x")
    target = tmp_path / "target.txt"
    target.write_text("keep")
    (pictures / "one.txt").symlink_to(target)
    with pytest.raises(UsageError, match="no file of its own"):
        write_caption(pictures, "one.png", "x")
    assert target.read_text() == "keep"


def test_captions_of_a_table_are_not_overruled_in_vain(pictures: Path) -> None:
    (pictures / "metadata.jsonl").write_text("")
    with pytest.raises(UsageError, match=r"in metadata\.jsonl"):
        write_caption(pictures, "one.png", "x")
    assert not (pictures / "one.txt").exists()


def test_a_caption_that_training_would_not_read_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match="too long"):
        write_caption(pictures, "one.png", "x" * (MAX_CAPTION_BYTES + 1))
    (pictures / "text.txt").write_text("x")
    with pytest.raises(UsageError, match="caption itself"):
        write_caption(pictures, "text.txt", "x")


def test_a_disk_that_refuses_changes_nothing(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pictures / "one.txt").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("p2p.durable.flush", full)
    with pytest.raises(FedtuiError, match="cannot be written"):
        write_caption(pictures, "one.png", "new")
    assert (pictures / "one.txt").read_text() == "old"
    assert sorted(p.name for p in pictures.iterdir()) == ["10_cats", "one.png", "one.txt"]


def test_no_file_outside_is_written_through_a_link_left_in_the_folder(
    pictures: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target.txt"
    target.write_text("keep")
    (pictures / ".one.txt.draft").symlink_to(target)
    write_caption(pictures, "one.png", "x")
    assert target.read_text() == "keep"
    assert (pictures / "one.txt").read_text() == "x"
    assert not (pictures / "one.txt").is_symlink()


def test_a_text_that_is_more_than_a_caption_is_left_alone(pictures: Path) -> None:
    text = "x" * (MAX_CAPTION_BYTES + 1)
    (pictures / "one.txt").write_text(text)
    for caption in ("a cat", None):
        with pytest.raises(UsageError, match="more than a caption"):
            write_caption(pictures, "one.png", caption)
    assert (pictures / "one.txt").read_text() == text


def test_half_a_character_is_refused(pictures: Path) -> None:
    with pytest.raises(UsageError, match="no text"):
        write_caption(pictures, "one.png", "a cat \ud800")
    assert not (pictures / "one.txt").exists()
