"""Operations that only show: the previews in one picture, and the logs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, UsageError
from fedtui.events import Event, sentence
from fedtui.limits import LOG_CHUNK_BYTES, LOG_CHUNK_EVENTS, LOG_TAIL_BYTES
from fedtui.paths import Profile, RoomPaths
from fedtui.sheets import pictures_of, through_rounds
from fedtui.training import TrainerProcess
from fedtui.view import PreviewView
from trainer.protocol import ContactSheet, SheetRow

Source = Literal["events", "node", "trainer", "arithmetic"]
LEVELS = {"DEBUG": "debug", "WARNING": "warning", "ERROR": "error", "CRITICAL": "error"}


@dataclass(frozen=True)
class ExportGrid:
    """All previews: a row per prompt and seed, a column per round."""


@dataclass(frozen=True)
class ExportSheet:
    """Any pictures: ``labels`` stand below each other, one row of ``pictures`` beside each."""

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    pictures: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ReadLog:
    """Lines of a log after the position ``after``; -1 starts near the end of a file."""

    source: Source
    after: int = -1


class Showing:
    """Adds its operations to a node's."""

    def __init__(
        self,
        profile: Profile,
        room: RoomPaths,
        arithmetic: TrainerProcess,
        *,
        previews: Callable[[], Sequence[PreviewView]],
        events: Callable[[int], list[Event]],
        name_of: Callable[[str], str],
    ) -> None:
        self._profile = profile
        self._room = room
        self._arithmetic = arithmetic
        self._previews = previews
        self._events = events
        self._name_of = name_of

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("export_grid", ExportGrid, self.export_grid)
        operations.add("export_sheet", ExportSheet, self.export_sheet)
        operations.add("read_log", ReadLog, self.read_log)

    async def export_grid(self, asked: ExportGrid) -> Result:
        """Result: ``{"path"}``. Raises :class:`FedtuiError` without pictures."""
        del asked
        previews = self._previews()
        if not previews:
            raise FedtuiError("there are no pictures yet", remedy="wait for the base model's")
        newest = max(preview.round for preview in previews)
        self._room.exports.mkdir(parents=True, exist_ok=True)
        out = self._room.exports / f"grid-r{newest}-{time.strftime('%Y%m%d-%H%M%S')}.png"
        await self._arithmetic.request(through_rounds(pictures_of(previews), out))
        return {"path": str(out)}

    async def export_sheet(self, asked: ExportSheet) -> Result:
        """Result: ``{"path"}``. Raises :class:`FedtuiError` for rows that do not fit."""
        if len(asked.labels) != len(asked.pictures):
            raise UsageError(f"{len(asked.labels)} labels for {len(asked.pictures)} rows")
        self._room.exports.mkdir(parents=True, exist_ok=True)
        out = self._room.exports / f"sheet-{time.strftime('%Y%m%d-%H%M%S')}.png"
        rows = tuple(map(SheetRow, asked.labels, asked.pictures))
        await self._arithmetic.request(ContactSheet(str(out), asked.columns, rows))
        return {"path": str(out)}

    async def read_log(self, asked: ReadLog) -> Result:
        """Result: ``{"lines": [[time, level, text]...], "fields": [object or null...], "next",
        "path"}``; the fields of a line are the event's, or those of a log written as JSON.
        """
        if asked.source == "events":
            return self._event_lines(max(0, asked.after))
        path = {
            "node": self._profile.log,
            "trainer": self._profile.trainer_log,
            "arithmetic": self._profile.arithmetic_log,
        }[asked.source]
        lines, position = await asyncio.to_thread(_read, path, asked.after)
        parsed = [_parsed(line) for line in lines]
        return {
            "lines": [line for line, _ in parsed],
            "fields": [fields for _, fields in parsed],
            "next": position,
            "path": str(path),
        }

    def _event_lines(self, after: int) -> Result:
        events = self._events(after)[:LOG_CHUNK_EVENTS]
        lines = []
        for event in events:
            text, level = sentence(event, self._name_of)
            stamp = time.strftime("%H:%M:%S", time.localtime(event["ts"]))
            lines.append([stamp, level, text])
        position = events[-1]["seq"] if events else after
        return {
            "lines": lines,
            "fields": events,
            "next": position,
            "path": str(self._profile.events),
        }


def _read(path: Path, after: int) -> tuple[list[str], int]:
    """Whole lines after a byte position, and the position behind them.

    A file that has become shorter was rotated and is read from its beginning.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, size - LOG_TAIL_BYTES) if after < 0 else after if after <= size else 0
            file.seek(start)
            data = file.read(LOG_CHUNK_BYTES)
    except OSError:
        return [], max(0, after)
    end = data.rfind(b"\n") + 1
    lines = data[:end].decode(errors="replace").splitlines()
    if after < 0 and start and lines:
        del lines[0]  # most likely the rest of a line
    return lines, start + end


def _parsed(line: str) -> tuple[list[str], Result | None]:
    """Time, level and text of a line of a log, whether it is text or JSON, and what JSON it is."""
    if line.startswith("{"):
        try:
            entry: Result = json.loads(line)
            stamp = time.strftime("%H:%M:%S", time.localtime(float(entry["ts"])))
            return [stamp, str(entry["level"]), str(entry["message"])], entry
        except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
            return ["", "info", line], None
    stamp, _, rest = line.partition(" ")
    word, _, text = rest.partition(" ")
    if len(stamp) == 20 and stamp.endswith("Z"):
        return [stamp[11:19], LEVELS.get(word, "info"), text.strip()], None
    return ["", "info", line], None
