"""The cache gives back exactly what would be computed, and never something stale."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from family_rig import pixart
from trainer_rig import MakePictures, picture

from trainer import cache, dataset, models
from trainer.cache import Cache, Examples
from trainer.job import Job
from trainer.models.base import BaseModel, Digests, LoadedModel


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> BaseModel:
    return models.resolve(str(tiny_model))


@pytest.fixture(scope="module")
def model(base: BaseModel) -> LoadedModel:
    return base.family.load(base, torch.device("cpu"))


class Encoder:
    """Encodes a folder and counts how often the networks were asked."""

    def __init__(self, base: BaseModel, model: LoadedModel, place: Path) -> None:
        self.digests, self.model, self.place = Digests.of(base), model, place

    def __call__(
        self, folder: Path, resolution: int = 32, digests: Digests | None = None
    ) -> tuple[Examples, int]:
        calls = 0

        class Counting:
            def __getattr__(_, name: str) -> object:
                nonlocal calls
                calls += name in ("moments", "text_states")
                return getattr(self.model, name)

        examples = cache.encode(
            dataset.scan(folder),
            resolution,
            Counting(),  # type: ignore[arg-type]
            digests or self.digests,
            Cache(self.place),
            Job(),
        )
        return examples, calls


@pytest.fixture
def encode(base: BaseModel, model: LoadedModel, tmp_path: Path) -> Encoder:
    return Encoder(base, model, tmp_path / "cache")


def test_a_second_look_computes_nothing_and_differs_in_nothing(
    encode: Encoder, base: BaseModel, model: LoadedModel, make_pictures: MakePictures
) -> None:
    folder = make_pictures(count=4)
    first, calls = encode(folder)
    assert calls == 4 + 3  # four pictures, three different captions
    second, calls = encode(folder)
    assert calls == 0
    plain = cache.encode(dataset.scan(folder), 32, model, Digests.of(base), Cache(None), Job())
    for other in (second, plain):
        assert torch.equal(first.moments, other.moments)
        assert torch.equal(first.states, other.states)
        assert torch.equal(first.captions, other.captions)
    assert first.moments.shape == (4, 8, 8, 8)
    assert first.states.shape[0] == 3


def test_an_edited_picture_is_encoded_again(encode: Encoder, make_pictures: MakePictures) -> None:
    folder = make_pictures(count=3)
    before, _ = encode(folder)
    path = folder / "001.png"
    stat = path.stat()
    picture(77).save(path)
    import os

    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after, calls = encode(folder)
    assert calls == 1
    assert not torch.equal(before.moments[1], after.moments[1])
    assert torch.equal(before.moments[0], after.moments[0])


def test_an_edited_caption_is_encoded_again(encode: Encoder, make_pictures: MakePictures) -> None:
    folder = make_pictures(count=3)
    before, _ = encode(folder)
    (folder / "001.txt").write_text("something else")
    after, calls = encode(folder)
    assert calls == 1
    one, other = (e.states[e.captions[1]] for e in (before, after))
    assert not torch.equal(one, other)


def test_captions_stay_with_their_pictures(encode: Encoder, make_pictures: MakePictures) -> None:
    folder = make_pictures(count=5)
    examples, _ = encode(folder)
    texts = sorted({p.caption.text for p in dataset.scan(folder).pictures})
    for index, found in enumerate(dataset.scan(folder).pictures):
        state = encode.model.text_states(found.caption.text)
        assert torch.equal(examples.states[examples.captions[index]], state)
        assert texts[int(examples.captions[index])] == found.caption.text


def test_another_resolution_or_model_is_another_entry(
    encode: Encoder, make_pictures: MakePictures
) -> None:
    folder = make_pictures(count=2)
    encode(folder)
    assert encode(folder, resolution=64)[1] == 2
    for part, calls in (("vae", 2), ("text_encoder", 2), ("unet", 0)):
        other = dict(encode.digests.components) | {part: "other"}
        assert encode(folder, digests=replace(encode.digests, components=other))[1] == calls


@pytest.mark.parametrize("how", ["cut", "flip", "empty"])
def test_a_damaged_entry_is_computed_again(
    encode: Encoder, make_pictures: MakePictures, how: str
) -> None:
    folder = make_pictures(count=2)
    first, _ = encode(folder)
    entries = sorted(encode.place.rglob("*.safetensors"))
    for path in entries:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        damaged = {"cut": bytes(content[:-5]), "flip": bytes(content), "empty": b""}[how]
        path.write_bytes(damaged)
    second, calls = encode(folder)
    assert calls == len(entries)
    assert torch.equal(first.moments, second.moments)
    assert encode(folder)[1] == 0


def test_moments_are_kept_and_not_one_sample_of_them(
    model: LoadedModel, encode: Encoder, make_pictures: MakePictures
) -> None:
    moments = encode(make_pictures(count=2))[0].moments
    shape = model.latent_shape(moments)
    torch.manual_seed(0)
    one, two = (model.latents(moments, torch.randn(shape)) for _ in range(2))
    assert one.shape == shape == (2, 4, 8, 8)
    assert not torch.equal(one, two)
    mean = moments.chunk(2, dim=1)[0] * model.pipe.vae.config.scaling_factor
    assert torch.allclose(model.latents(moments, torch.zeros(shape)), mean)


def test_two_models_with_one_text_encoder_keep_their_captions_apart(tmp_path: Path) -> None:
    """PixArt-Σ reads 300 tokens, PixArt-α 120 of the same T5."""
    sigma, alpha = pixart(tmp_path / "sigma"), tmp_path / "alpha"
    shutil.copytree(sigma, alpha)
    index = json.loads((alpha / "model_index.json").read_text())
    index["_class_name"] = "PixArtAlphaPipeline"
    (alpha / "model_index.json").write_text(json.dumps(index))
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(1).save(folder / "a.png")
    (folder / "a.txt").write_text("a b " * 80)
    shapes = []
    for place in (sigma, alpha):
        base = models.resolve(str(place))
        model = base.family.load(base, torch.device("cpu"))
        kept = Cache(tmp_path / "cache")
        examples = cache.encode(dataset.scan(folder), 32, model, Digests.of(base), kept, Job())
        shapes.append(examples.states.shape[1])
    assert shapes == [300, 120]


def large() -> torch.Tensor:
    return torch.arange(cache.MAPPED_BYTES // 4, dtype=torch.float32).reshape(64, -1)


def test_large_entries_are_memory_that_the_system_can_take_back(tmp_path: Path) -> None:
    """A thousand captions of Flux would take 8 GB otherwise."""
    kept = Cache(tmp_path)
    small = kept.recall(lambda: torch.ones(3), "small")
    first, again = kept.recall(large, "large"), kept.recall(lambda: torch.zeros(1), "large")
    maps = Path("/proc/self/maps")
    if maps.exists():
        names = maps.read_text()
        assert all(path.name in names for path in tmp_path.glob("*/*") if path.stat().st_size > 999)
        assert not any(p.name in names for p in tmp_path.glob("*/*") if p.stat().st_size < 999)
    assert torch.equal(small, torch.ones(3))
    assert torch.equal(first, large())
    assert torch.equal(again, large())
    first += 1.0
    assert torch.equal(again, large()), "nobody writes to the file through a tensor"
    Cache(tmp_path, limit=0).trim()
    assert not list(tmp_path.glob("*/*"))
    assert torch.equal(again, large()), "whoever holds an entry keeps it"


def test_where_no_more_files_are_mapped_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> object:
        raise OSError(12, "Cannot allocate memory")

    kept = Cache(tmp_path)
    kept.recall(large, "large")
    monkeypatch.setattr(cache.tensor_file, "mapped", full)
    assert torch.equal(kept.recall(lambda: torch.zeros(1), "large"), large())
