"""Pictures as cells: the right colours in the right places, and reasons instead of crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedtui.tui.pixels import (
    QUADRANTS,
    RGB,
    UPPER_HALF,
    Box,
    PictureError,
    dither,
    halves,
    load,
    quadrant,
    quadrants,
    render,
)

BLACK: RGB = (0, 0, 0)
WHITE: RGB = (255, 255, 255)
GROUND: RGB = (16, 19, 26)

colours = st.tuples(*[st.integers(0, 255)] * 3)


def solid(colour: RGB, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize("bits", range(1, 15))
def test_each_quadrant_pattern_has_its_character(bits: int) -> None:
    quad = tuple(WHITE if bits >> i & 1 else BLACK for i in range(4))
    assert quadrant(quad) == (QUADRANTS[bits], WHITE, BLACK)  # type: ignore[arg-type]


def test_a_flat_cell_is_painted_in_one_colour() -> None:
    assert quadrant(((10, 20, 30),) * 4) == (" ", (10, 20, 30), (10, 20, 30))


@given(quad=st.tuples(colours, colours, colours, colours))
def test_the_two_colours_of_a_cell_lie_between_its_pixels(quad: tuple[RGB, RGB, RGB, RGB]) -> None:
    char, ink, paper = quadrant(quad)
    assert char in QUADRANTS
    for colour in (ink, paper):
        for channel in range(3):
            values = [pixel[channel] for pixel in quad]
            assert min(values) <= colour[channel] <= max(values)


def test_half_blocks_keep_every_pixel() -> None:
    image = Image.new("RGB", (2, 2))
    image.putdata([(1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)])
    assert halves(image) == [
        [(UPPER_HALF, (1, 0, 0), (3, 0, 0)), (UPPER_HALF, (2, 0, 0), (4, 0, 0))]
    ]


def test_quadrants_lie_where_the_pixels_lie() -> None:
    image = solid(BLACK, (4, 2))
    image.putpixel((3, 1), WHITE)
    assert [char for char, _, _ in quadrants(image)[0]] == [" ", "▗"]


@pytest.mark.parametrize(
    ("box", "picture", "fit"),
    [
        (Box(32, 16), (64, 64), Box(32, 16)),
        (Box(80, 10), (64, 64), Box(20, 10)),
        (Box(20, 40), (64, 64), Box(20, 10)),
        (Box(40, 20), (128, 64), Box(40, 10)),
        (Box(40, 20), (64, 128), Box(20, 20)),
        (Box(1, 1), (4000, 1), Box(1, 1)),
    ],
)
def test_a_picture_keeps_its_aspect(box: Box, picture: tuple[int, int], fit: Box) -> None:
    assert box.fitted(*picture) == fit


@pytest.mark.parametrize("mode", ["quadrant", "half", "dithered"])
def test_rendering_fills_exactly_the_fitted_box(mode: str) -> None:
    rows = render(solid((200, 100, 50), (64, 64)), Box(21, 9), mode)  # type: ignore[arg-type]
    assert len(rows) == 9
    assert {len(row) for row in rows} == {18}


def test_dithering_keeps_to_the_fixed_colours_of_the_terminal() -> None:
    gradient = Image.linear_gradient("L").convert("RGB").resize((32, 32))
    levels = {0, 95, 135, 175, 215, 255}
    for _, (red, green, blue) in dither(gradient).getcolors(4096):
        grey = red == green == blue and (red - 8) % 10 == 0 and 8 <= red <= 238
        assert grey or {red, green, blue} <= levels


def test_dithering_keeps_the_mean_colour() -> None:
    image = dither(solid((100, 140, 60), (32, 32)))
    total = [0, 0, 0]
    for n, colour in image.getcolors(4096):
        for i in range(3):
            total[i] += n * colour[i]
    assert [abs(t / 1024 - c) < 6 for t, c in zip(total, (100, 140, 60), strict=True)] == [True] * 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_flattened_onto_the_ground(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "clear.png"
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.putpalette([255, 0, 0] * 256)
        image.save(path, transparency=0)
    else:
        Image.new(mode, (4, 4)).save(path)
    assert load(path, GROUND).getpixel((1, 1)) == GROUND


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "missing"),
        (b"", "not a picture"),
        (b"GIF89a" + b"\0" * 40, "not a picture"),
        (b"hello", "not a picture"),
    ],
)
def test_a_file_that_cannot_be_shown_gives_a_reason(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "x.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PictureError, match=reason):
        load(path, GROUND)


def test_a_truncated_picture_gives_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    Image.effect_noise((64, 64), 90).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(PictureError, match="cannot be read"):
        load(path, GROUND)


def test_a_directory_gives_a_reason(tmp_path: Path) -> None:
    with pytest.raises(PictureError):
        load(tmp_path, GROUND)


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedtui.tui.pixels.PICTURE_PIXELS", 15)
    path = tmp_path / "big.png"
    solid(WHITE, (4, 4)).save(path)
    with pytest.raises(PictureError, match="too large"):
        load(path, GROUND)
