"""Pictures that a room agreed to train on beside everybody's own: Phoenix's shared subset.

A member publishes them itself, as files that people hand round; fedtui never sends a picture. The
plan names them by a digest, so that everybody means the same, and each member says where they lie
on its machine before they are trained on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from fedtui.errors import FedtuiError, TrustError, UsageError
from fedtui.paths import RoomPaths
from fedtui.task import SharedTask, Task, refused
from p2p.durable import publish
from trainer.protocol import CheckData, Request


class Trainer(Protocol):
    """Whoever answers :class:`CheckData`: either trainer process."""

    async def request(self, request: Request, /) -> dict[str, Any]: ...


async def described(trainer: Trainer, folder: Path, note: str) -> SharedTask:
    """What a plan says of the pictures in a folder. Raises :class:`FedtuiError` for none."""
    found = await _looked_at(trainer, folder)
    try:
        return SharedTask(sha256=found["digest"], pictures=found["usable"], note=note)
    except ValueError as error:
        raise refused(error) from error


async def check(trainer: Trainer, folder: Path, agreed: SharedTask) -> None:
    """Raises :class:`TrustError` unless a folder holds exactly the agreed pictures and captions."""
    found = await _looked_at(trainer, folder)
    if found["digest"] != agreed.sha256:
        raise TrustError(
            f"{folder} is not what the room agreed to share",
            f"the room means {agreed.pictures} pictures ({agreed.sha256[:12]}…), here are "
            f"{found['usable']} ({found['digest'][:12]}…)",
            "get the same files as the others; captions count too",
        )


async def _looked_at(trainer: Trainer, folder: Path) -> dict[str, Any]:
    found = await trainer.request(CheckData(str(folder)))
    if not found["usable"]:
        raise UsageError(f"{folder} holds no usable picture", remedy="see `fedtui data check`")
    return found


def chosen(paths: RoomPaths) -> str:
    """The folder this member named, empty if none. Raises :class:`FedtuiError` when unreadable."""
    try:
        folder = json.loads(paths.shared.read_bytes())["folder"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FedtuiError(
            f"{paths.shared} is damaged", str(error), "say `fedtui room share DIR` again"
        ) from error
    return str(folder)


def choose(paths: RoomPaths, folder: Path | None) -> None:
    """Remembers where the shared pictures lie; None: they are not trained on here any more."""
    if folder is None:
        paths.shared.unlink(missing_ok=True)
        return
    publish(paths.shared, json.dumps({"folder": str(folder)}).encode())


def told(task: Task, paths: RoomPaths) -> str:
    """What the room shares and whether this member trains on it, in a line; empty without."""
    if task.shared is None:
        return ""
    note = f" ({task.shared.note})" if task.shared.note else ""
    where = "trained on here" if paths.shared.is_file() else "not on this machine"
    return f"{task.shared.pictures} pictures{note}, {where}"
