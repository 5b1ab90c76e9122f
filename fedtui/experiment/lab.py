"""Requests to a trainer whose results are kept, so that a stopped experiment goes on where it was.

A file is named after everything that decides its content: the request that made it, whose input
files are named the same way. An experiment is therefore a plain sequence of calls; those that were
made before cost nothing, whichever experiment made them. Calls that do not depend on each other may
be awaited together: every worker computes with one thread, so that results do not depend on how
many workers there are.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from fedtui import __version__
from fedtui.errors import FedtuiError, UsageError
from fedtui.experiment.forecast import Forecast
from fedtui.training import TrainerProcess
from p2p.durable import publish
from trainer.protocol import Request

Result = dict[str, Any]
Say = Callable[[str], None]
R = TypeVar("R", bound=Request)

KEY_DIGITS = 20
MAX_WORKERS = 4
"""Unless asked for more: each holds a model."""
HERE = "@lab/"
"""The laboratory's own folder in its results, so that it may be moved."""
FULL_BELOW = 64 * 2**20
"""Free bytes below which a failure is put down to the disk; one result is smaller."""
MARK = "fedtui-lab"
"""A file that says a folder is a laboratory of ours."""


def _silent(text: str) -> None:
    del text


class Lab:
    """A folder of results and ``workers`` to make more. An asynchronous context manager.

    ``say`` is told what is being done, at most a few times a second for each worker.
    """

    def __init__(
        self, folder: Path, *, workers: int = 1, device: str = "", say: Say = _silent
    ) -> None:
        self.folder = folder.absolute()
        self.made = 0
        """Requests that had to be made, in this process."""
        self.kept = 0
        """Results that were there already."""
        self.prefix = ""
        """Put in front of everything that is said."""
        self.forecast = Forecast()
        """Told of the parts of the experiment, so that everything that is said ends with how long
        the rest takes."""
        self._device = device
        self._listener = say
        self._stack = AsyncExitStack()
        self._places = asyncio.Semaphore(workers)
        self._idle: list[TrainerProcess] = []
        self._started = 0
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def __aenter__(self) -> Lab:
        """Raises :class:`UsageError` for a folder with other files in it."""
        mark = self.folder / MARK
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not mark.exists() and any(self.folder.iterdir()):
                raise UsageError(
                    f"{self.folder} holds other files",
                    "an experiment keeps its results in a folder of its own",
                    "name a new folder, or that of an earlier experiment to go on with it",
                )
            mark.write_text(f"{__version__}\n", encoding="utf-8")
            (self.folder / "results").mkdir(exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {self.folder}", error.strerror or "") from error
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def make(self, what: str, request: R, suffix: str = ".safetensors") -> Path:
        """The file that a request writes to its ``out`` (or ``folder``), made unless it is there.

        ``suffix`` "" makes a folder. Raises :class:`FedtuiError` when it cannot be made.
        """
        path = self.folder / f"{request.kind}-{self._key(request)}{suffix}"
        await self._once(what, request, _writing(request, path))
        return path

    async def ask(self, what: str, request: Request) -> Result:
        """The result of a request that writes nothing, asked unless it was before."""
        return await self._once(what, request, request)

    async def result(
        self, what: str, request: Request, suffix: str = ".safetensors"
    ) -> tuple[Path, Result]:
        """Like :meth:`make`, with what the trainer said about the file."""
        path = self.folder / f"{request.kind}-{self._key(request)}{suffix}"
        return path, await self._once(what, request, _writing(request, path))

    async def _once(self, what: str, request: Request, complete: Request) -> Result:
        key = f"{request.kind}-{self._key(request)}"
        place = self.folder / "results" / f"{key}.json"
        async with self._making[key]:
            if place.exists():
                self.kept += 1
                text = place.read_text(encoding="utf-8").replace(HERE, f"{self.folder}/")
                kept: Result = json.loads(text)["result"]
                return kept
            async with self._worker() as trainer:
                self._say(what)
                began = time.monotonic()
                with self._told_when_full():
                    result = await trainer.request(
                        complete, lambda data: self._say(_line(what, data))
                    )
                seconds = round(time.monotonic() - began, 3)
            record = {"request": asdict(request), "result": result, "seconds": seconds}
            text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
            with self._told_when_full():
                publish(place, text.replace(f"{self.folder}/", HERE).encode())
            self.made += 1
            return result

    @contextmanager
    def _told_when_full(self) -> Iterator[None]:
        """What failed because the disk is full fails with that reason."""
        try:
            yield
        except (OSError, FedtuiError) as error:
            if shutil.disk_usage(self.folder).free >= FULL_BELOW and not isinstance(error, OSError):
                raise
            reason = error.strerror or "" if isinstance(error, OSError) else error.cause
            raise FedtuiError(
                f"cannot keep results in {self.folder}",
                reason,
                "make room there and type the same command again: it goes on where it stopped",
            ) from error

    @contextmanager
    def part(self, cost: float) -> Iterator[None]:
        """Something that costs so much of what ``forecast`` expects."""
        made, began = self.made, time.monotonic()
        yield
        seconds = time.monotonic() - began if self.made > made else None
        self.forecast.finished(cost, seconds)

    def _say(self, text: str) -> None:
        self._listener(f"{self.prefix}{text}{self.forecast}")

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[TrainerProcess]:
        async with self._places:
            trainer = self._idle.pop() if self._idle else self._another()
            try:
                yield trainer
            finally:
                self._idle.append(trainer)

    def _another(self) -> TrainerProcess:
        self._started += 1
        log = self.folder / f"trainer-{self._started}.log"
        trainer = TrainerProcess(log=log, threads=1, device=self._device)
        self._stack.push_async_callback(trainer.stop)
        return trainer

    def _key(self, request: Request) -> str:
        """Names a request by its content; files of this folder count by their names."""
        text = json.dumps([__version__, request.kind, asdict(request)], sort_keys=True)
        text = text.replace(f"{self.folder}/", "")
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


def cores() -> int:
    """How many workers suit this machine."""
    return max(1, min(MAX_WORKERS, os.cpu_count() or 1))


def _writing(request: R, path: Path) -> R:
    """The request with the place it writes to."""
    field: Literal["out", "folder"] = "out" if hasattr(request, "out") else "folder"
    return replace(request, **{field: str(path)})


def _line(what: str, data: dict[str, Any]) -> str:
    if data.get("stage") == "load":
        return f"{what}: loading the model"
    if "steps" in data:
        return f"{what}: {data.get('stage', 'step')} {data.get('step', 0)} of {data['steps']}"
    return what
