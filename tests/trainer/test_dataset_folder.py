"""A folder with every bad thing in it: each is named, the rest is used."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin
from trainer_rig import MakePictures, picture

from trainer import dataset, pictures
from trainer.captions import clean
from trainer.config import MAX_PIXELS
from trainer.dataset import Contents, scan
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job


def problems_of(contents: Contents, file: str) -> list[str]:
    return [p.problem for p in contents.problems if p.file == file]


def usable(contents: Contents) -> list[str]:
    return [p.file for p in contents.pictures]


def caption(path: Path, text: str = "a house") -> None:
    path.with_suffix(".txt").write_text(text)


def bomb(path: Path) -> None:
    """A PNG of 60,000 x 60,000 pixels in 300 bytes: only its header is honest."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    header = (60_000).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    body = (
        chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


FATAL = {
    "text.png": "cannot be read",
    "cut.jpg": "cannot be read",
    "empty.png": "file is empty",
    "tiny.png": "too small: 16 x 16",
    "bomb.png": "huge",
    "twin.webp": "same picture as good.png",
    "moving.gif": ".gif files are not read",
    "phone.heic": ".heic files are not read",
    "escape.png": "leads out of the folder",
}
NOTED = {
    "print.jpg": "CMYK",
    "moving.png": "first frame",
    "old.png": "Latin-1",
    "silent.png": "caption is missing",
}


@pytest.fixture
def horrible(tmp_path: Path) -> Path:
    folder = tmp_path / "horrible"
    (folder / "deeper").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    picture(1).save(folder / "good.png")
    picture(2).save(folder / "deeper" / "good.jpeg")
    picture(2).save(folder / ".hidden" / "no.png")
    (folder / "text.png").write_text("I am not a picture")
    picture(3).save(folder / "cut.jpg")
    (folder / "cut.jpg").write_bytes((folder / "cut.jpg").read_bytes()[:400])
    (folder / "empty.png").touch()
    picture(4, (16, 16)).save(folder / "tiny.png")
    bomb(folder / "bomb.png")
    picture(1).save(folder / "twin.webp", lossless=True)
    picture(5).save(folder / "moving.gif")
    (folder / "phone.heic").write_bytes(b"x")
    outside = tmp_path / "outside.png"
    picture(6).save(outside)
    (folder / "escape.png").symlink_to(outside)
    picture(7).convert("CMYK").save(folder / "print.jpg")
    frames = [picture(8), picture(9)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    picture(10).save(folder / "old.png")
    (folder / "old.txt").write_bytes("ein grünes Haus".encode("latin-1"))
    picture(11).save(folder / "silent.png")
    (folder / "notes.md").write_text("not a picture, and not meant to be one")
    for path in folder.rglob("*"):
        if path.suffix in (".png", ".jpg", ".jpeg", ".webp") and path.stem not in ("old", "silent"):
            caption(path)
    return folder


@pytest.mark.parametrize(("file", "words"), FATAL.items())
def test_what_cannot_be_used_is_named_with_a_remedy(horrible: Path, file: str, words: str) -> None:
    contents = scan(horrible)
    assert any(words in problem for problem in problems_of(contents, file)), contents.problems
    assert file not in usable(contents)
    assert all(p.remedy and p.fatal for p in contents.problems if p.file == file)


@pytest.mark.parametrize(("file", "words"), NOTED.items())
def test_what_is_odd_is_used_and_noted(horrible: Path, file: str, words: str) -> None:
    contents = scan(horrible)
    assert any(words in problem for problem in problems_of(contents, file)), contents.problems
    assert file in usable(contents)
    assert not any(p.fatal for p in contents.problems if p.file == file)


def test_the_rest_is_used(horrible: Path) -> None:
    contents = scan(horrible)
    assert usable(contents) == [
        "good.png",
        "moving.png",
        "old.png",
        "print.jpg",
        "silent.png",
        "deeper/good.jpeg",
    ]
    assert contents.caption_counts() == {"txt": 5, "missing": 1}
    captions = {p.file: p.caption.text for p in contents.pictures}
    assert captions["old.png"] == "ein grünes Haus"
    assert captions["silent.png"] == ""


def test_a_picture_just_below_the_bomb_limit_is_judged_by_its_pixels(tmp_path: Path) -> None:
    side = int(MAX_PIXELS**0.5) + 1
    Image.new("1", (side, side)).save(tmp_path / "big.png")
    assert "huge" in problems_of(scan(tmp_path), "big.png")[0]


def test_nothing_usable_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(TrainerError) as caught:
        scan(tmp_path).require_pictures()
    assert caught.value.code == 5
    assert "a.png" in caught.value.cause
    assert caught.value.remedy
    with pytest.raises(TrainerError) as caught:
        scan(tmp_path / "nowhere")
    assert caught.value.code == 5


def test_metadata_jsonl_gives_captions_and_its_faults_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(ord(name)).save(tmp_path / f"{name}.png")
    caption(tmp_path / "b.png", "from the sidecar")
    lines = [
        json.dumps({"file_name": "a.png", "text": "from metadata"}),
        "not json",
        json.dumps({"file_name": "gone.png", "text": "x"}),
        json.dumps({"text": "nameless"}),
        json.dumps([1]),
        "",
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    contents = scan(tmp_path)
    assert [p.caption.text for p in contents.pictures] == ["from metadata", "from the sidecar"]
    assert contents.caption_counts() == {"metadata": 1, "txt": 1}
    found = problems_of(contents, "metadata.jsonl")
    assert [problem.split()[1] for problem in found] == ["2", "3", "4", "5"]


def test_caption_files_of_other_tools(tmp_path: Path) -> None:
    for number, (name, content) in enumerate(
        (
            ("a.caption", b"other suffix"),
            ("b.txt", b"\xef\xbb\xbfwith a mark"),
            ("c.txt", "zwei Bytes".encode("utf-16")),
            ("d.txt", b"two\r\nlines\x1b[31m  \t"),
            ("e.txt", b"  \n"),
        )
    ):
        picture(number).save(tmp_path / f"{name[0]}.png")
        (tmp_path / name).write_bytes(content)
    texts = [p.caption.text for p in scan(tmp_path).pictures]
    assert texts == ["other suffix", "with a mark", "zwei Bytes", "two lines[31m", ""]


def test_captions_carry_no_control_characters() -> None:
    assert clean("a\x00b\x1b]0;x\x07 \u202e c\n") == "ab]0;x c"
    assert len(clean("x" * 5000)) == 2000


def test_orientation_and_transparency_are_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 40), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    grey = Image.new("I;16", (40, 40), 257 * 100)
    grey.save(tmp_path / "deep.png")
    contents = scan(tmp_path)
    pictures = {p.file: p for p in contents.pictures}
    turned = pictures["turned.jpg"]
    assert (turned.width, turned.height) == (40, 60)
    clear = dataset.load(pictures["clear.png"], contents.folder)
    assert clear.getpixel((5, 5)) == (255, 255, 255)
    deep = dataset.load(pictures["deep.png"], contents.folder)
    assert deep.getpixel((5, 5)) == (100, 100, 100)


def test_duplicates_are_found_by_pixels_not_by_bytes(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "other bytes")
    picture(1).save(tmp_path / "a.png")
    picture(1).save(tmp_path / "b.png", pnginfo=info)
    assert usable(scan(tmp_path)) == ["a.png"]


def test_small_pictures_are_noted_for_the_resolution(make_pictures: MakePictures) -> None:
    folder = make_pictures(count=1)
    assert any("enlarged" in p.problem for p in scan(folder, resolution=64).problems)
    assert not scan(folder, resolution=32).problems


def test_squared_takes_the_middle() -> None:
    image = Image.new("RGB", (90, 30))
    image.paste((255, 255, 255), (30, 0, 60, 30))
    square = pictures.squared(image, 30)
    assert square.size == (30, 30)
    assert square.getextrema() == ((255, 255),) * 3


def test_a_picture_that_vanishes_is_a_clear_error(make_pictures: MakePictures) -> None:
    contents = scan(make_pictures())
    contents.pictures[0].path.unlink()
    with pytest.raises(TrainerError, match="changed"):
        dataset.load(contents.pictures[0], contents.folder)


def test_a_scan_can_be_cancelled(make_pictures: MakePictures) -> None:
    with pytest.raises(Cancelled):
        scan(make_pictures(), Job(lambda: True))


def test_a_split_is_even_complete_and_does_not_depend_on_names(
    make_pictures: MakePictures, tmp_path: Path
) -> None:
    contents = scan(make_pictures(count=11))
    out = [tmp_path / f"part{n}" for n in range(3)]
    counts, held = dataset.split(contents, out, 5, 2, tmp_path / "held")
    assert (counts, held) == ([3, 3, 3], 2)
    parts = [scan(path) for path in [*out, tmp_path / "held"]]
    names = [p.sha256 for part in parts for p in part.pictures]
    assert sorted(names) == sorted(p.sha256 for p in contents.pictures)
    before = {p.sha256: p.caption.text for p in contents.pictures}
    assert all(before[p.sha256] == p.caption.text for part in parts for p in part.pictures)

    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for number, p in enumerate(reversed(contents.pictures)):
        (renamed / f"{number}.png").write_bytes(p.path.read_bytes())
    again = [tmp_path / f"again{n}" for n in range(3)]
    dataset.split(scan(renamed), again, 5, 2, tmp_path / "held2")
    for one, other in zip(out, again, strict=True):
        assert {p.sha256 for p in scan(one).pictures} == {p.sha256 for p in scan(other).pictures}


def test_impossible_splits_are_refused(make_pictures: MakePictures, tmp_path: Path) -> None:
    contents = scan(make_pictures(count=3))
    full = make_pictures("full", 1)
    for out, holdout, place in (
        ([], 0, None),
        ([full], 0, None),
        ([tmp_path / "a"], 1, None),
        ([tmp_path / f"p{n}" for n in range(4)], 0, None),
    ):
        with pytest.raises(TrainerError):
            dataset.split(contents, out, 0, holdout, place)
