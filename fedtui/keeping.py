"""What a node keeps of a room beside the store of blobs, and for how long.

Results have names here that say what they are. Trainings are needed until their round is decided:
what was handed in lies in the store, which ``disk_limit`` bounds.
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
import threading
from pathlib import Path

from fedtui.paths import RoomPaths, sha256_of
from fedtui.rooms import committed_adapters
from p2p.durable import flush, sync_directory

log = logging.getLogger("fedtui.keeping")

_OF_A_ROUND = re.compile(r"\.?round-(\d+)")


def keep_adapter(paths: RoomPaths, blob: Path, sha256: str, round_number: int) -> Path:
    """Copies the result of a round (0: what the first starts from) to where people find it.

    Raises OSError.
    """
    target = paths.adapter(round_number) if round_number else paths.initial
    # A power cut may have left something else under the name.
    if not target.is_file() or sha256_of(target) != sha256:
        target.parent.mkdir(parents=True, exist_ok=True)
        publish_copy(blob, target, sha256)
    return target


def publish_copy(source: Path, target: Path, sha256: str) -> None:
    """Copies a file with these bytes; it is whole at every moment, and on the disk after this.

    Raises OSError: the disk refused, or ``source`` has other bytes. Nothing is left of it then.
    """
    # The steering and the workload may both be first; each has its own draft.
    draft = target.with_suffix(f".draft-{threading.get_ident()}")
    try:
        with source.open("rb") as read, draft.open("wb") as written:
            shutil.copyfileobj(read, written)
            flush(written)
        if sha256_of(draft) != sha256:
            raise OSError(errno.EIO, "damaged on this disk", str(source))
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)


def forget_adapters(paths: RoomPaths, kept_rounds: int) -> None:
    """Deletes all but the newest adapters: so many, and the one that the first of them began at."""
    kept = committed_adapters(paths)
    for number, path in kept.items():
        if number < max(kept) - kept_rounds:
            _delete(path)


def forget_trainings(paths: RoomPaths, current: int) -> None:
    """Deletes what trainings of other rounds than the ``current`` one left."""
    for folder in (paths.contributions, paths.checkpoint):
        for path in folder.iterdir() if folder.is_dir() else ():
            found = _OF_A_ROUND.match(path.name)
            if found and int(found[1]) != current:
                _delete(path)


def _delete(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s cannot be deleted: %s", path, error)
