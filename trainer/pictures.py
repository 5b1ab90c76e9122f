"""Pictures from files to what a network sees: upright, opaque, cut out, mirrored; and their masks.

Needs Pillow only. Bad files raise :class:`Unusable` with a remedy; nothing else leaves here.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from trainer.buckets import Placement
from trainer.config import MAX_FILE_BYTES, MAX_PIXELS, MIN_SIDE
from trainer.scan_index import ScanIndex, Seen

FORMATS = ("PNG", "JPEG", "WEBP")
BACKGROUND = (255, 255, 255)
"""What shows through transparent pixels."""
MASK_SUFFIX = "-masklabel.png"
"""Behind the picture's own stem, as OneTrainer calls masks."""
Note = tuple[str, str]
"""A problem and what its owner can do."""


class Unusable(Exception):
    """Why one picture is left out, and what its owner can do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


def decoded(path: Path, folder: Path) -> tuple[Image.Image, list[Note]]:
    """The picture as RGB and as displayed, with notes. Raises :class:`Unusable`."""
    image, notes = _opened(_content(path, folder))
    return _rgb(image), notes


def seen(path: Path, folder: Path, index: ScanIndex) -> Seen:
    """What a picture shows, decoded unless its bytes are known. Raises :class:`Unusable`."""
    content = _content(path, folder)
    known = index.find(content)
    if known is not None:
        return known
    image, notes = _opened(content)
    rgb = _rgb(image)
    found = Seen(rgb.width, rgb.height, pixels_sha256(rgb), tuple(notes))
    index.add(content, found)
    return found


def pixels_sha256(image: Image.Image) -> str:
    """Names the pixels of an RGB picture, whatever file they came from."""
    content = f"{image.width}x{image.height}\0".encode() + image.tobytes()
    return hashlib.sha256(content).hexdigest()


def mask_file(picture: Path) -> Path:
    """Where a picture's mask lies if it has one in a file of its own."""
    return picture.with_name(picture.stem + MASK_SUFFIX)


def is_mask(path: Path) -> bool:
    return path.name.endswith(MASK_SUFFIX)


def mask_from_file(picture: Path, folder: Path, size: tuple[int, int]) -> Image.Image | None:
    """The mask beside a picture, in grey, or None. Raises :class:`Unusable`."""
    path = mask_file(picture)
    if not path.is_file():
        return None
    mask = _rgb(_opened(_content(path, folder))[0]).convert("L")
    if mask.size != size:
        raise Unusable(
            f"The mask has {mask.width} x {mask.height} pixels, the picture {size[0]} x {size[1]}",
            "Paint the mask over the picture itself.",
        )
    return mask


def mask_from_alpha(picture: Path, folder: Path) -> Image.Image | None:
    """A picture's own transparency as a mask, or None without any. Raises :class:`Unusable`."""
    image, _ = _opened(_content(picture, folder))
    if not image.has_transparency_data:
        return None
    return image.convert("RGBA").getchannel("A")


def squared(image: Image.Image, resolution: int) -> Image.Image:
    """The middle square of a picture, ``resolution`` pixels a side."""
    if image.size == (resolution, resolution):
        return image
    return ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)


def cut_out(image: Image.Image, placement: Placement) -> Image.Image:
    """The part of a picture that its bucket keeps."""
    if image.size != placement.scaled:
        image = image.resize(placement.scaled, Image.Resampling.LANCZOS)
    left, top, (width, height) = placement.left, placement.top, placement.bucket
    return image.crop((left, top, left + width, top + height))


def _content(path: Path, folder: Path) -> bytes:
    """A file's bytes, read once, so that hash and picture cannot be of different versions."""
    if not path.resolve().is_relative_to(folder):
        raise Unusable("A link that leads out of the folder", "Copy the picture here.")
    try:
        if not path.is_file():
            raise Unusable("Not an ordinary file", "Copy the picture here.")
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except PermissionError as error:
        raise Unusable("The file may not be read", "Give yourself the right to read it.") from error
    except OSError as error:
        raise Unusable(f"The file cannot be read: {error.strerror}", "Copy it anew.") from error
    if not content:
        raise Unusable("The file is empty", "Copy or download it again.")
    if len(content) > MAX_FILE_BYTES:
        remedy = f"Make it smaller than {MAX_FILE_BYTES >> 20} MB."
        raise Unusable("The file is too large", remedy)
    return content


def _opened(content: bytes) -> tuple[Image.Image, list[Note]]:
    """The picture as displayed, with its own channels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _checked(image)
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Unusable("The picture is huge", _SHRINK) from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        remedy = "Open it in an image editor and save it again as PNG."
        raise Unusable("The file cannot be read as a picture", remedy) from error


_SHRINK = f"Scale it down below {MAX_PIXELS // 1_000_000} million pixels."


def _checked(image: Image.Image) -> tuple[Image.Image, list[Note]]:
    if image.width * image.height > MAX_PIXELS:
        raise Unusable(f"The picture is huge: {image.width} x {image.height} pixels", _SHRINK)
    if min(image.size) < MIN_SIDE:
        raise Unusable(
            f"The picture is too small: {image.width} x {image.height} pixels",
            f"Use pictures of at least {MIN_SIDE} x {MIN_SIDE} pixels.",
        )
    notes = []
    if getattr(image, "is_animated", False) and image.format in ("PNG", "WEBP"):
        notes.append(("Only the first frame of the animation is used", "Save it as one picture."))
    if image.mode == "CMYK":
        notes.append(
            ("Printing colours (CMYK) were converted", "Save it as RGB if colours look wrong.")
        )
    upright = ImageOps.exif_transpose(image)
    upright.load()
    return upright, notes


def _rgb(image: Image.Image) -> Image.Image:
    """RGB with transparency on white; 16 bit grey scaled to 8."""
    if image.mode.startswith(("I", "F")):
        return image.convert("I").point(lambda value: value / 257.0).convert("L").convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image.convert("RGB")
