"""Operations that change which adapter files lie on the shelf: take one in, merge several, delete.

What the rooms need is never touched: a file that comes in is copied, a merged one is new, and the
adapter that the next round starts from cannot be deleted.
"""

from __future__ import annotations

import asyncio
import filecmp
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, UsageError
from fedtui.library import existing, listed
from fedtui.limits import MERGED_ADAPTERS, SHELF_NAME_CHARS
from fedtui.rooms import Room, committed_adapters
from fedtui.training import TrainerProcess
from p2p.durable import flush, sync_directory
from trainer.protocol import CombineAdapters, InspectAdapter, RuleSpec, WeightedFile

SUFFIX = ".safetensors"
_NAME = re.compile(r"\w[\w .+-]*")
UNBOUNDED = RuleSpec("n_k", cap_milli=0)
"""Every adapter counts as much as a person says; rooms bound a member's share."""


@dataclass(frozen=True)
class ImportAdapter:
    """A LoRA file of any dialect, made for the room's base model. It is copied."""

    path: str


@dataclass(frozen=True)
class MergedFile:
    """One of several adapters; ``weight`` is positive and counts relative to the others'."""

    path: str
    weight: int


@dataclass(frozen=True)
class MergeAdapters:
    """The weighted mean of adapters, exactly, under a ``new_name`` on the shelf."""

    files: tuple[MergedFile, ...]
    new_name: str


@dataclass(frozen=True)
class DeleteAdapter:
    """An adapter that ``list_adapters`` tells of."""

    path: str


class Shelf:
    """Adds its operations to a node's. ``folder`` is the shelf."""

    def __init__(self, room: Room, arithmetic: TrainerProcess, folder: Path) -> None:
        self._room = room
        self._arithmetic = arithmetic
        self._folder = folder

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("import_adapter", ImportAdapter, self.take_in)
        operations.add("merge_adapters", MergeAdapters, self.merge)
        operations.add("delete_adapter", DeleteAdapter, self.delete)

    async def take_in(self, asked: ImportAdapter) -> Result:
        """Result: ``{"path", "name", "title", "modules", "ignored", "new"}``; ``new`` is False when
        the shelf had these very bytes.

        Every value is read before anything is kept. Raises :class:`FedtuiError` for a file that is
        no LoRA, belongs to another base model, is damaged, or finds no room on the disk.
        """
        source = await asyncio.to_thread(existing, asked.path)
        model = self._room.task.model
        report = await self._arithmetic.request(InspectAdapter(str(source), model))
        modules, matching = int(report["modules"]), int(report["matching"])
        if matching < modules:
            fits = (await self._arithmetic.request(InspectAdapter(str(source))))["model"]
            made_for = f"; it was made for {fits}" if fits else ""
            raise UsageError(
                "this adapter belongs to another base model",
                f"{matching} of its {modules} modules are in {model}{made_for}",
                f"take one that was trained on {model}",
            )
        await self._arithmetic.request(InspectAdapter(str(source), model, whole=True))
        path, new = await asyncio.to_thread(self._copied, source)
        told = {"title": report["title"], "modules": modules, "ignored": report["ignored"]}
        return {"path": str(path), "name": path.stem, **told, "new": new}

    async def merge(self, asked: MergeAdapters) -> Result:
        """Result: ``{"path", "name", "rank", "modules", "weights": [share...]}``, the shares in the
        order of the files. Raises :class:`FedtuiError`; then nothing is left behind.
        """
        if not 2 <= len(asked.files) <= MERGED_ADAPTERS:
            raise UsageError(
                f"{len(asked.files)} adapters cannot be merged",
                f"2 to {MERGED_ADAPTERS} are possible",
                "mark them with space",
            )
        target = self._folder / (_name(asked.new_name) + SUFFIX)
        if target.exists():
            raise UsageError(f"there is an adapter {target.stem} already", remedy="name it anew")
        paths = [await asyncio.to_thread(existing, file.path) for file in asked.files]
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
        draft = self._draft()
        request = CombineAdapters(
            inputs=tuple(
                WeightedFile(f"{number:05d} {path.name}", str(path), file.weight)
                for number, (path, file) in enumerate(zip(paths, asked.files, strict=True))
            ),
            model=self._room.task.model,
            mode="stack",
            out=str(draft),
            rule=UNBOUNDED,
            format="diffusers",
        )
        try:
            made = await self._arithmetic.request(request)
            await asyncio.to_thread(_publish, draft, target)
        except OSError as error:
            raise _refused_by_disk(error, target) from error
        finally:
            await asyncio.to_thread(draft.unlink, missing_ok=True)
        return {
            "path": str(target),
            "name": target.stem,
            "rank": made["rank"],
            "modules": made["modules"],
            "weights": [each["weight"] for each in made["statistics"]["participants"]],
        }

    async def delete(self, asked: DeleteAdapter) -> Result:
        """Result: ``{"path", "name"}``. Raises :class:`UsageError` for what is not on the list, and
        for what the next round needs; :class:`FedtuiError` when the disk refuses."""
        entries = await asyncio.to_thread(listed, self._room.paths, self._folder)
        entry = next((each for each in entries if each["path"] == asked.path), None)
        if entry is None:
            raise UsageError(f"there is no adapter {asked.path}", "it may be gone already")
        kept = committed_adapters(self._room.paths)
        if entry["round"] and entry["round"] == max(kept):
            raise UsageError(
                f"the adapter of round {entry['round']} is needed",
                "the next round starts from it, and what you take home is made of it",
                "older ones, exports and files of the shelf can be deleted",
            )
        path = Path(asked.path)
        try:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as error:
            raise FedtuiError(
                f"{path.name} cannot be deleted",
                error.strerror or str(error),
                "see to the rights of its folder",
            ) from error
        return {"path": asked.path, "name": entry["name"]}

    def _copied(self, source: Path) -> tuple[Path, bool]:
        """Where the shelf has these bytes now, and whether that is new."""
        stem = _fitting(source.stem)
        draft = self._draft()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = self._folder / (stem + SUFFIX)
            number = 2
            while target.exists():
                if filecmp.cmp(source, target, shallow=False):
                    return target, False
                target = self._folder / f"{stem}-{number}{SUFFIX}"
                number += 1
            with source.open("rb") as read, draft.open("xb") as written:
                shutil.copyfileobj(read, written)
                flush(written)
            _publish(draft, target)
        except OSError as error:
            raise _refused_by_disk(error, self._folder) from error
        finally:
            draft.unlink(missing_ok=True)
        return target, True

    def _draft(self) -> Path:
        return self._folder / f".{secrets.token_hex(8)}.part"


def _publish(draft: Path, target: Path) -> None:
    draft.replace(target)
    sync_directory(target.parent)


def _name(text: str) -> str:
    """A name that a person gave, fit for a file. Raises :class:`UsageError`."""
    name = text.strip().removesuffix(SUFFIX)
    if not _NAME.fullmatch(name) or len(name) > SHELF_NAME_CHARS:
        raise UsageError(
            "this is no name for a file" if name else "the new adapter has no name",
            f"letters, digits, blanks and . _ + - are possible, {SHELF_NAME_CHARS} at most",
        )
    return name


def _fitting(stem: str) -> str:
    """The name of somebody else's file without what has no place in one."""
    kept = re.sub(r"[^\w .+-]", "_", stem).strip(" .-+")[:SHELF_NAME_CHARS].strip()
    return kept or "adapter"


def _refused_by_disk(error: OSError, place: Path) -> FedtuiError:
    return FedtuiError(
        "the adapter cannot be written",
        f"{place}: {error.strerror or error}",
        "see to the rights and the space of that folder; nothing has changed",
    )
