"""Recordings of a room as one node saw it: made from a running node, played in the interface.

A recording is a file of JSON lines and, beside it, a folder of the pictures that it shows:

====================  =========================================================================
``workshop.jsonl``    first line ``{"fedtui_recording": 1, "started": SECONDS, "room": NAME}``,
                      then ``{"t": SECONDS, "view": {...}}``: the fields of
                      :class:`fedtui.view.NodeView` that have changed, ``t`` seconds after the start
``workshop.files/``   the previews, named in ``view.previews`` by paths relative to the JSON file
====================  =========================================================================

Paths of the machine that recorded do not get into it; names and fingerprints of the members do.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from fedtui.errors import FedtuiError, UsageError
from fedtui.limits import TAPE_BYTES, TAPE_LINES, VIEW_INTERVAL_S
from fedtui.view import NodeView, PreviewView, from_json, to_json

VERSION = 1
SPEEDS = (0.25, 512.0)


class Recorder:
    """Writes what has changed since the last view. Close it."""

    def __init__(self, path: Path, room: str) -> None:
        """Raises :class:`UsageError` when the file exists or cannot be written."""
        self._files = path.with_suffix(".files")
        self._relative = self._files.name
        self._last: dict[str, Any] = {}
        self._kept: dict[str, str] = {}
        self._started = time.monotonic()
        try:
            self._files.mkdir(parents=True, exist_ok=True)
            self._file = path.open("x", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {path}", error.strerror or str(error), "choose another name"
            ) from error
        self._write({"fedtui_recording": VERSION, "started": int(time.time()), "room": room})

    def add(self, view: NodeView) -> None:
        """Keeps a view; a picture that has gone meanwhile is left out."""
        previews = [self._keep(preview) for preview in view.previews]
        adapter = PurePosixPath(view.adapter).name if view.adapter else None
        shown = replace(
            view,
            previews=tuple(preview for preview in previews if preview),
            adapter=adapter,
            dataset=PurePosixPath(view.dataset).name,
            uptime_s=0.0,
        )
        now = to_json(shown)
        changed = {key: value for key, value in now.items() if self._last.get(key, None) != value}
        if changed:
            self._last = now
            self._write({"t": round(time.monotonic() - self._started, 2), "view": changed})

    def close(self) -> None:
        """Ends the recording."""
        self._file.close()

    def _keep(self, preview: PreviewView) -> PreviewView | None:
        if preview.path not in self._kept:
            name = f"r{preview.round}-{len(self._kept):03d}.png"
            with suppress(OSError):
                shutil.copyfile(preview.path, self._files / name)
                self._kept[preview.path] = f"{self._relative}/{name}"
        kept = self._kept.get(preview.path)
        return replace(preview, path=kept) if kept else None

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
        self._file.flush()


async def record(control: Path, path: Path, told: Callable[[int], None]) -> None:
    """Records the node behind ``control`` until cancelled or until it ends.

    ``told`` gets the number of views so far. Raises :class:`FedtuiError` when none runs.
    """
    from fedtui.control.client import ControlClient, NoNode

    async with ControlClient(control) as client:
        view = await client.view()
        recorder, views = Recorder(path, view.room_name), 0
        try:
            while True:
                await asyncio.to_thread(recorder.add, view)
                views += 1
                told(views)
                await asyncio.sleep(VIEW_INTERVAL_S)
                with suppress(TimeoutError):
                    view = await client.view()
        except NoNode:
            return
        finally:
            recorder.close()


@dataclass(frozen=True)
class Tape:
    """A recording in memory: when each view came, in seconds, and the view."""

    room: str
    times: tuple[float, ...]
    views: tuple[NodeView, ...]

    @property
    def length(self) -> float:
        """Seconds from the first view to the last."""
        return self.times[-1]

    def at(self, seconds: float) -> NodeView:
        """The view that was on show then."""
        return self.views[max(0, bisect_right(self.times, seconds) - 1)]


def load(path: Path) -> Tape:
    """Reads a recording; a last line that was cut off by a crash is left out.

    Raises :class:`UsageError` when it is none.
    """
    try:
        if path.stat().st_size > TAPE_BYTES:
            raise UsageError(f"{path} is too large", f"at most {TAPE_BYTES >> 20} MiB are read")
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no recording {path}", remedy="make one with `fedtui record FILE`"
        ) from error
    except OSError as error:
        raise UsageError(
            f"cannot read {path}", error.strerror or "", "name a recording of `fedtui record`"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no recording", "it is not text", "record a node with `fedtui record FILE`"
        ) from error
    try:
        head = json.loads(lines[0])
        version = head["fedtui_recording"]
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no recording",
            "its first line does not say so",
            "record a running node with `fedtui record FILE`",
        ) from error
    if version != VERSION:
        raise UsageError(f"{path} is of version {version}", f"this program reads {VERSION}")
    times, views = _views(path, lines[1 : TAPE_LINES + 1])
    if not views:
        raise UsageError(f"{path} shows nothing", "it ends after its first line")
    return Tape(str(head.get("room", "")), tuple(times), tuple(views))


def _views(path: Path, lines: list[str]) -> tuple[list[float], list[NodeView]]:
    fields: dict[str, Any] = {}
    times: list[float] = []
    views: list[NodeView] = []
    for number, line in enumerate(lines, 2):
        try:
            entry = json.loads(line)
            fields = {**fields, **entry["view"]}
            view = from_json(NodeView, fields)
            previews = tuple(_found(path, preview) for preview in view.previews)
            seconds = float(entry["t"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines) + 1:
                break  # the recorder was killed in the middle of it
            raise UsageError(f"{path} is damaged", f"line {number}: {error}") from error
        times.append(max(seconds, times[-1] if times else 0.0))
        views.append(replace(view, previews=previews))
    return times, views


def _found(path: Path, preview: PreviewView) -> PreviewView:
    """A preview's file below the recording's folder; a path that leads out of it leads nowhere."""
    relative = PurePosixPath(preview.path)
    if relative.is_absolute() or ".." in relative.parts:
        return replace(preview, path="")
    return replace(preview, path=str(path.parent / relative))


class Player:
    """A recording as a node that the interface shows: :class:`fedtui.tui.feed.ViewSource`."""

    def __init__(self, tape: Tape, speed: float = 1.0) -> None:
        self.tape = tape
        self._speed = speed
        self._paused = False
        self._place = 0.0
        self._since = time.monotonic()

    @property
    def place(self) -> float:
        """Seconds into the recording."""
        moving = 0.0 if self._paused else (time.monotonic() - self._since) * self._speed
        return max(0.0, min(self.tape.length, self._place + moving))

    @property
    def speed(self) -> float:
        """Recorded seconds per second; 0 while paused."""
        return 0.0 if self._paused else self._speed

    def pause(self) -> None:
        """Stops or goes on; at the end it starts again."""
        if self.place >= self.tape.length:
            self._move(0.0)
            self._paused = False
            return
        self._move(self.place)
        self._paused = not self._paused

    def skip(self, seconds: float) -> None:
        """Goes on elsewhere."""
        self._move(self.place + seconds)

    def faster(self, factor: float) -> None:
        """Changes the speed, within limits."""
        self._move(self.place)
        self._speed = max(SPEEDS[0], min(SPEEDS[1], self._speed * factor))

    def _move(self, place: float) -> None:
        self._place = max(0.0, min(self.tape.length, place))
        self._since = time.monotonic()

    async def view(self) -> NodeView:
        """What was on show at this place."""
        return self.tape.at(self.place)

    async def do(self, name: str, *, within_s: float, **arguments: Any) -> dict[str, Any]:
        """A recording can only be looked at; nobody drew anything by hand in it."""
        if name == "generations":
            return {"jobs": []}
        if name == "round_times":
            number = int(arguments["round"])
            seen = (t for view in reversed(self.tape.views) for t in view.times)
            found = next((times for times in seen if times.round == number), None)
            return {"round": number, "times": to_json(found) if found else None}
        raise FedtuiError("this is a recording", f"there is no node that could {name!r}")

    async def stop(self) -> None:
        """Nothing runs."""

    async def close(self) -> None:
        """Nothing is open."""
