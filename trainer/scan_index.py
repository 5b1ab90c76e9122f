"""What was learned by decoding pictures, kept by the bytes of their files.

Decoding a photo of 12 megapixels takes a tenth of a second, hashing its file some milliseconds; a
folder of thousands is looked at again in seconds. Names and times of files play no part, so an
edited file is always decoded anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger("trainer")

VERSION = 1
"""Raised whenever a picture would be decoded to other pixels."""
FILE = "pictures.json"
MAX_BYTES = 64 << 20
"""Bytes of an index that are read; a picture takes about 200."""


@dataclass(frozen=True)
class Seen:
    """A usable picture: its sides as displayed, the hash of its pixels, and notes on it."""

    width: int
    height: int
    sha256: str
    notes: tuple[tuple[str, str], ...]


class ScanIndex:
    """A JSON file in ``folder``, or nothing when that is None. Damage only costs time."""

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / FILE if folder else None
        self._known = _read(self._path) if self._path else {}
        self._used: dict[str, Seen] = {}

    def find(self, content: bytes) -> Seen | None:
        """What is known of the picture in a file with these bytes."""
        if not self._known:
            return None
        key = _key(content)
        seen = self._known.get(key)
        if seen is not None:
            self._used[key] = seen
        return seen

    def add(self, content: bytes, seen: Seen) -> None:
        if self._path is not None:
            self._used[_key(content)] = seen

    def save(self) -> None:
        """Keeps what was used since the index was read, and forgets the rest."""
        if self._path is None or self._used == self._known:
            return
        entries = {key: asdict(seen) for key, seen in self._used.items()}
        draft = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps({"version": VERSION, "pictures": entries}), "utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("what was seen of the pictures is not kept: %s", error)
            draft.unlink(missing_ok=True)


def _key(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> dict[str, Seen]:
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        data = json.loads(path.read_text("utf-8"))
        if data["version"] != VERSION:
            return {}
        return {key: _seen(**entry) for key, entry in data["pictures"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("the index %s cannot be read: %s", path, error)
        return {}


def _seen(width: int, height: int, sha256: str, notes: list[list[str]]) -> Seen:
    return Seen(int(width), int(height), str(sha256), tuple((str(p), str(r)) for p, r in notes))
