"""One participant: a peer of its room, a trainer, and the view and the events of both."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fedtui import __version__, keeping, rooms, shared, viewing
from fedtui.arriving import Arriving
from fedtui.control.operations import Operations
from fedtui.downloads import Downloads
from fedtui.drawing import Drawing
from fedtui.errors import FedtuiError, TrustError
from fedtui.events import QUIET, Event, EventStream, sentence, view_of
from fedtui.exhibition import SHARES, Exhibition
from fedtui.gallery.opening import GalleryPage
from fedtui.governance import Governance
from fedtui.keys import identity_in
from fedtui.learner import Goal, Learner, Trained
from fedtui.leaving_out import LeavingOut
from fedtui.library import Library
from fedtui.limits import (
    STATE_RETRY_S,
    STATUS_INTERVAL_S,
    VIEW_COMMITS,
    VIEW_EVENTS,
    VIEW_INTERVAL_S,
)
from fedtui.material import Material
from fedtui.moving import Moving
from fedtui.paths import Profile, sha256_of
from fedtui.reaching import Reaching, checked_place
from fedtui.reception import Reception
from fedtui.rooms import Room, read_addresses, read_operations
from fedtui.rule_choice import written_options
from fedtui.settings import Settings
from fedtui.shelf import Shelf
from fedtui.showing import Showing
from fedtui.statistics import RoundStatistics
from fedtui.takeaway import Takeaway
from fedtui.times import RoundTimesBook
from fedtui.traffic import Traffic
from fedtui.training import ProcessState, TrainerProcess
from fedtui.trust import TrustBook
from fedtui.view import EvidenceView, NodeView, to_json
from fedtui.workload import AdapterWorkload
from p2p.errors import P2PError
from p2p.errors import TrustError as P2PTrustError
from p2p.limits import GIB, KIB
from p2p.pacing import Bandwidth
from p2p.peer import Peer
from p2p.room import Member
from p2p.status import display_name
from p2p.tasks import TaskOwner
from trainer.protocol import InitAdapter

log = logging.getLogger("fedtui.node")

STEERING = frozenset(
    {"round.started", "round.committed", "adapter.applied", "rounds.allowed", "member.changed"}
)
"""Events after which there may be something else to train or to draw."""
LEVELS = {"warning": logging.WARNING, "error": logging.ERROR}


class Node:
    """A node of one profile in one room, from :meth:`start` to :meth:`stop`.

    ``failure`` says that it stops because it must not go on.
    """

    def __init__(self, profile: Profile, settings: Settings, room: Room) -> None:
        self.profile = profile
        self._settings = settings
        self._room = room
        self._identity = identity_in(profile, room.paths)
        self._data = settings.data or rooms.chosen_folder(profile)
        self.operations = Operations()
        self._stream = EventStream(self._identity.peer_id, profile.events)
        self._trainer = TrainerProcess(
            log=profile.trainer_log,
            threads=settings.threads,
            device=settings.device,
            gpu_percent=settings.gpu_percent,
            on_state=self._on_trainer,
        )
        self._arithmetic = TrainerProcess("arithmetic", log=profile.arithmetic_log)
        self._statistics = RoundStatistics(
            room.paths.statistics, room.genesis.plan.algorithm, room.task.rule.name
        )
        workload = AdapterWorkload(
            self._arithmetic,
            room.paths.work,
            max_blob=room.genesis.policy.max_blob,
            on_applied=self._keep_adapter,
            on_combined=self._statistics.computed,
        )
        for seed in settings.seeds:
            checked_place(seed)
        self._peer = Peer(
            room.paths.root,
            self._identity,
            room.envelope,
            workload,
            host=settings.host,
            port=settings.port,
            interfaces=settings.interfaces or None,
            operations=read_operations(room.joining),
            addresses=read_addresses(room.joining),
            seeds=settings.seeds,
            bandwidth=Bandwidth(settings.upload_limit * KIB, settings.download_limit * KIB),
            quota=settings.disk_limit * GIB,
            kept_rounds=settings.keep_rounds,
            emit=self.emit,
        )
        self._trust = TrustBook(profile.trust)
        self._reception = Reception(
            self._peer, self._identity, room, settings, self._trust, self.emit
        )
        self._reception.offer(self.operations)
        self._governance = Governance(self._peer, room, self._trust)
        self._governance.offer(self.operations)
        Reaching(self._peer).offer(self.operations)
        self._traffic = Traffic()
        self._times = RoundTimesBook(room.paths.times)
        self._times.offer(self.operations)
        self._moving = Moving(
            profile, room, self._identity, self._peer, self._governance, stop=self.request_stop
        )
        self._moving.offer(self.operations)
        self._arriving = Arriving(
            profile, settings, room, name=lambda: self._name, switch=self._moving.begin_anew
        )
        self._arriving.offer(self.operations)
        self._learner = Learner(
            room,
            self._trainer,
            self,
            node=self._identity.peer_id,
            folder=self._data,
            cache=profile.cache(self._data),
            previews=settings.previews,
        )
        Showing(
            profile,
            room.paths,
            self._arithmetic,
            previews=lambda: self._learner.previews,
            events=self._stream.since,
            name_of=self._name_of,
        ).offer(self.operations)
        self._exhibition = Exhibition(
            self._peer,
            room.task,
            room.paths,
            self._learner,
            shares=settings.share_previews,
            draws=settings.previews,
            emit=self.emit,
        )
        self._drawing = Drawing(
            self._trainer,
            model=room.task.model,
            folder=profile.pictures,
            rounds=lambda: rooms.committed_adapters(room.paths),
            emit=self.emit,
            busy=self._learner.seconds_left,
        )
        self._drawing.offer(self.operations)
        LeavingOut(
            room,
            self._arithmetic,
            self._drawing,
            me=self._identity.peer_id,
            name_of=self._name_of,
            previews=lambda: self._learner.previews,
        ).offer(self.operations)
        self._gallery = GalleryPage(settings, view=self.view, emit=self.emit)
        self._gallery.offer(self.operations)
        Takeaway(
            room,
            self._identity,
            self._arithmetic,
            view=self.view,
            commits=lambda: [
                viewing.commit_view(commit, self._statistics.of(commit.round))
                for commit in self._peer.snapshot().commits
            ],
            events=self._stream.since,
            name_of=self._name_of,
        ).offer(self.operations)
        Library(room, self._arithmetic, profile.shelf).offer(self.operations)
        Shelf(room, self._arithmetic, profile.shelf).offer(self.operations)
        self._downloads = Downloads(profile.downloads_log, self.emit)
        self._downloads.offer(self.operations)
        self._material = Material(
            profile,
            self._arithmetic,
            fixed=bool(settings.data),
            resolution=room.task.resolution,
            model=room.task.model,
            options=room.task.data.options,
            used=lambda: self._data,
            use=self._use_folder,
            excluded=self._picture_excluded,
        )
        self._material.offer(self.operations)
        self.failure: FedtuiError | None = None
        self._tasks = TaskOwner("node")
        self._steered = asyncio.Event()
        self._stop_asked = asyncio.Event()
        self._started_at = self._trainer_since = time.monotonic()
        self._dataset_note = ""
        self._adapter: str | None = None
        self._view: NodeView | None = None
        self._view_at = 0.0

    # --- life ------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Joins the room. Raises :class:`FedtuiError` or an error of the peer when it cannot."""
        await self._make_initial_adapter()
        try:
            await self._peer.start()
        except P2PTrustError as error:
            raise TrustError(error.title, error.cause, error.remedy) from error
        if self._room.paths.initial.is_file():
            await self._peer.provide(self._room.paths.initial)
        self._check_vouched_head()
        await self._reception.start()
        self._tasks.spawn(self._learner.run(), "learner")
        self._tasks.spawn(self._steer(), "steering")
        self._tasks.spawn(self._tell_status(), "status")
        self._tasks.spawn(self._look_at_data(), "data")
        self._tasks.spawn(self._exhibition.run(), "exhibition")
        self._steered.set()

    def announce_ready(self) -> None:
        """Says that the node answers."""
        self.emit("node.ready", name=self._name, port=self._peer.port, pid=os.getpid())
        if (fork := self._room.genesis.continues) is not None:
            self.emit(
                "notice",
                text=f"this room is a fork: an admin let it go on after round {fork.round} of the"
                f" room {fork.room[:8]}, without those who were away",
                level="warning",
            )

    @property
    def switching(self) -> bool:
        """Whether it stops to start anew: for another room, or with another key."""
        return self._moving.switching

    def request_stop(self) -> None:
        self._stop_asked.set()

    async def wait_stopped(self) -> None:
        """Returns when somebody asked the node to stop."""
        await self._stop_asked.wait()

    async def stop(self) -> None:
        """Leaves the room and ends both trainers. Everything that matters is on disk already."""
        await self._reception.stop()
        await self._arriving.stop()
        await self._moving.stop()
        await self._gallery.stop()
        await self._downloads.stop()
        ending = asyncio.create_task(self._tasks.cancel())
        # The trainer first: a cancelled training would wait for its next step.
        await asyncio.gather(self._trainer.stop(), self._peer.stop())
        await self._arithmetic.stop()
        await ending
        await self._drawing.stop()
        self._stream.close()

    # --- what the control API asks ---------------------------------------------------------------
    def view(self) -> NodeView:
        """Everything to show, made at most four times a second."""
        now = time.monotonic()
        if self._view is None or now - self._view_at >= VIEW_INTERVAL_S:
            self._view, self._view_at = self._make_view(now), now
        return self._view

    def past_events(self, since: int) -> list[Event]:
        return self._stream.since(since)

    def follow_events(self, since: int) -> AsyncIterator[Event]:
        return self._stream.follow(since)

    # --- what the peer and the learner say -------------------------------------------------------
    def emit(self, type_: str, /, **fields: Any) -> None:
        """Adds an event to the stream and to the log."""
        if type_ == "room.joined":
            fields["name"] = self._room.name
        if type_ == "change.waiting":
            fields |= self._governance.question(fields["change"])
        event = self._stream.emit(type_, **fields)
        text, level = sentence(event, self._name_of)
        severity = logging.DEBUG if type_ in QUIET else LEVELS.get(level, logging.INFO)
        log.log(severity, "%s", text)
        if type_ in STEERING:
            self._steered.set()
        match type_:
            case "member.added" | "member.changed":
                self._reception.on_added(fields["peer"], fields["name"])
            case "member.rekeyed":
                self._reception.on_rekeyed(fields["peer"], fields["before"], fields["name"])
            case "key.changed":
                self._take_new_key(fields["peer"])
            case "member.removed":
                self._on_removed(fields["peer"], fields["name"])
            case "round.committed":
                self._check_vouched_head()
            case "adapter.applied":
                self._on_applied(fields["round"], fields["sha256"])

    def _on_applied(self, round_number: int, sha256: str) -> None:
        found = self._statistics.committed(round_number, sha256)
        if found is not None:
            self.emit("round.statistics", round=round_number, **to_json(found))

    def _on_removed(self, peer: str, name: str) -> None:
        self._reception.on_removed(peer, name)
        if peer == self._identity.peer_id:
            self._on_own_removal()

    def _take_new_key(self, successor: str) -> None:
        try:
            self._moving.take_new_key(successor)
        except FedtuiError as error:
            self.failure = error

    def _on_own_removal(self) -> None:
        """Says so, with the proof; training for the room makes no sense any more."""
        removal = self._governance.removal()
        if removal is None:
            return
        self.emit(
            "room.removed",
            text=removal.text,
            signed=list(removal.signed),
            reason=removal.reason,
            operation=removal.operation,
            left=removal.left,
        )
        self._steered.set()

    def _check_vouched_head(self) -> None:
        commits = {c.round: c.commit_hash for c in self._peer.snapshot().commits}
        self.failure = rooms.contradiction(self._room.joining, commits)
        if self.failure is not None:
            self.request_stop()

    async def contribute(self, path: Path, trained: Trained) -> None:
        """Hands in what the learner trained. Raises :class:`FedtuiError` when the disk refuses."""
        try:
            await self._peer.contribute(
                path,
                round_number=trained.round,
                samples=trained.samples,
                steps=trained.steps,
                loss_milli=trained.loss_milli,
            )
        except P2PError as error:
            raise FedtuiError(error.title, error.cause, error.remedy) from error
        if trained.round < self._peer.round:
            self._steered.set()  # It may count in the open round, which then needs no other.

    def give_up(self, round_number: int) -> None:
        """Spares the others the wait for a contribution that will not come."""
        self._peer.leave_round(round_number)

    # --- steering --------------------------------------------------------------------------------
    async def _steer(self) -> None:
        """Tells the learner where the room stands, whenever that may have changed."""
        told = ""
        while True:
            await self._steered.wait()
            self._steered.clear()
            try:
                self._learner.aim(await self._goal())
            except P2PError as error:
                log.info("the state to train from: %s", error)
                await asyncio.sleep(STATE_RETRY_S)
                self._steered.set()
            except OSError as error:  # The disk is full, say, which may pass.
                text = f"the adapter to train from cannot be kept: {error}"
                if text != told:
                    told = text
                    self.emit("notice", text=text, level="error")
                await asyncio.sleep(STATE_RETRY_S)
                self._steered.set()

    async def _goal(self) -> Goal:
        """The open round and the adapter it starts from."""
        number, state = self._peer.round, self._peer.state
        blob = await self._peer.previous()
        if number != self._peer.round:
            self._steered.set()
        adapter = await asyncio.to_thread(self._kept, blob, state.sha256, number - 1)
        self._adapter = str(adapter) if number > 1 else None
        train = self._peer.is_asked and not self._peer.done and not self._peer.contributed(number)
        return Goal(number, adapter, state.sha256, train)

    def _kept(self, blob: Path, sha256: str, round_number: int) -> Path:
        """A committed adapter under a name that says what it is, in the place of an old one."""
        target = keeping.keep_adapter(self._room.paths, blob, sha256, round_number)
        keeping.forget_adapters(self._room.paths, self._settings.keep_rounds)
        return target

    async def _keep_adapter(self, blob: Path, round_number: int) -> None:
        """The workload's ``apply``: a failing disk must not stop the rounds."""
        try:
            sha256 = await asyncio.to_thread(sha256_of, blob)
            target = await asyncio.to_thread(self._kept, blob, sha256, round_number)
        except OSError as error:
            self.emit(
                "notice", text=f"the adapter of round {round_number} is not kept: {error}",
                level="error",
            )  # fmt: skip
            return
        self._adapter = str(target)

    async def _make_initial_adapter(self) -> None:
        """Derives the room's first adapter from the plan's seed and compares it with the genesis.

        Everybody can, so a founder cannot slip in another one unnoticed. Where the arithmetic of
        this machine differs, the adapter comes from the others, and a notice says so.
        """
        paths, task, genesis = self._room.paths, self._room.task, self._room.genesis
        if paths.initial.is_file() and sha256_of(paths.initial) == genesis.initial_blob:
            return
        if genesis.continues is not None:
            return  # It starts from a result that no seed gives: the members have it.
        out = paths.work / "initial.safetensors"
        try:
            made = await self._arithmetic.request(
                InitAdapter(
                    task.model, task.adapter.spec, task.seed, str(out), genesis.plan.algorithm
                )
            )
        except FedtuiError as error:
            log.error("%s", error.render())
            self.emit("notice", text=f"the first adapter: {error.title}", level="warning")
            return
        if made["sha256"] == genesis.initial_blob:
            out.replace(paths.initial)
        else:
            self.emit(
                "notice", text="the room's first adapter is not what its seed gives here",
                level="warning",
            )  # fmt: skip

    # --- telling ---------------------------------------------------------------------------------
    async def _tell_status(self) -> None:
        while True:
            status = viewing.status_of(self._own_work(), self._contributed())
            self._peer.set_status({**status, SHARES: self._exhibition.shares})
            snapshot = self._peer.snapshot()
            self._times.watch(snapshot, status)
            self._traffic.watch(snapshot.peers, time.monotonic())
            await asyncio.sleep(STATUS_INTERVAL_S)

    async def _use_folder(self, folder: str) -> None:
        """Trains on another folder from now on."""
        self._train_on(folder)
        # Its name alone: events are packed to take home, and the path tells who works here.
        name = Path(folder).name
        self.emit("notice", text=f"training on the folder {name} from now on", level="ok")

    async def _picture_excluded(self, excluded: bool, count: int) -> None:
        """Trains on without a picture, or with it again. Events are shown and taken along: what
        the file is called is in none of them."""
        training = self._learner.state.activity == "training"
        self._train_on(self._data)
        self.emit("picture.excluded", excluded=excluded, count=count, anew=training)

    def _train_on(self, folder: str) -> None:
        self._data, self._dataset_note = folder, "looking at the pictures"
        self._learner.use(folder, self.profile.cache(folder))
        self._tasks.spawn(self._look_at_data(), "data")

    async def _look_at_data(self) -> None:
        if not self._data:
            self._dataset_note = "no folder of pictures is set: this node only watches"
            return
        try:
            report = await self._material.look(Path(self._data))
        except FedtuiError as error:
            self._dataset_note = error.title
            return
        self._learner.counted(int(report["usable"]))
        problems = len(report.get("problems") or ())
        self._dataset_note = f"{report['usable']} pictures"
        if problems:
            self._dataset_note += f", {problems} problems"

    def _make_view(self, now: float) -> NodeView:
        snapshot, learner = self._peer.snapshot(), self._learner.state
        removal = self._governance.removal()
        own = viewing.status_of(self._own_work(), self._contributed())
        shown = [event for event in self._stream.since() if event["type"] not in QUIET]
        return NodeView(
            id=snapshot.id,
            name=self._name,
            version=__version__,
            role=self._me.role if self._me else "removed",
            uptime_s=now - self._started_at,
            room_id=snapshot.room_id,
            room_name=self._room.name,
            model=self._room.task.model,
            algorithm=self._room.genesis.plan.algorithm,
            rule=self._room.task.rule.name,
            rule_options=written_options(self._room.genesis.plan.algorithm, self._room.task),
            shared=shared.told(self._room.task, self._room.paths),
            dataset=self._data,
            dataset_note=self._dataset_note,
            head=snapshot.head,
            adapter=self._adapter,
            round=viewing.round_view(snapshot, learner),
            trainer=viewing.trainer_view(self._trainer.state, learner, now - self._trainer_since),
            peers=tuple(viewing.peer_view(peer, snapshot, own) for peer in snapshot.peers),
            losses=self._learner.losses,
            previews=self._learner.previews,
            commits=tuple(
                viewing.commit_view(commit, self._statistics.of(commit.round))
                for commit in snapshot.commits[-VIEW_COMMITS:]
            ),
            events=tuple(view_of(event, self._name_of) for event in shown[-VIEW_EVENTS:]),
            requests=self._reception.pending(),
            changes=self._governance.waiting(),
            removal=removal,
            evidence=tuple(
                EvidenceView(each.round, each.accused, str(each.offence))
                for each in snapshot.evidence
            ),
            discovery=snapshot.discovery,
            notice=removal.text if removal else learner.blocked,
            times=self._times.watch(snapshot, own),
            traffic=self._traffic.view,
        )

    def _own_work(self) -> viewing.OwnWork:
        trains = self._trains and bool(self._data) and not self._learner.state.blocked
        return viewing.OwnWork(self._learner.state, self._trainer.state, trains, self._peer.done)

    def _contributed(self) -> bool:
        return self._peer.contributed(self._peer.round)

    def _on_trainer(self, state: ProcessState) -> None:
        self._trainer_since = time.monotonic()
        log.info("trainer %s %s", state.kind, state.detail)

    @property
    def _me(self) -> Member | None:
        """This machine's record; None once it was removed from the room."""
        return self._peer.members.get(self._identity.peer_id)

    @property
    def _trains(self) -> bool:
        return self._me is not None and self._me.trains

    @property
    def _name(self) -> str:
        return self._settings.name or (self._me.name if self._me else "")

    def _name_of(self, peer: str) -> str:
        member = self._peer.members.get(self._peer.now(peer))
        return display_name(member) if member else peer[:8]
