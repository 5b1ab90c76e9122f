"""Operations that look at adapter files and base models, and write adapters for other programs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from stat import S_ISREG
from typing import Literal

from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, UsageError
from fedtui.limits import LIBRARY_FILES
from fedtui.paths import RoomPaths, absolute, sha256_of
from fedtui.rooms import Room, committed_adapters, export_metadata
from fedtui.task import Task
from fedtui.training import TrainerProcess
from trainer.protocol import ExportAdapter as ExportRequest
from trainer.protocol import InspectAdapter as InspectRequest
from trainer.protocol import ListModels as ListModelsRequest

Format = Literal["kohya", "diffusers"]


@dataclass(frozen=True)
class ListAdapters:
    """Everything on the shelf."""


@dataclass(frozen=True)
class ListModels:
    """The base models on this machine."""


@dataclass(frozen=True)
class InspectAdapter:
    """An adapter file of any dialect."""

    path: str


@dataclass(frozen=True)
class HashAdapter:
    """The SHA-256 of a whole adapter file: what names it everywhere."""

    path: str


@dataclass(frozen=True)
class ExportAdapter:
    """A committed round's adapter for other programs; kohya's format loads in ComfyUI and A1111."""

    round: int
    format: Format = "kohya"


class Library:
    """Adds its operations to a node's. ``shelf`` is a folder for files from elsewhere."""

    def __init__(self, room: Room, arithmetic: TrainerProcess, shelf: Path) -> None:
        self._room = room
        self._arithmetic = arithmetic
        self._folder = shelf

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("list_adapters", ListAdapters, self.shelf)
        operations.add("list_models", ListModels, self.models)
        operations.add("inspect_adapter", InspectAdapter, self.inspect)
        operations.add("hash_adapter", HashAdapter, self.hash)
        operations.add("export_adapter", ExportAdapter, self.export)

    async def shelf(self, asked: ListAdapters) -> Result:
        """Result: ``{"adapters": [{"path", "name", "kind", "round", "bytes", "modified"}...],
        "shelf"}``; ``kind`` is round, export or file, the newest round first."""
        del asked
        adapters = await asyncio.to_thread(listed, self._room.paths, self._folder)
        return {"adapters": adapters, "shelf": str(self._folder)}

    async def models(self, asked: ListModels) -> Result:
        """See :class:`trainer.protocol.ListModels`; besides, each model says in ``here`` whether it
        is this room's, which is listed as ``missing`` where it is not on this machine. What the
        room knows of its model's hash is used."""
        del asked
        task = self._room.task
        found = await self._arithmetic.request(ListModelsRequest((task.model,)))
        for model in found["models"]:
            model["here"] = model["source"] == task.model
            model["sha256"] = model["sha256"] or (task.model_sha256 if model["here"] else "")
            model["missing"] = False
        if not any(model["here"] for model in found["models"]):
            found["models"].insert(0, _missing(task))
        return found

    async def inspect(self, asked: InspectAdapter) -> Result:
        """See :class:`trainer.protocol.InspectAdapter`; ``path`` is the one that was asked for."""
        path = await asyncio.to_thread(existing, asked.path)
        request = InspectRequest(str(path), self._room.task.model)
        return {**await self._arithmetic.request(request), "path": asked.path}

    async def hash(self, asked: HashAdapter) -> Result:
        """Result: ``{"path", "sha256"}``. Raises :class:`FedtuiError` for what cannot be read."""
        path = await asyncio.to_thread(existing, asked.path)
        try:
            sha256 = await asyncio.to_thread(sha256_of, path)
        except OSError as error:
            raise FedtuiError(
                f"{path.name} cannot be read", error.strerror or str(error), "see to its rights"
            ) from error
        return {"path": asked.path, "sha256": sha256}

    async def export(self, asked: ExportAdapter) -> Result:
        """Result: ``{"path", "sha256", "modules"}``."""
        kept = await asyncio.to_thread(committed_adapters, self._room.paths)
        if asked.round not in kept:
            known = ", ".join(map(str, sorted(kept))) or "none"
            raise UsageError(f"round {asked.round} has no adapter here", f"kept are {known}")
        folder = self._room.paths.exports
        folder.mkdir(parents=True, exist_ok=True)
        out = folder / f"round-{asked.round:04d}-{asked.format}.safetensors"
        request = ExportRequest(
            str(kept[asked.round]),
            str(out),
            self._room.task.model,
            asked.format,
            export_metadata(self._room, asked.round),
        )
        return await self._arithmetic.request(request)


def _missing(task: Task) -> Result:
    return {
        "name": task.model,
        "source": task.model,
        "family": "",
        "resolution": task.resolution or 0,
        "sha256": task.model_sha256,
        "bytes": 0,
        "folder": "",
        "unfinished": False,
        "here": True,
        "missing": True,
    }


def listed(room: RoomPaths, shelf: Path) -> list[Result]:
    """Every adapter file as ``list_adapters`` tells of it, but for one that vanishes meanwhile."""
    rounds = committed_adapters(room)
    places = [(rounds[n], "round", n) for n in sorted(rounds, reverse=True)]
    places += [(path, "export", 0) for path in _files(room.exports)]
    places += [(path, "file", 0) for path in _files(shelf)]
    found = (_entry(*place) for place in places)
    return list(islice((entry for entry in found if entry), LIBRARY_FILES))


def existing(text: str) -> Path:
    """The file of this path. Raises :class:`UsageError`."""
    path = absolute(text)
    if not path.is_file():
        raise UsageError(f"there is no file {path}", remedy="type the path of one")
    return path


def _files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else ()


def _entry(path: Path, kind: str, number: int) -> Result | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    if not S_ISREG(stat.st_mode):
        return None
    modified = time.strftime("%Y-%m-%d %H:%M", time.localtime(stat.st_mtime))
    return {
        "path": str(path),
        "name": f"round {number}" if number else path.stem,
        "kind": kind,
        "round": number,
        "bytes": stat.st_size,
        "modified": modified,
    }
