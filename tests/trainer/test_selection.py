"""What comes at which step is a pure function, uses everything fairly, and can be cached."""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from trainer_rig import MakePictures, picture

from trainer import cache, dataset, models, selection
from trainer.cache import Cache
from trainer.dataset import PLAIN, scan
from trainer.errors import Cancelled, TrainerError
from trainer.job import Job
from trainer.models.base import BaseModel, Digests, LoadedModel
from trainer.protocol import DataOptions
from trainer.selection import DROPPED, Selection, View
from trainer.supply import Supply

RUN = (3, 1, "me")
"""Seed, round, node."""


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> BaseModel:
    return models.resolve(str(tiny_model))


@pytest.fixture(scope="module")
def model(base: BaseModel) -> LoadedModel:
    return base.family.load(base, torch.device("cpu"))


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Five wide, three tall and two square pictures with tags."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for number, size in enumerate([(96, 48)] * 5 + [(48, 96)] * 3 + [(64, 64)] * 2):
        picture(number, size).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"night, moon, sea, number {number}")
    return folder


def chosen(folder: Path, options: DataOptions, resolution: int = 32) -> Selection:
    return Selection.of(scan(folder, options=options), options, resolution)


GOLDEN = [[3, 2, 4, 0], [1, 1, 4, 2], [3, 0, 0, 4]]


def test_the_defaults_are_middle_squares_in_the_order_of_earlier_versions(
    make_pictures: MakePictures,
) -> None:
    """A room's members must train alike: these numbers may not change."""
    found = chosen(make_pictures(count=5), PLAIN)
    assert [entry.views for entry in found.entries] == [(View((32, 32)),)] * 5
    order = [[c.entry for c in found.choices(4, number, *RUN)] for number in range(3)]
    assert order == GOLDEN


def test_choices_depend_on_run_round_node_and_step_alone(shapes: Path) -> None:
    options = DataOptions(buckets=True, shuffle=True, flip=True, crops=3, dropout=0.2)
    one, other = chosen(shapes, options), chosen(shapes, options)
    batches = [one.choices(4, number, *RUN) for number in range(40)]
    backwards = [other.choices(4, number, *RUN) for number in reversed(range(40))]
    assert batches == backwards[::-1]
    assert len(set(batches)) > 30
    for change in ((4, 1, "me"), (3, 2, "me"), (3, 1, "you")):
        assert [one.choices(4, number, *change) for number in range(40)] != batches
    assert [one.choices(4, n, *RUN, "prior") for n in range(40)] != batches


@pytest.mark.parametrize("size", [1, 2, 4, 16])
def test_batches_hold_one_size_and_every_pass_uses_every_picture(shapes: Path, size: int) -> None:
    found = chosen(shapes, DataOptions(buckets=True))
    assert sorted(found.buckets.values()) == [2, 3, 5]
    per_pass = sum(-(-count // size) for count in found.buckets.values())
    for first in (0, per_pass):
        seen: set[int] = set()
        for number in range(first, first + per_pass):
            batch = found.choices(size, number, *RUN)
            assert len(batch) == size
            assert len({found.entries[c.entry].size for c in batch}) == 1
            seen |= {c.entry for c in batch}
        assert seen == set(range(10))


def test_repeats_count_and_folders_may_say_how_often(tmp_path: Path) -> None:
    for number, name in enumerate(("3_cat", "dog", "0_bird")):
        (tmp_path / name).mkdir()
        picture(number).save(tmp_path / name / "x.png")
    assert chosen(tmp_path, DataOptions(repeats=2)).pass_length == 6
    found = chosen(tmp_path, DataOptions(repeats=2, folder_repeats=True))
    counts = Counter(c.entry for n in range(2) for c in found.choices(4, n, *RUN))
    names = {found.entries[n].picture.file: count for n, count in counts.items()}
    assert names == {"3_cat/x.png": 6, "dog/x.png": 2}


def test_captions_are_dropped_as_often_as_asked(make_pictures: MakePictures) -> None:
    found = chosen(make_pictures(count=4), DataOptions(dropout=0.3))
    choices = [c for n in range(250) for c in found.choices(4, n, *RUN)]
    share = sum(c.wording == DROPPED for c in choices) / len(choices)
    assert abs(share - 0.3) < 0.05  # four standard deviations of 1,000 draws
    assert {found.text(c) for c in choices if c.wording == DROPPED} == {""}
    assert "" in found.wordings


def test_views_and_wordings_are_used_evenly(make_pictures: MakePictures) -> None:
    options = DataOptions(flip=True, crops=2, shuffle=True, trigger="t")
    found = chosen(make_pictures(count=1), options)
    assert len(found.entries[0].views) == 4
    counts = Counter(c.view for n in range(400) for c in found.choices(1, n, *RUN))
    assert min(counts.values()) > 60
    assert set(counts) == {0, 1, 2, 3}


def test_views_show_what_they_say() -> None:
    image = Image.new("RGB", (60, 30))
    image.paste((255, 0, 0), (0, 0, 30, 30))
    left, right = (View((30, 30), (x, 0.5)).of(image).getpixel((15, 15)) for x in (0.0, 1.0))
    assert (left, right) == ((255, 0, 0), (0, 0, 0))
    half = View((30, 30), (0.5, 0.5))
    mirrored = replace(half, mirrored=True)
    assert mirrored.of(image).tobytes() == ImageOps.mirror(half.of(image)).tobytes()
    assert len({half.key, mirrored.key, View((30, 30)).key, View((32, 30), (0.5, 0.5)).key}) == 4


IMPOSSIBLE = (
    {"dropout": 1.5},
    {"repeats": 0},
    {"crops": 0},
    {"keep": 1},
    {"keep": -1, "shuffle": True},
    {"bucket_step": 8},
    {"bucket_step": 12, "buckets": True},
    {"unmasked": -0.1},
)


@pytest.mark.parametrize("values", IMPOSSIBLE)
def test_options_that_contradict_themselves_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(TrainerError) as caught:
        selection.check(DataOptions(**values), 64)  # type: ignore[arg-type]
    assert caught.value.code == 2


class Encoded:
    """Encodes a folder into a cache of its own."""

    def __init__(self, base: BaseModel, model: LoadedModel, place: Path) -> None:
        self.base, self.model, self.place = base, model, place
        self.computed = 0

    def __call__(self, folder: Path, options: DataOptions, job: Job | None = None) -> Supply:
        class Counting:
            def __getattr__(_, name: str) -> object:
                self.computed += name in ("moments", "text_states")
                return getattr(self.model, name)

        return cache.supply(
            chosen(folder, options),
            Counting(),  # type: ignore[arg-type]
            Digests.of(self.base),
            Cache(self.place),
            job or Job(),
        )


@pytest.fixture
def encoded(base: BaseModel, model: LoadedModel, tmp_path: Path) -> Encoded:
    return Encoded(base, model, tmp_path / "cache")


def test_shuffling_and_caching_live_together(encoded: Encoded, shapes: Path) -> None:
    options = DataOptions(buckets=True, shuffle=True, flip=True, crops=2, dropout=0.2)
    first = encoded(shapes, options)
    assert encoded.computed > 40
    encoded.computed = 0
    second = encoded(shapes, options)
    assert encoded.computed == 0
    for number in range(10):
        one, other = (s.batch(4, number, *RUN) for s in (first, second))
        assert torch.equal(one.moments, other.moments)
        assert torch.equal(one.states, other.states)
        assert one.masks is None
    assert first.sha256() == second.sha256()
    assert first.sha256() != encoded(shapes, replace(options, dropout=0.0)).sha256()


def test_a_batch_holds_what_was_chosen(encoded: Encoded, model: LoadedModel, shapes: Path) -> None:
    options = DataOptions(buckets=True, shuffle=True, flip=True, dropout=0.5)
    supply = encoded(shapes, options)
    for number in range(6):
        batch = supply.batch(2, number, *RUN)
        for row, choice in enumerate(supply.selection.choices(2, number, *RUN)):
            image = supply.selection.image(choice)
            pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
            moments = model.moments(pixels.float() / 127.5 - 1.0)[0]
            assert torch.equal(batch.moments[row], moments)
            states = model.text_states(supply.selection.text(choice))
            assert torch.equal(batch.states[row], states)


def test_a_mask_weighs_the_latents_under_it(encoded: Encoded, make_pictures: MakePictures) -> None:
    folder = make_pictures(count=2)
    mask = Image.new("L", (48, 40), 0)
    mask.paste(255, (0, 0, 24, 40))
    mask.save(folder / "000-masklabel.png")
    off = encoded(folder, PLAIN)
    assert len(off) == 2
    assert off.batch(2, 0, *RUN).masks is None
    assert any("1 masks are not used" in p.problem for p in scan(folder).problems)
    options = DataOptions(masks="files", unmasked=0.2, flip=True)
    supply = encoded(folder, options)
    assert supply.masks[1] == (None, None)
    straight, mirrored = supply.masks[0]
    assert straight is not None
    assert mirrored is not None
    assert straight.shape == (1, 8, 8)
    assert straight[0, 4].tolist() == pytest.approx([1, 1, 1, 1, 0.2, 0.2, 0.2, 0.2], abs=0.01)
    assert torch.equal(mirrored, straight.flip(-1))
    masks = supply.batch(2, 0, *RUN).masks
    assert masks is not None
    assert masks.shape == (2, 1, 8, 8)
    assert sorted(masks.amin((1, 2, 3)).tolist()) == pytest.approx([0.2, 1.0])
    before = supply.sha256()
    ImageOps.invert(mask).save(folder / "000-masklabel.png")
    assert encoded(folder, options).sha256() != before


def test_transparency_can_be_the_mask(encoded: Encoded, tmp_path: Path) -> None:
    folder = tmp_path / "clear"
    folder.mkdir()
    image = picture(1, (32, 32)).convert("RGBA")
    image.putalpha(Image.new("L", (32, 32), 0))
    image.save(folder / "a.png")
    supply = encoded(folder, DataOptions(masks="alpha", unmasked=0.0))
    (mask,) = supply.masks[0]
    assert mask is not None
    assert not mask.any()


def test_a_mask_of_another_size_is_named(make_pictures: MakePictures) -> None:
    folder = make_pictures(count=1)
    Image.new("L", (40, 40)).save(folder / "000-masklabel.png")
    contents = scan(folder, options=DataOptions(masks="files"))
    assert not contents.pictures
    assert "The mask has 40 x 40" in contents.problems[0].problem


def test_encoding_goes_on_where_it_was_stopped(encoded: Encoded, shapes: Path) -> None:
    seen: list[int] = []
    job = Job(lambda: len(seen) > 12, lambda data: seen.append(data["step"]))
    with pytest.raises(Cancelled):
        encoded(shapes, DataOptions(flip=True), job)
    done = encoded.computed
    assert 0 < done <= 13
    encoded(shapes, DataOptions(flip=True))
    assert encoded.computed == 10 + 20


def test_a_picture_replaced_under_our_hands_is_never_kept_under_the_old_name(
    encoded: Encoded, make_pictures: MakePictures
) -> None:
    folder = make_pictures(count=3)
    found = chosen(folder, PLAIN)
    picture(99).save(folder / "001.png")
    with pytest.raises(TrainerError, match="changed") as caught:
        cache.supply(found, encoded.model, Digests.of(encoded.base), Cache(encoded.place), Job())
    assert "001.png" in caught.value.cause
    assert caught.value.remedy
    (folder / "001.png").write_bytes(b"")
    with pytest.raises(TrainerError, match="changed"):
        dataset.load(found.entries[1].picture, folder)


def test_a_picture_damaged_in_the_middle_of_caching_costs_only_itself(
    encoded: Encoded, make_pictures: MakePictures
) -> None:
    """What was encoded before is kept; half a picture is never taken for a whole one."""
    folder = make_pictures(count=3)
    damaged, whole = folder / "002.png", (folder / "002.png").read_bytes()

    def damage(data: dict[str, Any]) -> None:
        if data["step"] == data["steps"] - 1:
            damaged.write_bytes(whole[: len(whole) // 2])

    with pytest.raises(TrainerError, match="changed") as caught:
        encoded(folder, PLAIN, Job(report=damage))
    assert "002.png" in caught.value.cause
    assert caught.value.remedy
    damaged.write_bytes(whole)
    encoded.computed = 0
    encoded(folder, PLAIN)
    assert encoded.computed == 1


def test_a_full_disk_is_told_with_its_remedy(
    encoded: Encoded, make_pictures: MakePictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_pictures(count=3)
    whole = cache.tensor_file.write
    count = 0

    def full(*arguments: object) -> object:
        nonlocal count
        count += 1
        if count > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(cache.tensor_file, "write", full)
    with pytest.raises(TrainerError, match="disk is full") as caught:
        encoded(folder, PLAIN)
    assert caught.value.remedy
    monkeypatch.undo()
    assert len(list(encoded.place.rglob("*.safetensors"))) == 2
    encoded.computed = 0
    encoded(folder, PLAIN)
    assert encoded.computed == 6 - 2


def test_the_entries_longest_unused_make_room(
    encoded: Encoded, make_pictures: MakePictures
) -> None:
    encoded(make_pictures("one", 3), PLAIN)
    old = set(encoded.place.rglob("*.safetensors"))
    for path in old:
        os.utime(path, (1, 1))
    encoded(make_pictures("two", 3, first=10), PLAIN)
    entries = set(encoded.place.rglob("*.safetensors"))
    size = sum(path.stat().st_size for path in entries - old)
    used = {path for path in old if path.stat().st_mtime > 1}
    assert len(used) == 3  # the captions that both folders have
    size += sum(path.stat().st_size for path in used)
    Cache(encoded.place, limit=size).trim()
    assert set(encoded.place.rglob("*.safetensors")) == (entries - old) | used
    Cache(encoded.place, limit=10**9).trim()
    assert set(encoded.place.rglob("*.safetensors")) == (entries - old) | used


@pytest.mark.parametrize("resolution", [576, 704, 960, 1024])
def test_buckets_have_the_sides_that_a_model_can_take(
    make_pictures: MakePictures, resolution: int
) -> None:
    """Transformers put two latents into a token: at 960 an eighth would be 120 pixels."""
    options = DataOptions(buckets=True)
    contents = scan(make_pictures(), options=options)
    for side_step in (8, 16):
        found = Selection.of(contents, options, resolution, side_step)
        assert not any(side % side_step for size in found.buckets for side in size)
        assert set(found.buckets) != {(resolution, resolution)}
    with pytest.raises(TrainerError, match="impossible") as caught:
        Selection.of(contents, replace(options, bucket_step=24), resolution, 16)
    assert "multiples of 16" in caught.value.cause


def test_a_folder_whose_pictures_all_count_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "0_style").mkdir()
    picture(1).save(tmp_path / "0_style" / "a.png")
    with pytest.raises(TrainerError, match="no pictures") as caught:
        chosen(tmp_path, DataOptions(folder_repeats=True))
    assert "0 times" in caught.value.cause
