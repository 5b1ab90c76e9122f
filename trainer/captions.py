"""Captions of a folder of pictures: where they are found, and what training makes of them.

A caption comes from ``metadata.jsonl``, from a CSV table, from a text file beside the picture, or
from the picture's own name. It may be one of several of the same picture.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from trainer.config import (
    MAX_CAPTIONS,
    MAX_METADATA_BYTES,
)
from trainer.protocol import DataOptions
from trainer.protocol.data import (
    MAX_CAPTION_BYTES,
    MAX_CAPTION_LENGTH,
    METADATA,
    SIDECARS,
    TABLES,
)

FILE_KEYS = ("file_name", "file", "image", "filename")
TEXT_KEYS = ("text", "caption", "prompt")
VARIANTS = 8
"""Orders of a caption's tags that are kept; training picks one of them at each step."""

_NUMBERED = re.compile(r"\s*[(\[]?\d+[)\]]?\s*$")
"""What cameras and browsers put behind a name."""

Source = Literal["metadata", "table", "txt", "caption", "name", "missing"]
Metadata = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Problem:
    """Something about a file. ``fatal`` means that the file is not used."""

    file: str
    problem: str
    remedy: str
    fatal: bool


@dataclass(frozen=True)
class Caption:
    """Lines of text of equal right, and where they were found; none at all if it is missing."""

    texts: tuple[str, ...]
    source: Source

    @property
    def text(self) -> str:
        """The first of them."""
        return self.texts[0] if self.texts else ""


MISSING = Caption((), "missing")


def read_metadata(folder: Path) -> tuple[dict[str, Caption], list[Problem]]:
    """Captions by file name relative to ``folder``, in POSIX form; empty without such a file."""
    captions: dict[str, Caption] = {}
    problems: list[Problem] = []
    for name, rows, source, example in (
        (METADATA, _json_rows, "metadata", '{"file_name": "a.png", "text": "a red house"}'),
        *((table, _table_rows, "table", 'file_name,text  then  a.png,"a house, red"')
          for table in TABLES),
    ):  # fmt: skip
        path = folder / name
        if not path.is_file() or path.is_symlink():
            continue
        try:
            content = _content(path, MAX_METADATA_BYTES)
        except OSError as error:
            what = f"The file cannot be read: {error.strerror}"
            problems.append(Problem(name, what, "Copy it anew, or see to its rights.", True))
            continue
        if content is None:
            remedy = f"Split it; at most {MAX_METADATA_BYTES >> 20} MB are read."
            problems.append(Problem(name, "The file is too large", remedy, True))
            continue
        text, latin = _decoded(content)
        if latin:
            problems.append(_latin(name, name))
        found: dict[str, tuple[str, ...]] = {}
        for number, file, texts in rows(text):
            if file is None:
                remedy = f"Each line must look like {example}."
                problem = Problem(name, f"Line {number} is not understood", remedy, False)
                problems.append(problem)
            elif (picture := _inside(folder, file)) is None:
                remedy = "Correct the name, or remove the line."
                what = f"Line {number} names {file[:80]!r}, not there"
                problems.append(Problem(name, what, remedy, False))
            else:
                problems += _long(name, f"The text of line {number}", texts)
                more = _distinct(map(clean, texts))
                found[picture] = (*found.get(picture, ()), *more)[:MAX_CAPTIONS]
        for file, texts in found.items():
            captions.setdefault(file, Caption(texts, source))  # type: ignore[arg-type]
    return captions, problems


def _inside(folder: Path, file: str) -> str | None:
    """A file as pictures are called, relative to ``folder``, however a table spells it: with the
    whole path or by way of other folders. None if there is none inside."""
    path = Path(os.path.normpath(folder / file))
    inside = path.is_relative_to(folder) and path.is_file()
    return path.relative_to(folder).as_posix() if inside else None


Row = tuple[int, str | None, tuple[str, ...]]


def _json_rows(text: str) -> Iterator[Row]:
    # Not splitlines(): JSON may hold U+2028 and U+0085, which are lines to Python alone.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield number, *_row(row if isinstance(row, dict) else {})


def _table_rows(text: str) -> Iterator[Row]:
    """Commas, semicolons or tabs; the header's first line decides.

    A text of tags that nobody put into quotes runs on into cells without a header. It is whole
    again when it is the last column; where it is not, nobody can tell.
    """
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    try:
        for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter=delimiter), 2):
            rest: Sequence[str] = row.pop(None, None) or ()
            named = {key.strip().lower(): value for key, value in row.items()}
            last = next(reversed(named), "")
            if any(rest) and last in TEXT_KEYS:
                named[last] = delimiter.join((named[last], *rest)).rstrip(delimiter)
            yield number, *(_row(named) if last in TEXT_KEYS or not any(rest) else (None, ()))
    except csv.Error:
        yield 0, None, ()


def _row(row: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    name = next((row[k] for k in FILE_KEYS if isinstance(row.get(k), str)), None)
    value = next((row[k] for k in TEXT_KEYS if isinstance(row.get(k), str | list)), None)
    texts = [value] if isinstance(value, str) else value
    if not name or "\0" in name or not texts or not all(isinstance(t, str) for t in texts):
        return None, ()
    return name.replace("\\", "/").removeprefix("./"), tuple(texts)


def caption_of(
    picture: Path, name: str, metadata: Mapping[str, Caption], options: DataOptions
) -> tuple[Caption, list[Problem]]:
    """The caption of a picture called ``name`` in messages and in ``metadata``."""
    if name in metadata:
        return metadata[name], []
    for suffix in SIDECARS:
        path = picture.with_suffix(suffix)
        if not path.is_file() or path.is_symlink():
            continue
        try:
            content = _content(path, MAX_CAPTION_BYTES)
        except OSError as error:
            what = f"{path.name} cannot be read: {error.strerror}"
            problem = Problem(name, what, "Copy it anew, or see to its rights.", False)
            return MISSING, [problem]
        if content is None:
            remedy = f"Keep captions below {MAX_CAPTION_BYTES >> 10} KB."
            problem = Problem(name, f"{path.name} is too large for a caption", remedy, False)
            return MISSING, [problem]
        text, latin = _decoded(content)
        lines = text.splitlines() if options.caption_lines else [text]
        texts = _distinct(map(clean, lines))[:MAX_CAPTIONS]
        problems = [_latin(name, path.name)] if latin else []
        problems += _long(name, "The caption", lines)
        if texts:
            return Caption(texts, "txt" if suffix == ".txt" else "caption"), problems
    if options.name_captions and (text := spoken_name(picture.stem)):
        return Caption((text,), "name"), []
    remedy = f"Put a description into {picture.with_suffix('.txt').name}."
    return MISSING, [Problem(name, "The caption is missing", remedy, False)]


def spoken_name(stem: str) -> str:
    """``a-red_house (2)`` as a person would say it: ``a red house``."""
    words = clean(re.sub(r"[_\-.]+", " ", stem))
    while (shorter := _NUMBERED.sub("", words)) != words:
        words = shorter
    return words


def clean(text: str) -> str:
    """One line: white space collapsed, control characters removed, at most 2,000 characters."""
    words = "".join(c if c.isprintable() or c.isspace() else "" for c in text).split()
    return " ".join(words)[:MAX_CAPTION_LENGTH].rstrip()


def variants(caption: Caption, options: DataOptions) -> tuple[str, ...]:
    """Every wording that training may meet, in an order that depends on the caption alone.

    The tags after the first ``keep`` come in up to VARIANTS orders, derived from the text itself:
    so shuffled captions can be encoded once and kept, whatever the run. The trigger word comes
    first in each.
    """
    found: list[str] = []
    for text in caption.texts or ("",):
        for worded in _orders(text, options) if options.shuffle else (text,):
            parts = [part for part in (options.trigger, worded) if part]
            found.append(", ".join(parts))
    return _distinct(found, empty=True)


def _orders(text: str, options: DataOptions) -> Sequence[str]:
    tags = [tag.strip() for tag in text.split(",") if tag.strip()]
    kept, loose = tags[: options.keep], tags[options.keep :]
    orders = [text]
    for number in range(1, VARIANTS if len(loose) > 1 else 1):
        order = list(loose)
        Random(f"{number}\0{text}").shuffle(order)
        orders.append(", ".join(kept + order))
    return orders


def _distinct(texts: Iterator[str] | Sequence[str], *, empty: bool = False) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text or empty))


def _long(file: str, what: str, texts: Sequence[str]) -> list[Problem]:
    """A problem if one of these texts is longer than what is kept of it."""
    if max(map(len, texts), default=0) <= MAX_CAPTION_LENGTH:
        return []
    if max(len(" ".join(text.split())) for text in texts) <= MAX_CAPTION_LENGTH:
        return []
    remedy = "Shorten it; no model reads more."
    what = f"{what} is longer than {MAX_CAPTION_LENGTH} characters; the rest is not read"
    return [Problem(file, what, remedy, False)]


def _latin(name: str, file: str) -> Problem:
    remedy = "Save it as UTF-8 if letters look wrong."
    return Problem(name, f"{file} was read as Latin-1", remedy, False)


def _content(path: Path, limit: int) -> bytes | None:
    """A whole file, or None if it is larger than ``limit`` bytes. Raises OSError."""
    with path.open("rb") as file:
        content = file.read(limit + 1)
    return content if len(content) <= limit else None


def _decoded(data: bytes) -> tuple[str, bool]:
    """The text, and whether Latin-1 had to be assumed, or what Windows makes of it: that has
    curly quotes and dashes where Latin-1 has control characters."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace"), False
    try:
        return data.decode("utf-8-sig"), False
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1252"), True
    except UnicodeDecodeError:
        return data.decode("latin-1"), True
