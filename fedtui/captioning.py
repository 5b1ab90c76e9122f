"""Writing the caption of a picture into the text file beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fedtui.control.operations import Result
from fedtui.errors import FedtuiError, UsageError
from p2p.durable import publish, sync_directory
from trainer.protocol import MAX_CAPTION_BYTES, METADATA, SIDECARS, TABLES


@dataclass(frozen=True)
class WriteCaption:
    """A picture in a folder, named as :class:`trainer.protocol.CheckData` names it, and its
    caption. None takes the text file away, which undoes the first caption.
    """

    folder: str
    file: str
    caption: str | None


def write_caption(folder: Path, file: str, caption: str | None) -> Result:
    """Result: ``{"file", "before"}``; ``before`` is the text that was there, None without one.

    The text file is whole at every moment, the old one or the new one. Raises :class:`UsageError`
    when there is no such picture or its caption is kept elsewhere, :class:`FedtuiError` when the
    disk refuses.
    """
    picture = picture_in(folder, file)
    for table in (METADATA, *TABLES):
        if (folder / table).is_file():
            raise UsageError(
                f"the captions of this folder are in {table}",
                "a text file beside the picture would not be read",
                f"change it in {folder / table}",
            )
    content = None if caption is None else _content(caption)
    sidecar = _sidecar(picture)
    try:
        before = _text(sidecar)
        if content is None:
            sidecar.unlink(missing_ok=True)
            sync_directory(sidecar.parent)
        else:
            publish(sidecar, content)
    except OSError as error:
        raise FedtuiError(
            f"the caption of {file} cannot be written",
            f"{sidecar}: {error.strerror or error}",
            "see to the rights and the space of that folder; nothing has changed",
        ) from error
    return {"file": file, "before": before}


def _content(caption: str) -> bytes:
    try:
        content = caption.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "the caption is no text", f"its character {error.start + 1} is half of one"
        ) from error
    if len(content) > MAX_CAPTION_BYTES:
        raise UsageError(
            "the caption is too long", f"training reads at most {MAX_CAPTION_BYTES >> 10} KB"
        )
    return content


def picture_in(folder: Path, file: str) -> Path:
    """A file in the folder by its relative name. Raises :class:`UsageError`."""
    parts = PurePosixPath(file)
    path = folder / parts
    outside = parts.is_absolute() or ".." in parts.parts or "\0" in file
    if outside or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"there is no picture {file!r} in {folder}", remedy="look at it again")
    return path


def _sidecar(picture: Path) -> Path:
    places = [picture.with_suffix(suffix) for suffix in SIDECARS]
    if picture in places:
        raise UsageError(f"{picture.name} is a caption itself", remedy="choose a picture")
    found = next((place for place in places if os.path.lexists(place)), places[0])
    if os.path.lexists(found) and (found.is_symlink() or not found.is_file()):
        raise UsageError(
            f"{found.name} is no file of its own",
            "training does not follow links",
            "replace it by a text file",
        )
    return found


def _text(sidecar: Path) -> str | None:
    """What is there, however it was encoded.

    Raises OSError, and :class:`UsageError` for more than a caption.
    """
    try:
        with sidecar.open("rb") as file:
            content = file.read(MAX_CAPTION_BYTES + 1)
    except FileNotFoundError:
        return None
    if len(content) > MAX_CAPTION_BYTES:
        raise UsageError(
            f"{sidecar.name} is more than a caption",
            f"it has over {MAX_CAPTION_BYTES >> 10} KB, and training does not read it",
            "move it away if it is needed elsewhere",
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
