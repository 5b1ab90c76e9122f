"""Pictures on demand: the operations behind a screen where a person tries the room's adapter.

How an interface uses it::

    job = await client.do("generate", prompts=["a house"], seeds=[1, 2],
                          adapters=[{"round": 3, "weight": 0.8}, {"path": "/x/style.safetensors"}])

answers at once with ``{"id", "pictures", "waiting"}``: the job waits behind the training or the
previews that the trainer is busy with. What becomes of it comes as events with that ``id``:

===================  =============================================================================
``drawing.progress``  ``{step, steps, picture, pictures}`` over all pictures, at most twice a
                      second; ``preview`` is the path of a small PNG that has just changed, or ""
``drawing.picture``   ``{path, prompt, seed, picture}``: one is finished
``drawing.finished``  ``{paths, seconds}``
``drawing.failed``    ``{title, cause, remedy, cancelled}``
===================  =============================================================================

``client.do("cancel_generation", id=job["id"])`` ends it, ``client.do("generations")`` lists the
last ones, for a screen that was opened later. A grid is several ``weights``: one row of strengths
for each set of pictures, every prompt with every seed in each; rounds are compared by giving
several adapters and rows such as ``[1, 0]`` and ``[0, 1]``.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, TrainerError, UsageError
from fedtui.limits import (
    DRAWING_EVENT_INTERVAL_S,
    DRAWING_JOBS_KEPT,
    DRAWING_JOBS_WAITING,
    DRAWING_PICTURES,
)
from fedtui.training import TrainerProcess
from p2p.tasks import TaskOwner
from trainer.protocol import Generate as GenerateRequest
from trainer.protocol import LoraFile, Shot

State = Literal["waiting", "drawing", "finished", "failed", "cancelled"]
Emit = Callable[..., None]


@dataclass(frozen=True)
class Adapter:
    """An adapter file, or that of a committed round; ``round`` counts only without a ``path``."""

    path: str = ""
    round: int = 0
    weight: float = 1.0


@dataclass(frozen=True)
class Generate:
    """What to draw: every prompt with every seed, for each row of ``weights`` if there are any."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    negative: str = ""
    adapters: tuple[Adapter, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()
    steps: int = 20
    cfg: float = 3.0
    sampler: str = ""
    width: int = 0
    height: int = 0
    batch: int = 1
    preview: bool = True
    metadata: bool = True


@dataclass(frozen=True)
class CancelGeneration:
    """Ends a job, whether it waits or draws."""

    id: int


@dataclass(frozen=True)
class Generations:
    """The jobs of this node since it started, oldest first."""


@dataclass(frozen=True)
class Job:
    """A job as ``generations`` lists it."""

    id: int
    state: State
    prompt: str
    pictures: int
    step: int = 0
    steps: int = 0
    preview: str = ""
    paths: tuple[str, ...] = ()
    error: str = ""


@dataclass
class _Running:
    job: Job
    task: asyncio.Task[None] | None = None
    told: float = field(default=float("-inf"))


class Drawing:
    """Adds its operations to a node's and runs their jobs on the node's trainer."""

    def __init__(
        self,
        trainer: TrainerProcess,
        *,
        model: str,
        folder: Path,
        rounds: Callable[[], Mapping[int, Path]],
        emit: Emit,
    ) -> None:
        self._trainer = trainer
        self._model = model
        self._folder = folder
        self._rounds = rounds
        self._emit = emit
        self._numbers = itertools.count(1)
        self._jobs: dict[int, _Running] = {}
        self._tasks = TaskOwner("drawing")

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("generate", Generate, self.generate)
        operations.add("cancel_generation", CancelGeneration, self.cancel)
        operations.add("generations", Generations, self.list)

    async def stop(self) -> None:
        """Ends all jobs."""
        await self._tasks.cancel()

    async def generate(self, asked: Generate) -> Result:
        """Result: ``{"id", "pictures", "waiting"}``; ``waiting`` jobs are ahead of it.

        Raises :class:`UsageError` for what cannot be drawn.
        """
        open_jobs = sum(running.job.state in ("waiting", "drawing") for running in self._open())
        if open_jobs >= DRAWING_JOBS_WAITING:
            raise FedtuiError(
                f"{open_jobs} jobs wait already", remedy="wait for one of them, or cancel it"
            )
        number = next(self._numbers)
        place = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{number:03d}"
        request = self._request(asked, place)
        running = _Running(Job(number, "waiting", asked.prompts[0], len(request.shots)))
        self._jobs[number] = running
        self._forget()
        running.task = self._tasks.spawn(self._run(running, request), f"job {number}")
        return {"id": number, "pictures": len(request.shots), "waiting": open_jobs}

    async def cancel(self, asked: CancelGeneration) -> Result:
        """Result: ``{"cancelled"}``, false when it had ended before."""
        running = self._jobs.get(asked.id)
        if running is None:
            raise UsageError(f"there is no job {asked.id}", remedy="`generations` lists them")
        if running.task is None or running.task.done():
            return {"cancelled": False}
        running.task.cancel()
        return {"cancelled": True}

    async def list(self, asked: Generations) -> Result:
        """Result: ``{"jobs": [{"id", "state", "prompt", "pictures", "step", "steps", …}]}``."""
        del asked
        return {"jobs": [asdict(running.job) for running in self._jobs.values()]}

    def _open(self) -> tuple[_Running, ...]:
        return tuple(self._jobs.values())

    def _forget(self) -> None:
        ended = [n for n, r in self._jobs.items() if r.task is not None and r.task.done()]
        for number in ended[: max(0, len(self._jobs) - DRAWING_JOBS_KEPT)]:
            del self._jobs[number]

    def _request(self, asked: Generate, place: Path) -> GenerateRequest:
        count = len(asked.prompts) * len(asked.seeds) * max(1, len(asked.weights))
        if not 1 <= count <= DRAWING_PICTURES:
            raise UsageError(
                f"{count} pictures were asked for", f"1 to {DRAWING_PICTURES} are possible at once"
            )
        for row in asked.weights:
            if len(row) != len(asked.adapters):
                raise UsageError(
                    "a row of weights does not fit the adapters",
                    f"{len(row)} weights for {len(asked.adapters)} adapters",
                )
        shots = tuple(
            Shot(
                prompt, seed, asked.negative, tuple(row), asked.steps, asked.cfg, asked.sampler
            )
            for row in asked.weights or ((),)
            for prompt in asked.prompts
            for seed in asked.seeds
        )  # fmt: skip
        return GenerateRequest(
            model=self._model,
            prompts=(),
            seeds=(),
            out=str(place),
            loras=tuple(self._lora(adapter) for adapter in asked.adapters),
            width=asked.width,
            height=asked.height,
            shots=shots,
            batch=asked.batch,
            preview=str(place / "preview.png") if asked.preview else "",
            metadata=asked.metadata,
        )

    def _lora(self, adapter: Adapter) -> LoraFile:
        if adapter.path:
            path = Path(adapter.path).expanduser()
            if not path.is_file():
                raise UsageError(f"there is no adapter {path}")
            return LoraFile(str(path.absolute()), adapter.weight)
        kept = self._rounds()
        if adapter.round not in kept:
            known = ", ".join(map(str, sorted(kept))) or "none"
            raise UsageError(f"round {adapter.round} has no adapter here", f"kept are {known}")
        return LoraFile(str(kept[adapter.round]), adapter.weight)

    async def _run(self, running: _Running, request: GenerateRequest) -> None:
        number, started = running.job.id, time.monotonic()
        try:
            result = await self._trainer.request(request, lambda data: self._hear(running, data))
        except asyncio.CancelledError:
            running.job = replace(running.job, state="cancelled", preview="")
            self._fail(number, "cancelled", "", "", cancelled=True)
            raise
        except TrainerError as error:
            state: State = "cancelled" if error.cancelled else "failed"
            running.job = replace(running.job, state=state, error=error.title, preview="")
            self._fail(number, error.title, error.cause, error.remedy, cancelled=error.cancelled)
            return
        finally:
            if request.preview:
                await asyncio.to_thread(Path(request.preview).unlink, missing_ok=True)
        paths = tuple(str(picture["path"]) for picture in result["pictures"])
        running.job = replace(running.job, state="finished", paths=paths, preview="")
        seconds = round(time.monotonic() - started, 3)
        self._emit("drawing.finished", id=number, paths=list(paths), seconds=seconds)

    def _fail(self, number: int, title: str, cause: str, remedy: str, *, cancelled: bool) -> None:
        self._emit(
            "drawing.failed",
            id=number, title=title, cause=cause, remedy=remedy, cancelled=cancelled,
        )  # fmt: skip

    def _hear(self, running: _Running, data: dict[str, Any]) -> None:
        number = running.job.id
        if "path" in data:
            paths = (*running.job.paths, str(data["path"]))
            running.job = replace(running.job, paths=paths)
            self._emit("drawing.picture", id=number, **data)
            return
        if "picture" not in data:
            return  # the model is still being loaded
        changes = {name: int(data[name]) for name in ("step", "steps")}
        shown = str(data.get("preview", ""))
        kept = shown or running.job.preview
        running.job = replace(running.job, state="drawing", preview=kept, **changes)  # type: ignore[arg-type]
        now = time.monotonic()
        if shown or now - running.told >= DRAWING_EVENT_INTERVAL_S:
            running.told = now
            facts = {name: int(data[name]) for name in ("picture", "pictures")}
            self._emit("drawing.progress", id=number, **changes, **facts, preview=shown)
