"""What a check of a folder says, and that its preview is what training will see."""

from __future__ import annotations

from pathlib import Path

import pytest
from family_rig import stable_diffusion_3
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from trainer_rig import MakePictures, picture

from trainer import batch_sheet
from trainer.arithmetic import check_data
from trainer.captions import Caption
from trainer.dataset import Picture, scan
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.picture_sides import sides
from trainer.protocol import CheckData, DataOptions, PreviewData
from trainer.selection import Selection

OPTIONS = DataOptions(buckets=True, flip=True, shuffle=True, trigger="t")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "pictures"
    place.mkdir()
    for number, size in enumerate([(96, 48)] * 3 + [(64, 64)]):
        picture(number, size).save(place / f"{number}.png")
        (place / f"{number}.txt").write_text("night, sea" if number else "night, moon")
    picture(0, (96, 48)).save(place / "again.png")
    return place


def test_a_check_counts_what_matters(folder: Path) -> None:
    stages: list[int] = []
    job = Job(report=lambda data: stages.append(data["step"]))
    report = check_data(CheckData(str(folder), 64, OPTIONS), job)
    assert report["usable"] == 4
    assert report["duplicates"] == 1
    assert report["sizes"] == {"96x48": 3, "64x64": 1}
    assert sorted(report["buckets"].values()) == [1, 3]
    assert report["tags"] == [["night", 4], ["sea", 3], ["moon", 1]]
    assert report["pass"] == 4
    assert report["encoded"] == {"views": 8, "wordings": 4}
    assert report["longest_caption"] == len("night, moon")
    assert stages == list(range(9))


def test_a_wide_picture_is_small_only_where_it_is_cut_to_a_square(folder: Path) -> None:
    for options, enlarged in ((DataOptions(), 3), (DataOptions(buckets=True), 0)):
        problems = scan(folder, resolution=64, options=options).problems
        assert sum("enlarged" in p.problem for p in problems) == enlarged


@given(
    st.lists(st.tuples(st.integers(32, 9000), st.integers(32, 9000)), max_size=40),
    st.sampled_from([64, 512, 1024]),
    st.booleans(),
)
def test_the_bins_of_sides_count_every_picture_once_and_part_at_the_resolution(
    sizes: list[tuple[int, int]], resolution: int, buckets: bool
) -> None:
    caption = Caption(("x",), "sidecar")
    pictures = [
        Picture(Path(), str(n), caption, width, height, "")
        for n, (width, height) in enumerate(sizes)
    ]
    told = sides(pictures, DataOptions(buckets=buckets), resolution)
    if buckets:
        small = [w * h < resolution * resolution for w, h in sizes]
    else:
        small = [min(size) < resolution for size in sizes]
    assert told["smaller"] == sum(small)
    assert told["smaller"] == sum(count for start, _, count in told["bins"] if start < resolution)
    assert sum(count for *_, count in told["bins"]) == len(sizes)
    assert all(end < resolution for start, end, _ in told["bins"] if start < resolution)
    for (_, end, _), (start, _, _) in zip(told["bins"], told["bins"][1:], strict=False):
        assert start == end + 1


def test_the_sides_told_are_those_noted_as_too_small(folder: Path) -> None:
    for options, enlarged in ((DataOptions(), 3), (DataOptions(buckets=True), 0)):
        report = check_data(CheckData(str(folder), 64, options), Job())
        assert report["sides"]["smaller"] == enlarged
        assert sum("enlarged" in p["problem"] for p in report["problems"]) == enlarged
    assert report["sides"]["by"] == "area"


def test_the_preview_is_what_training_sees(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    request = PreviewData(str(folder), str(out), 64, OPTIONS, batch=2, batches=3, seed=5, node="a")
    result = batch_sheet.draw(request, Job())
    assert result["path"] == str(out)
    selection = Selection.of(scan(folder, options=OPTIONS), OPTIONS, 64)
    for number, batch in enumerate(result["batches"]):
        choices = selection.choices(2, number, 5, 0, "a")
        files = [selection.entries[choice.entry].picture.file for choice in choices]
        assert [shown["file"] for shown in batch] == files
        assert [shown["caption"] for shown in batch] == [selection.text(c) for c in choices]
        assert all(shown["caption"].startswith("t, ") for shown in batch)
    with Image.open(out) as sheet:
        assert sheet.width == 8 + 2 * 168
        assert len(sheet.getcolors(1 << 20) or ()) > 4


def test_masked_parts_are_dark(make_pictures: MakePictures, tmp_path: Path) -> None:
    folder = make_pictures(count=1)
    Image.new("L", (48, 40), 0).save(folder / "000-masklabel.png")
    brightness = {}
    for masks in ("off", "files"):
        out = tmp_path / f"{masks}.png"
        options = DataOptions(masks=masks, unmasked=0.0)  # type: ignore[arg-type]
        request = PreviewData(str(folder), str(out), 32, options, batch=1, batches=1)
        batch_sheet.draw(request, Job())
        brightness[masks] = Image.open(out).convert("L").getpixel((80, 110))
    assert brightness["files"] == 0 < brightness["off"]


def test_a_sheet_that_is_too_large_is_refused(folder: Path, tmp_path: Path) -> None:
    request = PreviewData(str(folder), str(tmp_path / "x.png"), 64, batch=1000, batches=1000)
    with pytest.raises(TrainerError) as caught:
        batch_sheet.draw(request, Job())
    assert caught.value.code == 2


def test_a_check_for_a_model_takes_its_resolution_and_sides(folder: Path, tmp_path: Path) -> None:
    model = stable_diffusion_3(tmp_path / "sd3")
    report = check_data(CheckData(str(folder), 0, OPTIONS, str(model)), Job())
    assert report["buckets"] == {"32x32": 1, "48x16": 3}
    out = str(tmp_path / "sheet.png")
    preview = PreviewData(str(folder), out, 0, OPTIONS, batch=2, batches=2, model=str(model))
    drawn = batch_sheet.draw(preview, Job())
    assert {c["size"] for batch in drawn["batches"] for c in batch} <= set(report["buckets"])
