"""Operations on adapter files: those of the room's rounds, exports, and files anywhere else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedtui.control.operations import Operations, Result
from fedtui.errors import UsageError
from fedtui.limits import LIBRARY_FILES
from fedtui.rooms import Room, committed_adapters, export_metadata
from fedtui.training import TrainerProcess
from trainer.protocol import ExportAdapter as ExportRequest
from trainer.protocol import InspectAdapter as InspectRequest

Format = Literal["kohya", "diffusers"]


@dataclass(frozen=True)
class ListAdapters:
    """Everything on the shelf."""


@dataclass(frozen=True)
class InspectAdapter:
    """An adapter file of any dialect."""

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
        operations.add("inspect_adapter", InspectAdapter, self.inspect)
        operations.add("export_adapter", ExportAdapter, self.export)

    async def shelf(self, asked: ListAdapters) -> Result:
        """Result: ``{"adapters": [{"path", "name", "kind", "round", "bytes", "modified"}...],
        "shelf"}``; ``kind`` is round, export or file, the newest round first."""
        del asked
        adapters = await asyncio.to_thread(self._listed)
        return {"adapters": adapters, "shelf": str(self._folder)}

    async def inspect(self, asked: InspectAdapter) -> Result:
        """See :class:`trainer.protocol.InspectAdapter`."""
        path = await asyncio.to_thread(_existing, asked.path)
        request = InspectRequest(str(path), self._room.task.model)
        return await self._arithmetic.request(request)

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

    def _listed(self) -> list[Result]:
        rounds = committed_adapters(self._room.paths)
        found = [_entry(rounds[n], "round", n) for n in sorted(rounds, reverse=True)]
        found += [_entry(path, "export") for path in _files(self._room.paths.exports)]
        found += [_entry(path, "file") for path in _files(self._folder)]
        return found[:LIBRARY_FILES]


def _existing(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    return path


def _files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else ()


def _entry(path: Path, kind: str, number: int = 0) -> Result:
    stat = path.stat()
    modified = time.strftime("%Y-%m-%d %H:%M", time.localtime(stat.st_mtime))
    return {
        "path": str(path),
        "name": f"round {number}" if number else path.stem,
        "kind": kind,
        "round": number,
        "bytes": stat.st_size,
        "modified": modified,
    }
