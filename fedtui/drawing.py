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
several adapters and rows such as ``[1, 0]`` and ``[0, 1]``. A grid of anything else is ``grid``:
the axes of :mod:`fedtui.grid`, the first one across; ``generations`` tells its labels.

How long it may take is told from what pictures of the same size took before on this machine, and
from the pace of the work it waits behind: ``wait_s`` and ``draw_s``, None for what nobody can say.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from fedtui import grid
from fedtui.control.operations import Operations, Result
from fedtui.errors import FedtuiError, TrainerError, UsageError
from fedtui.limits import (
    DRAWING_EVENT_INTERVAL_S,
    DRAWING_JOBS_KEPT,
    DRAWING_JOBS_WAITING,
    DRAWING_PICTURES,
)
from fedtui.pace import Pace
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
    """What to draw: every prompt with every seed, for each row of ``weights`` if there are any.

    With axes of a ``grid`` one prompt and one seed are what they start from."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    negative: str = ""
    adapters: tuple[Adapter, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()
    grid: tuple[str, ...] = ()
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
    """A job as ``generations`` lists it; ``wait_s`` and ``draw_s`` are what is left, in seconds."""

    id: int
    state: State
    prompt: str
    pictures: int
    step: int = 0
    steps: int = 0
    preview: str = ""
    paths: tuple[str, ...] = ()
    error: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    wait_s: float | None = None
    draw_s: float | None = None


@dataclass
class _Running:
    job: Job
    size: tuple[int, int]
    pace: Pace = field(default_factory=Pace)
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
        busy: Callable[[], float | None] = lambda: 0.0,
    ) -> None:
        """``busy`` says for how many seconds the trainer is busy with other work; None: unknown."""
        self._trainer = trainer
        self._model = model
        self._folder = folder
        self._rounds = rounds
        self._emit = emit
        self._busy = busy
        self._paces: dict[tuple[int, int], float] = {}
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
        """Result: ``{"id", "pictures", "waiting", "wait_s", "draw_s"}``.

        ``waiting`` jobs are ahead of it.

        Raises :class:`UsageError` for what cannot be drawn.
        """
        open_jobs = sum(running.job.state in ("waiting", "drawing") for running in self._open())
        if open_jobs >= DRAWING_JOBS_WAITING:
            raise FedtuiError(
                f"{open_jobs} jobs wait already", remedy="wait for one of them, or cancel it"
            )
        number = next(self._numbers)
        place = self._folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{number:03d}"
        request, columns, rows = self._request(asked, place)
        steps = sum(shot.steps for shot in request.shots)
        job = Job(
            number, "waiting", asked.prompts[0], len(request.shots), steps=steps,
            columns=columns, rows=rows,
        )  # fmt: skip
        running = _Running(job, (asked.width, asked.height))
        self._jobs[number] = running
        self._forget()
        running.task = self._tasks.spawn(self._run(running, request), f"job {number}")
        told = self._estimated()[number]
        return {
            "id": number,
            "pictures": told.pictures,
            "waiting": open_jobs,
            "wait_s": told.wait_s,
            "draw_s": told.draw_s,
        }

    async def cancel(self, asked: CancelGeneration) -> Result:
        """Result: ``{"cancelled"}``, false when it had ended before."""
        running = self._jobs.get(asked.id)
        if running is None:
            raise UsageError(f"there is no job {asked.id}", remedy="`generations` lists them")
        if running.task is None or running.job.state not in ("waiting", "drawing"):
            return {"cancelled": False}
        running.task.cancel()
        return {"cancelled": True}

    async def list(self, asked: Generations) -> Result:
        """Result: ``{"jobs": [{"id", "state", "prompt", "pictures", "step", "steps", …}]}``."""
        del asked
        return {"jobs": [asdict(job) for job in self._estimated().values()]}

    def _estimated(self) -> dict[int, Job]:
        """The jobs with what is left of those that have not ended, in the order of their turns."""
        found, ahead = {}, self._busy()
        for number, running in self._jobs.items():
            job = running.job
            if job.state in ("waiting", "drawing"):
                pace = self._paces.get(running.size)
                left = None if pace is None else pace * (job.steps - job.step)
                waits = ahead if job.state == "waiting" else 0.0
                job = replace(job, wait_s=waits, draw_s=left)
                ahead = None if left is None or waits is None else waits + left
            found[number] = job
        return found

    def _open(self) -> tuple[_Running, ...]:
        return tuple(self._jobs.values())

    def _forget(self) -> None:
        ended = [n for n, r in self._jobs.items() if r.task is not None and r.task.done()]
        for number in ended[: max(0, len(self._jobs) - DRAWING_JOBS_KEPT)]:
            del self._jobs[number]

    def _request(
        self, asked: Generate, place: Path
    ) -> tuple[GenerateRequest, tuple[str, ...], tuple[str, ...]]:
        """The request and, for a grid, the labels of its columns and rows."""
        loras = tuple(self._lora(adapter) for adapter in asked.adapters)
        columns: tuple[str, ...] = ()
        rows: tuple[str, ...] = ()
        if asked.grid:
            plan, loras = self._grid(asked, loras)
            shots, columns, rows = plan.shots, plan.columns, plan.rows
        else:
            shots = _product(asked)
        if not 1 <= len(shots) <= DRAWING_PICTURES:
            raise UsageError(
                f"{len(shots)} pictures were asked for",
                f"1 to {DRAWING_PICTURES} are possible at once",
            )
        request = GenerateRequest(
            model=self._model,
            prompts=(),
            seeds=(),
            out=str(place),
            loras=loras,
            width=asked.width,
            height=asked.height,
            shots=shots,
            batch=asked.batch,
            preview=str(place / "preview.png") if asked.preview else "",
            metadata=asked.metadata,
        )
        return request, columns, rows

    def _grid(
        self, asked: Generate, loras: tuple[LoraFile, ...]
    ) -> tuple[grid.Grid, tuple[LoraFile, ...]]:
        """The grid, and the adapters with those of the rounds that it compares."""
        if len(asked.prompts) != 1 or len(asked.seeds) != 1 or asked.weights:
            raise UsageError(
                "a grid starts from one prompt and one seed",
                f"{len(asked.prompts)} prompts and {len(asked.seeds)} seeds were asked for",
                "make prompt or seed an axis of it",
            )
        axes = [grid.parsed(text, len(asked.adapters)) for text in asked.grid]
        wanted = grid.asked_rounds(axes)
        every = (*loras, *(self._lora(Adapter(round=number, weight=0.0)) for number in wanted))
        base = Shot(
            asked.prompts[0],
            asked.seeds[0],
            asked.negative,
            tuple(lora.weight for lora in every),
            asked.steps,
            asked.cfg,
            asked.sampler,
        )
        places = {number: len(loras) + place for place, number in enumerate(wanted)}
        return grid.laid_out(base, axes, places), every

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
        running.pace.told(changes["step"])
        if running.pace.seconds is not None:
            self._paces[running.size] = running.pace.seconds
        now = time.monotonic()
        if shown or now - running.told >= DRAWING_EVENT_INTERVAL_S:
            running.told = now
            facts = {name: int(data[name]) for name in ("picture", "pictures")}
            self._emit("drawing.progress", id=number, **changes, **facts, preview=shown)


def _product(asked: Generate) -> tuple[Shot, ...]:
    """Every prompt with every seed, for each row of weights. Raises :class:`UsageError`."""
    for row in asked.weights:
        if len(row) != len(asked.adapters):
            raise UsageError(
                "a row of weights does not fit the adapters",
                f"{len(row)} weights for {len(asked.adapters)} adapters",
            )
    # Counted before they are made.
    if len(asked.prompts) * len(asked.seeds) * max(1, len(asked.weights)) > DRAWING_PICTURES:
        raise UsageError(
            "too many pictures were asked for", f"1 to {DRAWING_PICTURES} are possible at once"
        )
    return tuple(
        Shot(prompt, seed, asked.negative, tuple(row), asked.steps, asked.cfg, asked.sampler)
        for row in asked.weights or ((),)
        for prompt in asked.prompts
        for seed in asked.seeds
    )
