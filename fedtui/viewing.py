"""From what a node knows to what a screen shows. No I/O: values in, a NodeView out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from fedtui.learner import LearnerState
from fedtui.task import MICRO, MILLI
from fedtui.training import ProcessState
from fedtui.view import (
    CommitView,
    InputView,
    PeerState,
    PeerView,
    Phase,
    RoundView,
    StatisticsView,
    TrainerView,
)
from p2p.status import CommitStatus, PeerSnapshot, PeerStatus

Status = dict[str, bool | int | str]
DEVICE_CHARS = 32

_LIVENESS: Mapping[str, PeerState] = {
    "suspect": "SUSPECT",
    "unreachable": "LOST",
    "left": "LEFT",
}


@dataclass(frozen=True)
class OwnWork:
    """This node's half of the picture."""

    learner: LearnerState
    trainer: ProcessState
    trains: bool
    done: bool


def own_state(work: OwnWork, contributed: bool) -> PeerState:
    """The word for what this node does."""
    if not work.trains:
        return "WATCH"
    if work.trainer.kind == "loading" or work.learner.activity == "loading":
        return "LOADING"
    if work.learner.activity == "training":
        return "TRAIN"
    if work.done:
        return "IDLE"
    return "SENT" if contributed else "READY"


def status_of(work: OwnWork, contributed: bool) -> Status:
    """What the others are told of this node's work: whole numbers and short words."""
    learner = work.learner
    status: Status = {"state": own_state(work, contributed)}
    if learner.activity == "training":
        status |= {"step": learner.step, "steps": learner.steps}
    if learner.loss is not None:
        status["loss_micro"] = round(learner.loss * MICRO)
    if learner.samples is not None:
        status["samples"] = learner.samples
    if learner.images_per_s is not None:
        status["rate_milli"] = round(learner.images_per_s * MILLI)
    if work.trainer.device:
        status["device"] = work.trainer.device[:DEVICE_CHARS]
    return status


def peer_view(peer: PeerStatus, snapshot: PeerSnapshot, own: Status) -> PeerView:
    """A member, from its own status (``own`` for this node) and from how it is seen."""
    status = own if peer.me else peer.status
    loss, rate = _number(status, "loss_micro"), _number(status, "rate_milli")
    return PeerView(
        id=peer.id,
        name=peer.name,
        me=peer.me,
        role=peer.role,
        state=_state(peer, status),
        step=_number(status, "step") or 0,
        steps=_number(status, "steps") or 0,
        loss=None if loss is None else loss / MICRO,
        samples=_number(status, "samples"),
        images_per_s=None if rate is None else rate / MILLI,
        device=_text(status, "device"),
        address=peer.address,
        last_seen_s=0.0 if peer.me else peer.age_s,
        rtt_ms=peer.rtt_ms,
        aggregator=peer.id == snapshot.aggregator,
        contributed=peer.contributed,
        voted=peer.prepared or peer.committed,
        reach=peer.reach,
        via=peer.via,
        received=peer.received,
        sent=peer.sent,
    )


def round_view(snapshot: PeerSnapshot, learner: LearnerState) -> RoundView:
    """The open round; drawing counts as its own phase where nothing more urgent goes on."""
    phase: Phase = snapshot.phase
    if learner.activity == "generating" and phase in ("TRAIN", "DONE"):
        phase = "PREVIEW"
    done = snapshot.phase == "DONE"
    return RoundView(
        number=snapshot.round,
        rounds=snapshot.rounds,
        attempt=snapshot.attempt,
        phase=phase,
        aggregator=snapshot.aggregator,
        order=snapshot.order,
        voters=snapshot.voters,
        quorum=snapshot.quorum,
        prepares=snapshot.prepares,
        commits=snapshot.commits_counted,
        contributions=len(snapshot.contributions),
        expected=snapshot.expected,
        elapsed_s=snapshot.elapsed_s,
        deadline_in_s=None if done else snapshot.deadline_in_s,
        waiting_for=snapshot.waiting_for,
        note=snapshot.note,
        headline=snapshot.headline,
        held=snapshot.held,
    )


def commit_view(commit: CommitStatus, statistics: StatisticsView | None = None) -> CommitView:
    """A ledger entry."""
    return CommitView(
        round=commit.round,
        value=commit.value,
        commit_hash=commit.commit_hash,
        result=commit.result,
        attempt=commit.attempt,
        aggregator=commit.aggregator,
        signers=commit.signers,
        inputs=tuple(InputView(i.peer, i.samples, i.blob) for i in commit.inputs),
        excluded=commit.excluded,
        skipped=commit.skipped,
        recomputed=commit.recomputed,
        seconds=commit.seconds,
        statistics=statistics,
    )


def trainer_view(state: ProcessState, learner: LearnerState, since_s: float) -> TrainerView:
    """The trainer process and what it works on."""
    busy = learner.activity if state.kind == "ready" else state.kind
    return TrainerView(
        state=busy, device=state.device, pid=state.pid, detail=state.detail, since_s=since_s
    )


def _state(peer: PeerStatus, status: Mapping[str, Any]) -> PeerState:
    if peer.state in _LIVENESS:
        return _LIVENESS[peer.state]
    said = status.get("state")
    for known in get_args(PeerState):
        if said == known and known not in _LIVENESS.values():
            return known  # type: ignore[no-any-return]
    return "SENT" if peer.contributed else "IDLE"


def _number(status: Mapping[str, Any], name: str) -> int | None:
    value = status.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(status: Mapping[str, Any], name: str) -> str:
    value = status.get(name)
    return value if isinstance(value, str) else ""
