"""Captions of a folder of pictures: sidecar text files, or one ``metadata.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainer.config import MAX_CAPTION_BYTES, MAX_CAPTION_LENGTH, MAX_METADATA_BYTES

METADATA = "metadata.jsonl"
"""One JSON object a line: ``{"file_name": "a.png", "text": "a red house"}``."""
SIDECARS = (".txt", ".caption")
TEXT_KEYS = ("text", "caption", "prompt")

Source = Literal["metadata", "txt", "caption", "missing"]


@dataclass(frozen=True)
class Problem:
    """Something about a file. ``fatal`` means that the file is not used."""

    file: str
    problem: str
    remedy: str
    fatal: bool


@dataclass(frozen=True)
class Caption:
    """One line of text and where it was found."""

    text: str
    source: Source


def read_metadata(folder: Path) -> tuple[dict[str, str], list[Problem]]:
    """Captions by file name relative to ``folder``, in POSIX form; empty without the file."""
    path = folder / METADATA
    if not path.is_file() or path.is_symlink():
        return {}, []
    if path.stat().st_size > MAX_METADATA_BYTES:
        remedy = f"Split it; at most {MAX_METADATA_BYTES >> 20} MB are read."
        return {}, [Problem(METADATA, "The file is too large", remedy, True)]
    text, _ = _decoded(path.read_bytes())
    captions: dict[str, str] = {}
    problems: list[Problem] = []
    for number, name, caption in _rows(text):
        if name is None:
            remedy = 'Each line must look like {"file_name": "a.png", "text": "a red house"}.'
            problems.append(Problem(METADATA, f"Line {number} is not understood", remedy, False))
        elif not (folder / name).is_file():
            remedy = "Correct the name, or remove the line."
            problems.append(
                Problem(METADATA, f"Line {number} names {name[:80]!r}, not there", remedy, False)
            )
        else:
            captions[name] = caption
    return captions, problems


def _rows(text: str) -> Iterator[tuple[int, str | None, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        name = row.get("file_name") if isinstance(row, dict) else None
        caption = (
            next((row[k] for k in TEXT_KEYS if isinstance(row.get(k), str)), None) if name else None
        )
        if not isinstance(name, str) or caption is None or "\0" in name:
            yield number, None, ""
        else:
            yield number, name.replace("\\", "/").removeprefix("./"), clean(caption)


def caption_of(
    picture: Path, name: str, metadata: Mapping[str, str]
) -> tuple[Caption, list[Problem]]:
    """The caption of a picture called ``name`` in messages and in ``metadata``."""
    if name in metadata:
        return Caption(metadata[name], "metadata"), []
    for suffix in SIDECARS:
        path = picture.with_suffix(suffix)
        if not path.is_file() or path.is_symlink():
            continue
        if path.stat().st_size > MAX_CAPTION_BYTES:
            remedy = f"Keep captions below {MAX_CAPTION_BYTES >> 10} KB."
            return Caption("", "missing"), [
                Problem(name, f"{path.name} is too large for a caption", remedy, False)
            ]
        text, latin = _decoded(path.read_bytes())
        caption = clean(text)
        problems = []
        if latin:
            remedy = "Save the caption as UTF-8 if letters look wrong."
            problems.append(Problem(name, f"{path.name} was read as Latin-1", remedy, False))
        if caption:
            source: Source = "txt" if suffix == ".txt" else "caption"
            return Caption(caption, source), problems
    remedy = f"Put a description into {picture.with_suffix('.txt').name}."
    return Caption("", "missing"), [Problem(name, "The caption is missing", remedy, False)]


def clean(text: str) -> str:
    """One line: white space collapsed, control characters removed, at most 2,000 characters."""
    words = "".join(c if c.isprintable() or c.isspace() else "" for c in text).split()
    return " ".join(words)[:MAX_CAPTION_LENGTH].rstrip()


def _decoded(data: bytes) -> tuple[str, bool]:
    """The text, and whether Latin-1 had to be assumed."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), False
    try:
        return data.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        return data.decode("latin-1"), True
