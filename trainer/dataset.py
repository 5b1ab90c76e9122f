"""A folder of pictures: what is in it, what is wrong with it, what can be used.

Needs Pillow only. Every picture is decoded once, so that what is called usable is usable.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from trainer import left_out, pictures
from trainer.captions import Caption, Problem, caption_of, read_metadata
from trainer.config import MAX_FILES, MIN_SIDE
from trainer.errors import MISUSE, NO_USABLE, TrainerError
from trainer.job import Job
from trainer.left_out import LeftOut
from trainer.pictures import Unusable
from trainer.protocol import LEFT_OUT, DataOptions
from trainer.scan_index import ScanIndex

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHER_SUFFIXES = (
    ".gif",
    ".bmp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
    ".jxl",
    ".psd",
    ".svg",
)

PLAIN = DataOptions()
"""A folder just as it lies."""


@dataclass(frozen=True)
class Picture:
    """A usable picture. ``file`` is relative to the folder, POSIX form; sides are as displayed.

    ``sha256`` names the decoded RGB pixels, so it survives renaming and re-compression of PNGs.
    """

    path: Path
    file: str
    caption: Caption
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """Usable pictures in the order of their names, and all problems."""

    folder: Path
    pictures: tuple[Picture, ...]
    problems: tuple[Problem, ...]
    duplicates: int = 0
    """Pictures left out because another one shows the same."""
    left_out: tuple[LeftOut, ...] = ()
    """Pictures that their owner keeps out."""

    @property
    def digest(self) -> str:
        """SHA-256 of all usable pictures with their captions, whatever their names and order."""
        lines = sorted("\0".join((p.sha256, *p.caption.texts)) for p in self.pictures)
        return hashlib.sha256("\0\0".join(lines).encode()).hexdigest()

    def caption_counts(self) -> dict[str, int]:
        """How many usable pictures have their caption from where."""
        return dict(Counter(picture.caption.source for picture in self.pictures))

    def require_pictures(self) -> None:
        """Raises :class:`TrainerError` with code 5 when nothing is usable."""
        if self.pictures:
            return
        first = next((p for p in self.problems if p.fatal), None)
        cause = f"{self.folder} has no usable PNG, JPEG or WebP picture."
        if self.left_out:
            cause += f" {len(self.left_out)} are left out by {LEFT_OUT}."
        if first is not None:
            cause += f" For instance {first.file}: {first.problem}."
        raise TrainerError(
            "There are no pictures to train on",
            cause,
            "Put pictures of at least "
            f"{MIN_SIDE} pixels into the folder, each with a caption in a .txt file beside it.",
            NO_USABLE,
        )


@dataclass
class _Scan:
    """A look at a folder under way."""

    folder: Path
    options: DataOptions
    index: ScanIndex
    pictures: list[Picture] = field(default_factory=list)
    masks: int = 0
    duplicates: int = 0
    problems: list[Problem] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    unwanted: dict[str, str] = field(default_factory=dict)
    """The pictures that are left out, by what they show."""
    left_out: list[LeftOut] = field(default_factory=list)

    def leave_out(self) -> None:
        """Learns what is not wanted, so that a copy under another name is not wanted either."""
        self.names = left_out.names(self.folder)
        for path in left_out.inside(self.names, self.folder):
            name = path.relative_to(self.folder).as_posix()
            with suppress(Unusable):
                self.unwanted[pictures.seen(path, self.folder, self.index).sha256] = name

    def keep_out(self, path: Path, metadata: dict[str, Caption]) -> None:
        """A picture that is left out, with as much as can be told of it."""
        name = path.relative_to(self.folder).as_posix()
        caption, _ = caption_of(path, name, metadata, self.options)
        try:
            found = pictures.seen(path, self.folder, self.index)
        except Unusable:
            self.left_out.append(LeftOut(name, caption.text, 0, 0))
            return
        same_as = "" if name in self.names else self.unwanted[found.sha256]
        self.left_out.append(LeftOut(name, caption.text, found.width, found.height, same_as))

    def note(self, file: str, problem: str, remedy: str, *, fatal: bool) -> None:
        self.problems.append(Problem(file, problem, remedy, fatal))

    def add(self, path: Path, metadata: dict[str, Caption]) -> None:
        name = path.relative_to(self.folder).as_posix()
        try:
            found = pictures.seen(path, self.folder, self.index)
            digest = found.sha256
            if digest in self.unwanted:
                self.keep_out(path, metadata)
                return
            if digest in self.seen:
                self.duplicates += 1
                raise Unusable(f"The same picture as {self.seen[digest]}", "Remove one of the two.")
            _mask(path, self.folder, (found.width, found.height), self.options)
        except Unusable as unusable:
            self.note(name, unusable.problem, unusable.remedy, fatal=True)
            return
        for problem, remedy in found.notes:
            self.note(name, problem, remedy, fatal=False)
        caption, problems = caption_of(path, name, metadata, self.options)
        self.problems += problems
        self.seen[digest] = name
        self.pictures.append(Picture(path, name, caption, found.width, found.height, digest))


def scan(
    folder: Path,
    job: Job | None = None,
    resolution: int = 0,
    options: DataOptions = PLAIN,
    index: ScanIndex | None = None,
) -> Contents:
    """Looks at every file below ``folder``; links that lead out of it are not followed.

    A picture with a side below ``resolution`` is noted, because it has to be enlarged. ``index``
    spares decoding what was decoded before. Reports
    ``{"stage": "scan", "step"}``. Raises :class:`TrainerError` when there is no such folder.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise TrainerError(
            "There is no such folder",
            f"{folder} is not a folder.",
            "Name a folder with pictures.",
            NO_USABLE,
        )
    folder = folder.resolve()
    look = _Scan(folder, options, index or ScanIndex(None))
    metadata, problems = read_metadata(folder)
    look.problems += problems
    look.leave_out()
    for number, path in enumerate(_files(folder)):
        if job is not None:
            job.check()
            job.report({"stage": "scan", "step": number})
        if number >= MAX_FILES:
            look.note(
                ".", f"Only the first {MAX_FILES} files were read", "Split the folder.", fatal=False
            )
            break
        suffix = path.suffix.lower()
        if pictures.is_mask(path):
            look.masks += 1
        elif suffix in SUFFIXES and path.relative_to(folder).as_posix() in look.names:
            look.keep_out(path, metadata)
        elif suffix in SUFFIXES:
            look.add(path, metadata)
        elif suffix in OTHER_SUFFIXES:
            name = path.relative_to(folder).as_posix()
            look.note(name, f"{suffix} files are not read", "Convert it to PNG.", fatal=True)
    look.index.save()
    for picture in look.pictures:
        if deciding_side(picture, options) < resolution:
            size = f"{picture.width} x {picture.height}"
            remedy = f"A picture of at least {resolution} pixels a side would be sharper."
            look.note(picture.file, f"{size} pixels have to be enlarged", remedy, fatal=False)
    if look.masks and options.masks != "files":
        remedy = "Ask for masks from files if they shall count."
        look.note(".", f"{look.masks} masks are not used", remedy, fatal=False)
    kept_out = tuple(look.left_out)
    return Contents(folder, tuple(look.pictures), tuple(look.problems), look.duplicates, kept_out)


def deciding_side(picture: Picture, options: DataOptions) -> int:
    """Pixels that must not be fewer than the resolution, or the picture has to be enlarged.

    The shorter side; in a bucket of its own shape a picture needs the pixels of the square only.
    """
    sides = (picture.width, picture.height)
    return math.isqrt(math.prod(sides)) if options.buckets else min(sides)


def _files(folder: Path) -> Iterator[Path]:
    """Files below the folder in the order of their names, hidden ones left out."""
    for root, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(root) / name


def load(picture: Picture, folder: Path) -> Image.Image:
    """The picture once more, exactly as :func:`scan` saw it.

    Raises :class:`TrainerError` when the file has changed or gone since: what is computed from it
    is kept under the name of the pixels seen first.
    """
    try:
        image, _ = pictures.decoded(picture.path, folder)
        if pictures.pixels_sha256(image) != picture.sha256:
            raise Unusable("It shows something else now", "")
    except Unusable as unusable:
        raise _changed(picture, unusable) from unusable
    return image


def load_mask(picture: Picture, folder: Path, options: DataOptions) -> Image.Image | None:
    """A picture's mask in grey, white where training shall look; None without one.

    Raises :class:`TrainerError` when a file has changed or gone since :func:`scan`.
    """
    try:
        return _mask(picture.path, folder, (picture.width, picture.height), options)
    except Unusable as unusable:
        raise _changed(picture, unusable) from unusable


def _mask(
    path: Path, folder: Path, size: tuple[int, int], options: DataOptions
) -> Image.Image | None:
    if options.masks == "files":
        return pictures.mask_from_file(path, folder, size)
    return pictures.mask_from_alpha(path, folder) if options.masks == "alpha" else None


def _changed(picture: Picture, unusable: Unusable) -> TrainerError:
    return TrainerError(
        "A picture changed while it was read",
        f"{picture.file}: {unusable.problem}.",
        "Leave the folder alone while it is being trained on, and start again.",
    )


def split(
    contents: Contents, out: Sequence[Path], seed: int, holdout: int, holdout_folder: Path | None
) -> tuple[list[int], int]:
    """Copies pictures and captions into folders that must be empty, as evenly as possible.

    The order is by a hash of seed and content, so it does not depend on file names. The first
    ``holdout`` pictures go to ``holdout_folder``. Returns the counts and the number held out.
    Raises :class:`TrainerError`.
    """
    contents.require_pictures()
    targets = [*out, *([holdout_folder] if holdout_folder else [])]
    full = next((path for path in targets if path.exists() and any(path.iterdir())), None)
    if full is not None or not out or holdout < 0 or (holdout and holdout_folder is None):
        raise TrainerError(
            "The folder cannot be split like this",
            f"{full} is not empty."
            if full
            else "Targets or the place for the holdout are missing.",
            "Name empty folders.",
            MISUSE,
        )
    if len(contents.pictures) < len(out) + holdout:
        raise TrainerError(
            "There are too few pictures",
            f"{len(contents.pictures)} pictures cannot fill {len(out)} folders with {holdout} held "
            "out.",
            "Use fewer folders or more pictures.",
            NO_USABLE,
        )
    for path in targets:
        path.mkdir(parents=True, exist_ok=True)
    order = sorted(
        contents.pictures,
        key=lambda picture: hashlib.sha256(f"{seed}\0{picture.sha256}".encode()).digest(),
    )
    counts = [0] * len(out)
    for number, picture in enumerate(order):
        if number < holdout:
            assert holdout_folder is not None
            _copy(picture, holdout_folder, number)
        else:
            share = (number - holdout) % len(out)
            _copy(picture, out[share], counts[share])
            counts[share] += 1
    return counts, holdout


def _copy(picture: Picture, folder: Path, number: int) -> None:
    target = folder / f"{number:05d}-{picture.path.stem}{picture.path.suffix.lower()}"
    shutil.copyfile(picture.path, target)
    if picture.caption.text:
        target.with_suffix(".txt").write_text(picture.caption.text + "\n", encoding="utf-8")
