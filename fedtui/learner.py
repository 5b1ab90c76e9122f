"""This node's share of the work: train the open round once, draw every committed adapter once.

The learner is told where the room stands (:class:`Goal`) and does whatever is still missing there.
What it finished lies on disk, so a restart continues and repeats nothing; when the room moves on,
it drops what has become useless.
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from fedtui import keeping, shared
from fedtui.errors import ExitCode, FedtuiError, TrainerError
from fedtui.limits import (
    PROGRESS_EVENT_INTERVAL_S,
    TRAIN_RETRIES,
    TRAIN_RETRY_WAIT_S,
    VIEW_LOSSES,
    VIEW_PREVIEWS,
)
from fedtui.pace import Pace
from fedtui.paths import RoomPaths
from fedtui.rooms import Room
from fedtui.task import check_model
from fedtui.training import TrainerProcess
from fedtui.view import LossPoint, PreviewView, to_json
from p2p.durable import publish
from trainer.protocol import Generate, Load, LoraFile, Train, Tuning

log = logging.getLogger("fedtui.learner")

Activity = Literal["idle", "loading", "training", "generating"]
HOPELESS = frozenset({ExitCode.USAGE, ExitCode.TRUST, ExitCode.DEVICE})
"""Trying again cannot help: no pictures, another model, no device."""


@dataclass(frozen=True)
class Goal:
    """The open round, the adapter it starts from, and whether this node trains it."""

    round: int
    adapter: Path
    adapter_sha256: str
    train: bool


@dataclass(frozen=True)
class Trained:
    """What a round's training came to. ``base`` is the hash of the adapter it started from."""

    round: int
    base: str
    sha256: str
    bytes: int
    samples: int
    steps: int
    loss: float
    seconds: float

    @property
    def loss_milli(self) -> int:
        return round(self.loss * 1000)


@dataclass(frozen=True)
class LearnerState:
    """What the learner does now, and the last rounds it has ``contributed`` to and ``drawn``.

    ``blocked`` says why it cannot train.
    """

    activity: Activity = "idle"
    step: int = 0
    steps: int = 0
    loss: float | None = None
    images_per_s: float | None = None
    samples: int | None = None
    contributed: int = 0
    drawn: int = -1
    blocked: str = ""


class Listener(Protocol):
    """Where a learner's results go."""

    async def contribute(self, path: Path, trained: Trained) -> None: ...

    def give_up(self, round_number: int) -> None: ...

    def emit(self, type_: str, /, **fields: Any) -> None: ...


class Learner:
    """Works for one room with one trainer process. ``folder`` empty: it only draws."""

    def __init__(
        self,
        room: Room,
        trainer: TrainerProcess,
        listener: Listener,
        *,
        node: str,
        folder: str,
        cache: Path,
        previews: bool,
    ) -> None:
        self._room = room
        self._trainer = trainer
        self._listener = listener
        self._node = node
        self._folder = folder
        self._cache = cache
        self._previews_wanted = previews
        self._goal: Goal | None = None
        self._moved = asyncio.Event()
        self._model_checked = False
        self._progress_told = float("-inf")
        self._told: set[str] = set()
        self._pace = Pace()
        self._history = History(room.paths)
        self.state = LearnerState(drawn=self._history.last_drawn())

    @property
    def losses(self) -> tuple[LossPoint, ...]:
        return tuple(self._history.losses)

    @property
    def previews(self) -> tuple[PreviewView, ...]:
        return tuple(self._history.previews)

    def adopt(self, drawn: Sequence[PreviewView]) -> None:
        """Adds previews that somebody else drew."""
        for view in drawn:
            self._history.previews.append(view)
            self._listener.emit("preview.ready", **to_json(view))
        self._history.save()

    def seconds_left(self) -> float | None:
        """Of what the trainer does now, at the pace it has kept; None when there is none yet."""
        now = self.state
        if now.activity == "idle":
            return 0.0
        seconds = self._pace.seconds
        return None if seconds is None else seconds * (now.steps - now.step)

    def aim(self, goal: Goal) -> None:
        """The room stands elsewhere now; callable from any callback of the event loop."""
        if goal != self._goal:
            self._goal = goal
            self._moved.set()

    def counted(self, samples: int) -> None:
        """How many pictures the folder seems to hold, until training says how many it used."""
        if self.state.samples is None:
            self._set(samples=samples)

    def use(self, folder: str, cache: Path) -> None:
        """Trains on another folder from now on; a training under way begins anew."""
        self._folder, self._cache = folder, cache
        # What a checkpoint has learned is of the other pictures.
        shutil.rmtree(self._room.paths.checkpoint, ignore_errors=True)
        self._set(samples=None)
        self._moved.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            if self._goal is not None:
                await self._pursue(self._goal)

    async def _pursue(self, goal: Goal) -> None:
        """Works on one goal until it is reached or the room has moved on."""
        self._set(blocked="")
        work = asyncio.create_task(self._advance(goal), name=f"learn-{goal.round}")
        moved = asyncio.create_task(self._moved.wait())
        try:
            await asyncio.wait({work, moved}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done() and self._still_counts(goal):
                await self._finish(work, goal)
        finally:
            moved.cancel()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self._set(activity="idle", step=0, steps=0, images_per_s=None)
        if not work.cancelled() and (error := work.exception()) is not None:
            log.error("round %d", goal.round, exc_info=error)
            self._notice(f"round {goal.round} goes on without this node: {error}", "error")
        if not work.cancelled() and goal.train and self.state.contributed < goal.round:
            self._listener.give_up(goal.round)

    def _still_counts(self, goal: Goal) -> bool:
        """Whether a training for a round that was decided meanwhile is worth its end."""
        carries = self._room.genesis.plan.late == "carry"
        now = self._goal
        if not carries or now is None or not goal.train or self.state.activity != "training":
            return False
        return now.round == goal.round + 1

    async def _finish(self, work: asyncio.Task[None], goal: Goal) -> None:
        """Lets a late training end, unless the room moves on once more."""
        while not work.done() and self._still_counts(goal):
            self._moved.clear()
            moved = asyncio.create_task(self._moved.wait())
            await asyncio.wait({work, moved}, return_when=asyncio.FIRST_COMPLETED)
            moved.cancel()
        self._moved.set()

    async def _advance(self, goal: Goal) -> None:
        await asyncio.to_thread(keeping.forget_trainings, self._room.paths, goal.round)
        for attempt in range(1, TRAIN_RETRIES + 1):
            try:
                await self._draw(goal)
                if goal.train and self._folder:
                    await self._train(goal)
                return
            except TrainerError as error:
                if error.cancelled or error.code in HOPELESS:
                    self._block(error)
                    return
                if attempt == TRAIN_RETRIES:
                    raise
                log.warning("%s", error.render())
                self._notice(f"{error.title}; trying again ({attempt} of {TRAIN_RETRIES})")
                await asyncio.sleep(TRAIN_RETRY_WAIT_S * attempt)
            except FedtuiError as error:
                self._block(error)
                return

    async def _check_model(self) -> None:
        """Loads the model once and compares it with the room's."""
        if self._model_checked:
            return
        self._set(activity="loading")
        loaded = await self._trainer.request(Load(self._room.task.model))
        check_model(self._room.task, str(loaded["sha256"]))
        self._model_checked = True

    async def _draw(self, goal: Goal) -> None:
        """The previews of the adapter the open round starts from; round 0 is the base model."""
        drawn, preview = goal.round - 1, self._room.task.preview
        if not self._previews_wanted or self._history.has_previews(drawn, preview.count):
            self._set(drawn=max(self.state.drawn, drawn))
            return
        await self._check_model()
        self._set(activity="generating")
        self._history.forget_previews(drawn)
        folder = self._room.paths.previews / f"round-{drawn:04d}"

        def picture(data: dict[str, Any]) -> None:
            if "path" not in data:
                self._set(step=int(data.get("step", 0)), steps=int(data.get("steps", 0)))
                return
            view = PreviewView(drawn, str(data["prompt"]), int(data["seed"]), str(data["path"]))
            self._history.previews.append(view)
            self._listener.emit("preview.ready", **to_json(view))

        request = Generate(
            model=self._room.task.model,
            prompts=tuple(preview.prompts),
            seeds=tuple(preview.seeds),
            out=str(folder),
            loras=self._adapters(goal) if drawn else (),
            steps=preview.steps,
            guidance=preview.guidance,
            width=self._room.task.resolution,
            height=self._room.task.resolution,
            note=f"fedtui {self._room.genesis.room_name}, round {drawn}, {goal.adapter_sha256}",
        )
        await self._trainer.request(request, picture)
        self._history.save()
        self._set(drawn=max(self.state.drawn, drawn))

    @property
    def _personal(self) -> str:
        """Where this member's own layers are kept; empty in a room without any."""
        return str(self._room.paths.personal) if self._room.task.adapter.personal else ""

    def _adapters(self, goal: Goal) -> tuple[LoraFile, ...]:
        """The room's adapter, and this member's own layers where it has some."""
        own = Path(self._personal) if self._personal else None
        rest = (LoraFile(str(own)),) if own is not None and own.is_file() else ()
        return (LoraFile(str(goal.adapter)), *rest)

    async def _train(self, goal: Goal) -> None:
        """Trains the open round unless its result lies on disk, and contributes it."""
        if self.state.contributed >= goal.round:
            return
        target = self._room.paths.contribution(goal.round)
        trained = _read_trained(target, goal)
        if trained is None:
            trained = await self._train_now(goal, target)
        self._set(activity="idle", step=trained.steps, steps=trained.steps, loss=trained.loss)
        await self._listener.contribute(target, trained)
        self._set(contributed=goal.round, samples=trained.samples)

    async def _train_now(self, goal: Goal, target: Path) -> Trained:
        await self._check_model()
        target.parent.mkdir(parents=True, exist_ok=True)
        task = self._room.task
        self._set(activity="training", step=0, steps=task.steps, loss=None)
        request = Train(
            model=task.model,
            folder=self._folder,
            out=str(target),
            spec=task.adapter.spec,
            data=task.data.options,
            steps=task.steps,
            initial=str(goal.adapter),
            batch=task.batch,
            learning_rate=task.learning_rate,
            resolution=task.resolution,
            seed=task.seed,
            round=goal.round,
            node=self._node,
            tuning=await self._tuning(),
            mode=self._room.genesis.plan.algorithm,
            proximal=task.proximal,
            personal=self._personal,
            cache=str(self._cache),
            checkpoint=str(self._room.paths.checkpoint / f"round-{goal.round:04d}"),
        )
        result = await self._trainer.request(request, lambda data: self._progress(goal, data))
        self._tell_once(result.get("fallbacks") or ())
        trained = Trained(
            round=goal.round,
            base=goal.adapter_sha256,
            sha256=result["sha256"],
            bytes=result["bytes"],
            samples=result["samples"],
            steps=result["steps"],
            loss=result["loss"],
            seconds=result["seconds"],
        )
        _write_trained(target, trained)
        self._history.save()
        self._listener.emit("train.finished", **asdict(trained))
        return trained

    def _tell_once(self, sentences: Sequence[str]) -> None:
        """What this machine trains without and what is lost of captions; not in every round."""
        for sentence in sentences:
            if sentence not in self._told:
                self._told.add(sentence)
                self._notice(sentence, "info")

    async def _tuning(self) -> Tuning:
        """With the room's shared pictures, where this member has them and they are the agreed."""
        agreed = self._room.task.shared
        try:
            folder = shared.chosen(self._room.paths) if agreed else ""
            if agreed is None or not folder:
                return Tuning()
            await shared.check(self._trainer, Path(folder), agreed)
        except FedtuiError as error:
            self._notice(f"training without the room's shared pictures: {error.title}")
            return Tuning()
        return Tuning(prior=folder, prior_weight=agreed.weight)

    def _progress(self, goal: Goal, data: dict[str, Any]) -> None:
        stage = data.get("stage", "train")
        if stage == "note":
            self._tell_once([data["text"]])
        if stage != "train":
            return
        step, loss = int(data["step"]), data.get("loss")
        rate = data.get("images_per_s")
        self._set(step=step, steps=int(data["steps"]), loss=loss, images_per_s=rate)
        if isinstance(loss, float):
            self._history.losses.append(LossPoint(goal.round, step, loss))
        now = time.monotonic()
        if now - self._progress_told >= PROGRESS_EVENT_INTERVAL_S or step == data["steps"]:
            self._progress_told = now
            self._listener.emit(
                "train.progress",
                round=goal.round,
                step=step,
                steps=int(data["steps"]),
                loss=loss,
                images_per_s=rate,
            )

    def _block(self, error: FedtuiError) -> None:
        if isinstance(error, TrainerError) and error.cancelled:
            return
        self._set(blocked=f"{error.title}: {error.cause}" if error.cause else error.title)
        log.error("%s", error.render())
        self._notice(f"this node cannot train: {error.title}", "error")

    def _notice(self, text: str, level: str = "warning") -> None:
        self._listener.emit("notice", text=text, level=level)

    def _set(self, **changes: Any) -> None:
        if changes.get("activity", self.state.activity) != self.state.activity:
            self._pace.told(0)
        self.state = replace(self.state, **changes)
        self._pace.told(self.state.step)


class History:
    """Loss points and previews of all rounds, on disk so that a restarted screen shows them."""

    def __init__(self, paths: RoomPaths) -> None:
        self._path = paths.history
        self.losses: deque[LossPoint] = deque(maxlen=VIEW_LOSSES)
        self.previews: deque[PreviewView] = deque(maxlen=VIEW_PREVIEWS)
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            self.losses.extend(LossPoint(**point) for point in kept["losses"])
            self.previews.extend(PreviewView(**preview) for preview in kept["previews"])
        except (OSError, ValueError, TypeError, KeyError):
            log.debug("no history at %s", self._path)

    def save(self) -> None:
        data = {
            "losses": [asdict(point) for point in self.losses],
            "previews": [asdict(preview) for preview in self.previews],
        }
        publish(self._path, json.dumps(data).encode())

    def has_previews(self, round_number: int, count: int) -> bool:
        """Whether this machine has drawn as many itself."""
        own = [p for p in self.previews if p.round == round_number and not p.author]
        return sum(Path(p.path).is_file() for p in own) >= count

    def forget_previews(self, round_number: int) -> None:
        kept = [preview for preview in self.previews if preview.round != round_number]
        self.previews.clear()
        self.previews.extend(kept)

    def last_drawn(self) -> int:
        return max((preview.round for preview in self.previews), default=-1)


def _sidecar(target: Path) -> Path:
    return target.with_suffix(".json")


def _write_trained(target: Path, trained: Trained) -> None:
    publish(_sidecar(target), json.dumps(asdict(trained)).encode())


def _read_trained(target: Path, goal: Goal) -> Trained | None:
    """The finished training of this very round from this very adapter, if its bytes are here."""
    try:
        trained = Trained(**json.loads(_sidecar(target).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    same = trained.round == goal.round and trained.base == goal.adapter_sha256
    return trained if same and target.is_file() else None
