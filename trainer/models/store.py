"""Where models from single files and from the hub are kept as ordinary diffusers folders.

A folder counts only with its record, which is written last: what was interrupted is never taken
for whole. Nothing here needs torch or a network.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer.errors import NO_USABLE, TrainerError

STORE_VARIABLE = "FEDTUI_MODELS"
"""Environment: the folder of the store."""
RECORD = "fedtui-import.json"
HUB_NAME = re.compile(r"(?P<name>[\w.-]{1,96}/[\w.-]{1,96})(?:@(?P<revision>[\w./-]{1,96}))?")
"""``owner/name`` of the hub, and a branch, tag or commit after an @."""


@dataclass(frozen=True)
class Record:
    """Where a kept model came from. ``revision`` is the hub's commit, or a file's SHA-256."""

    source: str
    revision: str
    sha256: str
    """The model's own hash, over all components."""


def root() -> Path:
    """The folder of the store; it need not exist."""
    chosen = os.environ.get(STORE_VARIABLE, "")
    return Path(chosen) if chosen else Path.home() / ".cache" / "fedtui" / "models"


def is_hub_name(model: str) -> bool:
    """Whether this is ``owner/name`` and no path on this machine."""
    return HUB_NAME.fullmatch(model) is not None and not Path(model).expanduser().exists()


def place(model: str) -> Path:
    """The folder that belongs to a single file or a hub name, whether it is there or not.

    A file that changes has another place.
    """
    if is_hub_name(model):
        return root() / "hub" / model.replace("/", "--").replace("@", "--at--")
    path = Path(model).expanduser().resolve()
    stat = path.stat()
    key = f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}"
    digest = hashlib.sha256(os.fsencode(key)).hexdigest()[:16]
    return root() / "files" / f"{path.stem}-{digest}"


def hub_name(folder: Path) -> str:
    """The name on the hub that a folder of the store belongs to, as far as its name tells."""
    return folder.name.replace("--at--", "@").replace("--", "/", 1)


def record(folder: Path) -> Record | None:
    """What is known of a kept model; None if it was never finished."""
    try:
        return Record(**json.loads((folder / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: Path, entry: Record) -> None:
    """Makes a finished folder count."""
    draft = folder / f".{RECORD}.part"
    draft.write_text(json.dumps(asdict(entry), indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / RECORD)


def found(model: str) -> Path:
    """The folder of a kept model. Raises :class:`TrainerError` if it has to be imported first."""
    folder = place(model)
    if record(folder) is None:
        raise TrainerError(
            "The model is not on this machine yet" if is_hub_name(model) else
            "The model is a single file that was not unpacked yet",
            f"There is no folder or file {model} here either." if is_hub_name(model) else model,
            f"Run: fedtui model import {model}",
            NO_USABLE,
        )  # fmt: skip
    return folder
