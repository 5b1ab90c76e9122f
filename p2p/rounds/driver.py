"""Carries out what the round state machine asks for: disk, network, timers and the workload.

Events wait in one bounded queue and are fed to the core by one task; the effects of each are done
in order, a Persist awaited before what follows it. What takes longer (fetching, checking,
combining) runs beside it and comes back as an event.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from p2p import clock
from p2p.blobs.chunks import BlobRef
from p2p.blobs.store import BlobStore
from p2p.blobs.transfer import BlobClient
from p2p.envelope import Envelope, open_envelope
from p2p.errors import (
    BlobUnavailable,
    LimitError,
    Overloaded,
    P2PError,
    ProtocolError,
    StorageError,
)
from p2p.events import Emit
from p2p.limits import MAX_LARGE_MESSAGE_BYTES, MAX_MESSAGE_BYTES, STALL_SECONDS
from p2p.membership import Membership
from p2p.messages import (
    QC,
    Commit,
    Contribution,
    NewAttempt,
    Prepared,
    Proposal,
    Result,
    parse,
    parse_result,
)
from p2p.operations import Operation
from p2p.pacing import TokenBucket
from p2p.rounds.applying import Applying
from p2p.rounds.catching_up import CatchingUp, LedgerClient
from p2p.rounds.checking import Checking
from p2p.rounds.computing import Computing
from p2p.rounds.core import RoundCore
from p2p.rounds.effects import (
    UNAVAILABLE,
    Accused,
    Broadcast,
    Combine,
    CommitRound,
    Contributed,
    Effect,
    Elected,
    FetchBlob,
    FetchCommits,
    KeepResult,
    MembersChanged,
    OperationHeard,
    Persist,
    Precompute,
    Record,
    Rejected,
    RoundOpened,
    Send,
    SetTimer,
    TimerName,
    Verify,
)
from p2p.rounds.forgetting import Forgetting
from p2p.rounds.ledger import Ledger
from p2p.rounds.limits import (
    KEPT_INPUT_ROUNDS,
    MAX_COMPUTING_PATIENCE,
    MAX_QUEUED_EVENTS,
    MAX_QUEUED_EVENTS_PER_PEER,
    REFUSED_BURST,
    REFUSED_RATE,
)
from p2p.rounds.state import OwnContribution
from p2p.tasks import TaskOwner
from p2p.workload import Verdict, Workload

_log = logging.getLogger(__name__)

LARGE_KINDS: Final = frozenset({Proposal.kind, Prepared.kind, Commit.kind})
"""Only these messages may exceed ``MAX_MESSAGE_BYTES``."""

Event = Callable[[float], list[Effect]]


class RoundClient(BlobClient, LedgerClient, Protocol):
    """What rounds need of :class:`p2p.client.PeerClient`."""

    def send(self, peer_id: str, data: bytes, *, kind: str | None = None) -> None:
        """Queues an envelope; a queued one of the same kind is replaced."""
        ...


@dataclass
class Progress:
    """What this node saw of its rounds since it started, beside the ledger; for showing only."""

    recomputed: dict[int, bool] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    note: str = ""
    failure: P2PError | None = None


@dataclass(frozen=True, eq=False)
class _Queued:
    """An event in the queue, of whom it came, and who waits until it has been carried out."""

    event: Event
    sender: str | None
    done: asyncio.Future[None] | None


@dataclass(eq=False)
class _Timer:
    name: TimerName
    after: float
    set_at: float
    armed_at: float = field(init=False)
    computing: bool = False
    handle: asyncio.TimerHandle = field(init=False)

    def is_overslept(self, now: float) -> bool:
        """Whether this machine slept, or was starved, while the timer ran."""
        return now - self.armed_at > self.after + STALL_SECONDS


class RoundDriver:
    """Runs one room's rounds on this node.

    ``reachable`` lists the members worth asking for bytes, best first. ``moved`` is called
    whenever round, head or attempt may have changed, ``members_changed`` when there are others to
    connect to, ``misbehaved`` with a member that sent a ledger nobody honest has. The inputs of
    the last ``kept_rounds`` rounds stay on disk.
    """

    def __init__(
        self,
        core: RoundCore,
        ledger: Ledger,
        blobs: BlobStore,
        client: RoundClient,
        workload: Workload,
        *,
        emit: Emit,
        reachable: Callable[[], Iterable[str]],
        moved: Callable[[], None],
        members_changed: Callable[[Membership], None],
        misbehaved: Callable[[str], None],
        kept_rounds: int = KEPT_INPUT_ROUNDS,
    ) -> None:
        self.core = core
        self.progress = Progress()
        self._ledger = ledger
        self._blobs = blobs
        self._client = client
        self._emit = emit
        self._reachable = reachable
        self._moved = moved
        self._members_changed = members_changed
        self._events: asyncio.Queue[_Queued] = asyncio.Queue()
        self._waiting: Counter[str] = Counter()
        self._refusals: dict[str, TokenBucket] = {}
        self._timers: dict[TimerName, _Timer] = {}
        self._tasks = TaskOwner("rounds")
        plan = core.genesis.plan
        self._checking = Checking(
            workload,
            plan,
            self._tasks,
            emit=emit,
            fetch=self._contribution,
            checked=self._on_checked,
        )
        self._computing = Computing(blobs, workload, plan, self._tasks, self.blob)
        self._applying = Applying(workload, ledger, emit=emit, fetch=self.blob, note=self._note)
        self._forgetting = Forgetting(blobs, core.me, self._needed_blobs, kept_rounds)
        self._catching_up = CatchingUp(
            client,
            self._tasks,
            round_now=lambda: core.round,
            take_in=self._take_in,
            ended=self._on_ledger_end,
            misbehaved=misbehaved,
        )

    async def start(self) -> None:
        """Goes on where the journal ends."""
        applied = await asyncio.to_thread(self._ledger.applied)
        for record in self.core.journal.commits:
            result, qc = read_commit(record.payload)
            self._forgetting.note(result)
            if record.round > applied:
                self._applying.put(result, qc)
        self._post(self.core.start)
        self._running = self._tasks.spawn(self._run(), "events")
        self._tasks.spawn(self._applying.run(), "results")
        self._tasks.spawn(self._forgetting.run(), "retention")

    async def stop(self) -> None:
        """Ends everything; what was not persisted was not said."""
        for timer in self._timers.values():
            timer.handle.cancel()
        await self._tasks.cancel()

    # --- events in -------------------------------------------------------------------------------
    def on_message(self, sender: str, data: bytes) -> None:
        """Verifies an envelope and queues it.

        Raises:
            ProtocolError: it is malformed or its signature does not fit.
            LimitError: it is too large for its type, or too many of this peer are waiting.
            Overloaded: too many of all peers together are waiting.
        """
        if self._waiting[sender] >= MAX_QUEUED_EVENTS_PER_PEER:
            raise LimitError("too many messages of this peer are waiting")
        if self._events.qsize() >= MAX_QUEUED_EVENTS:
            raise Overloaded("too many messages are waiting")
        envelope = open_envelope(data, self.core.room_id, max_bytes=MAX_LARGE_MESSAGE_BYTES)
        if len(data) > MAX_MESSAGE_BYTES and envelope.type not in LARGE_KINDS:
            raise LimitError(f"a {envelope.type} has more than {MAX_MESSAGE_BYTES} bytes")
        self._post(lambda now: self.core.on_message(sender, envelope, now), sender)

    def on_peer_head(self, peer: str, round_number: int) -> None:
        self._post(lambda now: self.core.on_peer_head(peer, round_number, now))

    def on_alive(self, peers: Iterable[str]) -> None:
        seen = frozenset(peers)
        self._post(lambda now: self.core.on_alive(seen, now))

    async def contribute(self, own: OwnContribution) -> None:
        """Returns when the contribution is durable and on its way, or has been refused.

        Raises:
            StorageError: the disk refused it.
        """
        await self._carried_out(lambda now: self.core.on_contribution(own, now))

    async def _carried_out(self, event: Event) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._post(event, done=done)
        await asyncio.wait({done, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if not done.done() and self.progress.failure is not None:
            raise self.progress.failure

    async def hand_in(self, operation: Operation) -> Operation:
        """Takes in a change of the membership that was signed here or brought by somebody;
        returns it, with all signatures known, when it is durable and on its way.

        Raises:
            ProtocolError: it contradicts what holds now, or whoever signed it may not.
            StorageError: the disk refused it.
        """
        self.core.check_operation(operation)
        await self._carried_out(lambda now: self.core.on_operation(operation, now))
        if not self.core.has_operation(operation):
            self.core.check_operation(operation)
        return self.core.journal.operations.get(operation.id, operation)

    def on_leave(self, round_number: int) -> None:
        self._post(lambda now: self.core.on_leave(round_number, now))

    def _post(
        self, event: Event, sender: str | None = None, done: asyncio.Future[None] | None = None
    ) -> None:
        if sender is not None:
            self._waiting[sender] += 1
        self._events.put_nowait(_Queued(event, sender, done))

    async def _run(self) -> None:
        try:
            while True:
                queued = await self._events.get()
                if queued.sender is not None:
                    self._waiting[queued.sender] -= 1
                await self._execute(queued.event(clock.now()))
                self._moved()
                if queued.done is not None and not queued.done.done():
                    queued.done.set_result(None)
                await asyncio.sleep(
                    0
                )  # A full queue and a fast disk must not stop everything else.
        except StorageError as error:
            # Without a disk no promise can be kept: silence is the only safe answer.
            self._fail(error)
        except Exception:
            # As if killed: what was promised is on disk, and a restart goes on from there.
            _log.exception("the rounds of this node have stopped")
            self._fail(P2PError("the round protocol met a fault", remedy="Restart the node."))

    def _fail(self, error: P2PError) -> None:
        self.progress.failure = error
        self._emit("node.failed", reason=str(error), remedy=error.remedy)
        _log.error("rounds stop: %s", error)

    # --- effects out -----------------------------------------------------------------------------
    async def _execute(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist():
                    await asyncio.to_thread(self._ledger.write, effect.record)
                    self._on_persisted(effect.record)
                case Send():
                    self._send(effect.to, effect.message)
                case Broadcast():
                    for peer in self.core.members:
                        if peer != self.core.me:
                            self._send(peer, effect.message)
                case SetTimer():
                    self._set_timer(effect)
                case FetchBlob():
                    self._checking.begin(effect)
                case Combine():
                    self._tasks.spawn(self._combine(effect), "combine")
                case Precompute():
                    self._tasks.spawn(self._precompute(effect), "precompute")
                case Verify():
                    self._tasks.spawn(self._verify(effect), "verify")
                case KeepResult():
                    self._tasks.spawn(self._keep_result(effect), "keep")
                case CommitRound():
                    self._on_commit(effect)
                case FetchCommits():
                    self._catching_up.ask(effect.peer, effect.round)
                case MembersChanged():
                    self._members_changed(effect.membership)
                case RoundOpened():
                    self._emit("round.started", round=effect.round, parent=effect.parent)
                case Elected():
                    self._emit(
                        "aggregator.elected",
                        round=effect.round,
                        attempt=effect.attempt,
                        peer=effect.peer,
                    )
                case Rejected():
                    self._on_rejected(effect)

    def _on_persisted(self, record: Record) -> None:
        match record:
            case Contributed():
                self._on_contributed(record)
            case OperationHeard(operation=operation):
                if operation in self.core.waiting_operations():
                    self._emit(
                        "change.waiting",
                        change=operation.id,
                        kind=operation.change.kind,
                        author=operation.change.author,
                        signed=len(operation.signatures),
                    )
            case Accused(round=number, evidence=found):
                self._emit(
                    "evidence.found", round=number, peer=found.accused, offence=found.offence
                )

    def _on_rejected(self, effect: Rejected) -> None:
        """Tells of it, but of no more of one peer's than a log and a stream of events can bear."""
        now = clock.now()
        bucket = self._refusals.get(effect.peer)
        if bucket is None:
            bucket = TokenBucket(REFUSED_RATE, REFUSED_BURST, now)
            self._refusals[effect.peer] = bucket
        if effect.peer == self.core.me or bucket.take(now):
            self.progress.note = effect.reason
            self._emit("message.refused", peer=effect.peer, reason=effect.reason)

    def _on_contributed(self, record: Contributed) -> None:
        contribution = parse(record.envelope.type, record.envelope.payload)
        assert isinstance(contribution, Contribution)
        self._emit(
            "contribution.sent",
            round=record.round,
            blob=contribution.blob,
            bytes=contribution.size,
        )

    def _send(self, to: str, message: Envelope) -> None:
        # Of reports only the newest counts, and a repetition replaces what still waits.
        kind = message.type if message.type == NewAttempt.kind else message.id
        self._client.send(to, message.to_bytes(), kind=kind)

    def _set_timer(self, effect: SetTimer) -> None:
        if timer := self._timers.pop(effect.name, None):
            timer.handle.cancel()
        if effect.after is not None:
            self._arm(_Timer(effect.name, effect.after, set_at=clock.now()))

    def _arm(self, timer: _Timer) -> None:
        loop = asyncio.get_running_loop()
        fire = partial(self._post, partial(self._on_timer, timer))
        timer.armed_at = clock.now()
        timer.handle = loop.call_later(timer.after, fire)
        self._timers[timer.name] = timer

    def _on_timer(self, timer: _Timer, now: float) -> list[Effect]:
        # One that was set anew while this firing waited in the queue is not this one.
        if self._timers.get(timer.name) is not timer:
            return []
        if timer.name == "attempt" and timer.is_overslept(now):
            # The others have gone on meanwhile: first hear them, then blame a leader.
            self._set_timer(SetTimer(timer.name, timer.after))
            return []
        # Whoever still computes the result, or did until just now, cannot blame the leader yet.
        was_computing = timer.computing
        timer.computing = self._computing.is_busy
        excused = timer.name == "attempt" and (timer.computing or was_computing)
        if excused and now - timer.set_at < MAX_COMPUTING_PATIENCE:
            self._arm(timer)
            return []
        return self.core.on_timer(timer.name, now)

    # --- blobs and results -----------------------------------------------------------------------
    def _sources(self, likely: Iterable[str]) -> list[str]:
        """Whom to ask for a blob: those who should have it and are there, then everybody, in an
        order that is new each time: one fetch asks only some, and the next one should ask others.
        """
        there, likely = list(self._reachable()), list(likely)
        random.shuffle(there)
        ordered = [*(peer for peer in likely if peer in there), *there, *likely]
        return [peer for peer in dict.fromkeys(ordered) if peer != self.core.me]

    async def _contribution(self, ref: BlobRef, author: str) -> Path:
        # Its author has it on disk: that is enough to get it again.
        sources = partial(self._sources, [author])
        return await self._blobs.fetch(self._client, ref, sources, durable=False)

    def _on_checked(self, contribution_id: str, verdict: Verdict) -> None:
        self._post(lambda now: self.core.on_checked(contribution_id, verdict, now))

    async def _combine(self, effect: Combine) -> None:
        try:
            ref = await self._computing.result_of(effect.parts, effect.previous)
        except Exception as error:  # Whatever the workload does: the next leader tries again.
            self.progress.note = str(error)
            self._emit("aggregation.failed", round=effect.round, reason=str(error))
            return
        self._post(lambda now: self.core.on_combined(effect.round, effect.attempt, ref, now))

    async def _precompute(self, effect: Precompute) -> None:
        with suppress(Exception):  # A guess: the proposal will show what really is to be done.
            await self._computing.result_of(effect.parts, effect.previous)

    async def _verify(self, effect: Verify) -> None:
        try:
            ref = await self._computing.result_of(effect.parts, effect.previous)
        except Exception as error:  # As above: a verdict is owed.
            verdict = UNAVAILABLE
            _log.warning("a result cannot be recomputed: %s", error)
        else:
            equal = ref == effect.result
            verdict = Verdict(equal, "" if equal else "the result is not what its inputs give")
            self.progress.recomputed[effect.round] = equal
            self._emit("result.recomputed", round=effect.round, equal=equal)
        self._post(lambda now: self.core.on_verified(effect.value, verdict, now))

    async def _keep_result(self, effect: KeepResult) -> None:
        sha256 = effect.result.sha256
        try:
            await self._have_result(effect)
            await self._blobs.make_durable(sha256)
        except Exception as error:  # As above.
            self.progress.note = str(error)
            _log.warning("a prepared result cannot be kept: %s", error)
            kept = False
        else:
            kept = True
        self._post(lambda now: self.core.on_result_kept(sha256, kept, now))

    async def _have_result(self, effect: KeepResult) -> None:
        """Raises BlobUnavailable when nobody has it and it cannot be computed here."""
        try:
            await self.blob(effect.result, effect.holders)
        except BlobUnavailable:
            if not effect.parts or (
                await self._computing.result_of(effect.parts, effect.previous) != effect.result
            ):
                raise

    async def blob(self, ref: BlobRef, likely: Iterable[str] = ()) -> Path:
        """A blob of the room's history, from here or from whoever has it.

        Raises:
            BlobUnavailable: nobody reachable has it now.
        """
        return await self._blobs.fetch(self._client, ref, lambda: self._sources(likely))

    # --- commits ---------------------------------------------------------------------------------
    def _on_commit(self, effect: CommitRound) -> None:
        record, result = effect.record, effect.result
        self._checking.forget(result)
        self._computing.forget()
        since = effect.last_contribution_at
        waited = None if since is None else round(clock.now() - since, 3)
        self.progress.note = ""
        if waited is not None:
            self.progress.seconds[record.round] = waited
        self._emit(
            "round.committed",
            round=record.round,
            value=record.value,
            commit_hash=record.commit_hash,
            attempt=effect.qc.attempt,
            aggregator=result.proposer,
            inputs=[
                {"peer": item.peer, "samples": item.weight, "blob": item.blob}
                for item in result.inputs
            ],
            excluded=[{"peer": item.peer, "reason": item.reason} for item in result.excluded],
            seconds_after_last_contribution=waited,
        )
        self._applying.put(result, effect.qc)
        self._forgetting.on_commit(result)

    def _needed_blobs(self) -> set[str]:
        """What no round under way can do without."""
        core = self.core
        needed = {core.genesis.initial_blob, core.facts.previous.sha256}
        return needed.union(each.blob for each in core.contributions.values())

    def _note(self, text: str) -> None:
        self.progress.note = text

    def _on_ledger_end(self, peer: str, round_number: int) -> None:
        self._post(lambda now: self.core.on_ledger_end(peer, round_number, now))

    async def _take_in(self, peer: str, payload: bytes) -> None:
        """Raises ProtocolError when the entry of a ledger is refused."""
        effects: list[Effect] = []

        def take_in(now: float) -> list[Effect]:
            effects.extend(self.core.on_commit(peer, payload, now))
            return effects

        await self._carried_out(take_in)
        # Beside a commit, messages that were kept for the next round may be refused.
        if not any(isinstance(effect, CommitRound) for effect in effects):
            for effect in effects:
                if isinstance(effect, Rejected) and effect.peer == peer:
                    raise ProtocolError(effect.reason)


def read_commit(payload: bytes) -> tuple[Result, QC]:
    """The result and the certificate inside a ledger entry of our own."""
    commit = parse(Commit.kind, payload)
    assert isinstance(commit, Commit)
    return parse_result(commit.body), commit.qc
