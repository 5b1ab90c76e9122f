"""Captions from every place people keep them, and what training makes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trainer_rig import picture

from trainer.captions import VARIANTS, Caption, spoken_name, variants
from trainer.dataset import Contents, scan
from trainer.protocol import DataOptions


def texts(contents: Contents) -> dict[str, tuple[str, ...]]:
    return {p.file: p.caption.texts for p in contents.pictures}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate("abc"):
        picture(number).save(tmp_path / f"{name}.png")
    return tmp_path


TABLES = {
    "metadata.csv": 'file_name,text\na.png,a red house\nb.png,"the sea, at night"\na.png,home\n',
    "captions.csv": "Image;Caption\n./a.png;a red house\nb.png;the sea, at night\na.png;home\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_may_give_several_captions(folder: Path, name: str) -> None:
    (folder / name).write_text(TABLES[name])
    contents = scan(folder)
    assert texts(contents) == {
        "a.png": ("a red house", "home"), "b.png": ("the sea, at night",), "c.png": (),
    }  # fmt: skip
    assert contents.caption_counts() == {"table": 2, "missing": 1}


def test_metadata_may_list_captions_and_comes_before_other_sources(folder: Path) -> None:
    lines = [
        {"file_name": "a.png", "text": ["one", "two", "one"]},
        {"file": "b.png", "prompt": "x"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "metadata.csv").write_text("file,text\na.png,three\nc.png,four\n")
    (folder / "a.txt").write_text("five")
    assert texts(scan(folder)) == {"a.png": ("one", "two"), "b.png": ("x",), "c.png": ("four",)}


def test_a_table_that_is_none_is_named(folder: Path) -> None:
    (folder / "metadata.csv").write_bytes(b"nonsense\n\xe9t\xe9,1\n")
    problems = [p.problem for p in scan(folder).problems if p.file == "metadata.csv"]
    assert any("Latin-1" in problem for problem in problems)
    assert any("Line 2 is not understood" in problem for problem in problems)


def test_each_line_is_a_caption_only_where_that_is_asked_for(folder: Path) -> None:
    (folder / "a.txt").write_text("one\n\ntwo\n")
    assert texts(scan(folder))["a.png"] == ("one two",)
    lines = DataOptions(caption_lines=True)
    assert texts(scan(folder, options=lines))["a.png"] == ("one", "two")


NAMES = {
    "a-red_house (2)": "a red house",
    "a_red_house_0007": "a red house",
    "red.house": "red house",
    "IMG_1234": "IMG",
    "0001": "",
}


@pytest.mark.parametrize(("stem", "said"), NAMES.items())
def test_names_are_read_as_a_person_would(stem: str, said: str) -> None:
    assert spoken_name(stem) == said


def test_names_are_captions_only_where_nothing_else_is(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "blue_sea 01.png")
    picture(2).save(tmp_path / "x.png")
    (tmp_path / "x.txt").write_text("y")
    assert texts(scan(tmp_path))["blue_sea 01.png"] == ()
    named = scan(tmp_path, options=DataOptions(name_captions=True))
    assert texts(named) == {"blue_sea 01.png": ("blue sea",), "x.png": ("y",)}
    assert not named.problems


TAGS = Caption(("night, moon, sea, boat, stars",), "txt")


def test_without_options_a_caption_is_what_it_is() -> None:
    assert variants(TAGS, DataOptions()) == TAGS.texts
    assert variants(Caption((), "missing"), DataOptions()) == ("",)


def test_shuffling_keeps_the_first_tags_and_loses_none() -> None:
    found = variants(TAGS, DataOptions(shuffle=True, keep=2))
    assert found[0] == TAGS.text
    assert 2 < len(found) <= VARIANTS
    for text in found:
        tags = text.split(", ")
        assert tags[:2] == ["night", "moon"]
        assert sorted(tags) == sorted(TAGS.text.split(", "))
    assert found == variants(TAGS, DataOptions(shuffle=True, keep=2))


def test_the_trigger_comes_first_in_every_wording() -> None:
    options = DataOptions(shuffle=True, trigger="van_gogh")
    assert all(text.startswith("van_gogh, ") for text in variants(TAGS, options))
    assert variants(Caption((), "missing"), options) == ("van_gogh",)


@given(st.lists(st.text(max_size=30), max_size=4), st.integers(0, 4), st.booleans())
def test_there_is_always_a_wording_and_never_the_same_twice(
    lines: list[str], keep: int, shuffle: bool
) -> None:
    found = variants(Caption(tuple(lines), "txt"), DataOptions(shuffle=shuffle, keep=keep))
    assert 1 <= len(found) == len(set(found)) <= max(1, len(lines)) * VARIANTS


def test_a_caption_that_cannot_be_read_is_named_and_the_picture_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusal is played."""
    (folder / "a.txt").write_text("one")
    (folder / "metadata.jsonl").write_text("{}")
    real = Path.open

    def refused(path: Path, *arguments: object, **named: object) -> object:
        if path.name in ("a.txt", "metadata.jsonl"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    contents = scan(folder)
    assert len(contents.pictures) == 3
    found = {p.file: p.problem for p in contents.problems if "Permission denied" in p.problem}
    assert set(found) == {"a.png", "metadata.jsonl"}


@pytest.mark.parametrize("header", ["file_name,text", "file_name,Caption"])
def test_tags_that_nobody_put_into_quotes_are_all_read(folder: Path, header: str) -> None:
    rows = 'a.png,night, moon, sea\nb.png,"night, moon"\nc.png,a house,\n'
    (folder / "metadata.csv").write_text(f"{header}\n{rows}")
    assert texts(scan(folder)) == {
        "a.png": ("night, moon, sea",), "b.png": ("night, moon",), "c.png": ("a house",),
    }  # fmt: skip


def test_tags_before_another_column_are_never_cut(folder: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text,who\na.png,night, moon,lena\n")
    contents = scan(folder)
    assert texts(contents)["a.png"] == ()
    problem = next(p for p in contents.problems if p.file == "metadata.csv")
    assert "Line 2" in problem.problem
    assert '"a house, red"' in problem.remedy


def test_a_picture_is_known_however_a_table_spells_its_place(folder: Path) -> None:
    lines = [
        {"file_name": str(folder / "a.png"), "text": "one"},
        {"file_name": "x/../b.png", "text": "two"},
        {"file_name": f"../{folder.name}/c.png", "text": "three"},
        {"file_name": "../elsewhere.png", "text": "four"},
    ]
    picture(9).save(folder.parent / "elsewhere.png")
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    contents = scan(folder)
    assert texts(contents) == {"a.png": ("one",), "b.png": ("two",), "c.png": ("three",)}
    assert [p.problem for p in contents.problems] == ["Line 4 names '../elsewhere.png', not there"]


def test_a_text_may_hold_what_only_python_takes_for_a_line(folder: Path) -> None:
    line = json.dumps({"file_name": "a.png", "text": "one\u2028two\x85three"}, ensure_ascii=False)
    (folder / "metadata.jsonl").write_text(line, encoding="utf-8")
    assert texts(scan(folder))["a.png"] == ("one two three",)


def test_what_an_editor_of_windows_saved_keeps_its_quotes(folder: Path) -> None:
    (folder / "a.txt").write_bytes("it’s a “house” – café".encode("cp1252"))
    (folder / "b.txt").write_bytes(b"caf\xe9 \x81")
    assert texts(scan(folder))["a.png"] == ("it’s a “house” – café",)
    assert texts(scan(folder))["b.png"] == ("café",)


def test_a_caption_that_is_cut_is_named(folder: Path) -> None:
    (folder / "a.txt").write_text("house " * 400)
    (folder / "b.txt").write_text(" \n" * 2000 + "a house")
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "c.png", "text": "x" * 2001}))
    problems = [(p.file, p.problem) for p in scan(folder).problems]
    assert [file for file, problem in problems if "not read" in problem] == [
        "metadata.jsonl", "a.png",
    ]  # fmt: skip
