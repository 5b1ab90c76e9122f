"""Fetching base models from the hub while the node works: one at a time, in a process of its own.

The process has no torch. What a download left behind stays, also when it is stopped or the node
ends: the next one goes on there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, TrainerError, UsageError
from fedtui.limits import DOWNLOADS_KEPT
from fedtui.pace import Pace
from fedtui.training import OnProgress, TrainerProcess
from p2p.tasks import TaskOwner
from trainer.protocol import FetchModel, Request
from trainer.protocol import MeasureDownload as MeasureRequest

State = Literal["asking", "fetching", "waiting", "checking", "done", "stopped", "failed"]
STAGES: dict[str, State] = {"download": "fetching", "wait": "waiting", "check": "checking"}
Emit = Callable[..., None]


@dataclass(frozen=True)
class MeasureDownload:
    """How large a model ``owner/name[@revision]`` of the hub is."""

    model: str


@dataclass(frozen=True)
class DownloadModel:
    """A model ``owner/name[@revision]`` of the hub; goes on where an earlier attempt ended."""

    model: str


@dataclass(frozen=True)
class StopDownload:
    """The download under way; what has come is kept."""


@dataclass(frozen=True)
class ListDownloads:
    """The download under way, and the last ones that ended."""


@dataclass(frozen=True)
class Download:
    """``state``: asking the hub, fetching, waiting for another process that fetches the same,
    checking what came; then done, stopped, or failed for the reason in the last three."""

    model: str
    state: State = "asking"
    bytes: int = 0
    total: int = 0
    bytes_per_s: float | None = None
    title: str = ""
    cause: str = ""
    remedy: str = ""


class Downloads:
    """Adds its operations to a node's. ``log`` is where the process writes."""

    def __init__(self, log: Path, emit: Emit) -> None:
        self._log = log
        self._processes: set[TrainerProcess] = set()
        self._emit = emit
        self._tasks = TaskOwner("downloads")
        self._known: dict[str, Download] = {}
        self._running: asyncio.Task[None] | None = None
        self._asking = asyncio.Lock()

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("measure_download", MeasureDownload, self.measure)
        operations.add("download_model", DownloadModel, self.start)
        operations.add("stop_download", StopDownload, self.cancel)
        operations.add("list_downloads", ListDownloads, self.tell)

    async def measure(self, asked: MeasureDownload) -> Result:
        """See :class:`trainer.protocol.MeasureDownload`. Raises :class:`FedtuiError`."""
        async with self._asking:
            self._refuse_second()
            return await self._request(MeasureRequest(asked.model))

    async def start(self, asked: DownloadModel) -> Result:
        """Result: ``{"model"}``, at once. Raises :class:`UsageError` while another one runs."""
        async with self._asking:
            self._refuse_second()
            self._note(Download(asked.model))
            self._running = self._tasks.spawn(self._fetch(asked.model), "download")
        return {"model": asked.model}

    async def cancel(self, asked: StopDownload) -> Result:
        """Result: ``{"model"}``, empty when nothing was under way."""
        del asked
        running, model = self._running, next(reversed(self._known), "")
        if running is None:
            return {"model": ""}
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return {"model": model}

    async def tell(self, asked: ListDownloads) -> Result:
        """Result: ``{"downloads": [...]}``, each a :class:`Download`, the newest last."""
        del asked
        return {"downloads": [asdict(each) for each in self._known.values()]}

    async def stop(self) -> None:
        """Ends what is under way."""
        # The processes first: a cancelled download would wait for its next bytes.
        await asyncio.gather(*(process.stop() for process in self._processes))
        await self._tasks.cancel()

    async def _request(self, request: Request, progress: OnProgress | None = None) -> Result:
        """To a process that lives as long as this takes."""
        process = TrainerProcess("arithmetic", log=self._log)
        self._processes.add(process)
        try:
            return await process.request(request, progress)
        finally:
            await process.stop()
            self._processes.discard(process)

    def _refuse_second(self) -> None:
        if self._running is not None:
            raise UsageError(
                "a download is under way",
                f"{next(reversed(self._known))}; there is one at a time",
                "wait for it, or stop it: what has come is kept",
            )

    async def _fetch(self, model: str) -> None:
        pace = Pace()

        def progress(data: dict[str, Any]) -> None:
            state = STAGES.get(str(data.get("stage")), "fetching")
            done = self._known[model]
            if state == "fetching":
                pace.told(int(data["bytes"]))
                rate = 1 / pace.seconds if pace.seconds else None
                done = replace(
                    done, bytes=int(data["bytes"]), total=int(data["total"]), bytes_per_s=rate
                )
            self._note(replace(done, state=state))

        try:
            await self._request(FetchModel(model), progress)
        except asyncio.CancelledError:
            self._note(replace(self._known[model], state="stopped", bytes_per_s=None))
            raise
        except FedtuiError as error:
            self._fail(model, error)
        else:
            whole = self._known[model]
            self._note(replace(whole, state="done", bytes=whole.total, bytes_per_s=None))
            self._emit("notice", text=f"the model {model} is on this machine now", level="ok")
        finally:
            self._running = None

    def _fail(self, model: str, error: FedtuiError) -> None:
        stopped = isinstance(error, TrainerError) and error.cancelled
        self._note(
            replace(
                self._known[model],
                state="stopped" if stopped else "failed",
                bytes_per_s=None,
                title=error.title,
                cause=error.cause,
                remedy=error.remedy,
            )
        )
        if not stopped:
            text = f"the model {model} is not here: {error.title}. {error.cause}"
            self._emit("notice", text=text, level="error")

    def _note(self, download: Download) -> None:
        self._known.pop(download.model, None)
        self._known[download.model] = download
        while len(self._known) > DOWNLOADS_KEPT:
            del self._known[next(iter(self._known))]
