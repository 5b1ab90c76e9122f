"""Pictures on a sheet may come from other members: none stops the process that draws it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from trainer import contact_sheet
from trainer.errors import TrainerError
from trainer.protocol import SheetRow


def claiming(path: Path, side: int) -> str:
    """A picture of 8x8 pixels whose header says ``side``."""
    Image.new("RGB", (8, 8)).save(path)
    data = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", side, side) + data[24:29]
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    return str(path)


@pytest.mark.parametrize("side", [8_000, 30_000])
def test_a_picture_too_large_to_decode_is_refused_by_name(tmp_path: Path, side: int) -> None:
    row = SheetRow("night", (claiming(tmp_path / "huge.png", side),))
    with pytest.raises(TrainerError, match="cannot be read") as refused:
        contact_sheet.write(tmp_path / "sheet.png", ["round 1"], [row])
    assert "huge.png" in refused.value.cause
    assert "pixels" in refused.value.cause


def test_a_sheet_has_its_pictures(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "one.png")
    row = SheetRow("night", (str(tmp_path / "one.png"), ""))
    contact_sheet.write(tmp_path / "sheet.png", ["base model", "round 1"], [row])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (255, 0, 0) in {colour for _, colour in sheet.getcolors(1 << 16)}
