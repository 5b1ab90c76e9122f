"""Aspect-ratio buckets: no more pixels than the square, and nothing but overhang is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import buckets
from trainer.buckets import nearest, placed, sizes
from trainer.config import MAX_ASPECT


@pytest.mark.parametrize(("resolution", "step"), [(512, 64), (1024, 64), (64, 8), (32, 8)])
def test_buckets_are_multiples_within_the_square(resolution: int, step: int) -> None:
    found = sizes(resolution, step)
    assert found[0] == (resolution, resolution)
    assert len(set(found)) == len(found) > 3
    for width, height in found:
        assert width % step == height % step == 0
        assert width * height <= resolution * resolution
        assert max(width, height) <= MAX_ASPECT * min(width, height)
        assert (height, width) in found


def test_the_buckets_of_512_hold_those_everybody_uses() -> None:
    assert {(512, 512), (576, 448), (448, 576), (640, 384), (384, 640), (768, 320)} <= set(
        sizes(512, 64)
    )
    assert buckets.default_step(512) == 64
    assert buckets.default_step(64) == 8


@given(st.integers(32, 4000), st.integers(32, 4000))
def test_a_picture_covers_its_bucket_and_is_not_stretched(width: int, height: int) -> None:
    bucket = nearest(width, height, sizes(512, 64))
    for position in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)):
        place = placed((width, height), bucket, position)
        assert place.scaled[0] >= bucket[0]
        assert place.scaled[1] >= bucket[1]
        assert 0 <= place.left <= place.scaled[0] - bucket[0]
        assert 0 <= place.top <= place.scaled[1] - bucket[1]
        # One side fits exactly; the other follows from the picture's shape to half a pixel.
        assert place.scaled[0] == bucket[0] or place.scaled[1] == bucket[1]
        assert abs(place.scaled[0] * height - place.scaled[1] * width) <= max(width, height)


def test_shapes_find_their_like() -> None:
    among = sizes(512, 64)
    assert nearest(1000, 1000, among) == (512, 512)
    assert nearest(4000, 3000, among) == (576, 448)
    assert nearest(3000, 4000, among) == (448, 576)
    assert nearest(10000, 100, among)[0] >= 768
