"""What a screen may show of a node: every peer state has one word, and lies stay small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedtui import viewing
from fedtui.learner import LearnerState
from fedtui.training import ProcessState
from fedtui.view import PeerView
from p2p.gossip.hello import Hello
from p2p.status import PeerSnapshot, PeerStatus

READY = ProcessState("ready", 7, "cpu")
WORK = viewing.OwnWork(LearnerState(), READY, trains=True, done=False)
SNAPSHOT = PeerSnapshot(
    id="me", room_id="r", head="h", round=1, rounds=3, attempt=0, phase="TRAIN", aggregator="b",
    order=("b", "me"), voters=("b", "me"), quorum=2, prepares=0, commits_counted=0,
    contributions=(), expected=2, waiting_for=(), elapsed_s=1.0, deadline_in_s=9.0, note="",
    discovery="", peers=(), commits=(),
)  # fmt: skip


def seen(liveness: str = "alive", **said: bool | int | str) -> PeerView:
    peer = PeerStatus(id="b", name="Grace", role="participant", me=False, state="alive")
    peer = replace(peer, state=liveness, status=said)  # type: ignore[arg-type]
    return viewing.peer_view(peer, SNAPSHOT, {})


@pytest.mark.parametrize(
    ("work", "contributed", "word"),
    [
        (WORK, False, "READY"),
        (WORK, True, "SENT"),
        (replace(WORK, trains=False), False, "WATCH"),
        (replace(WORK, done=True), True, "IDLE"),
        (replace(WORK, trainer=ProcessState("loading")), False, "LOADING"),
        (replace(WORK, learner=LearnerState("training", 3, 9)), False, "TRAIN"),
    ],
)
def test_every_kind_of_work_has_its_word(
    work: viewing.OwnWork, contributed: bool, word: str
) -> None:
    assert viewing.own_state(work, contributed) == word


def test_what_is_told_to_others_comes_back_as_it_was() -> None:
    learner = LearnerState("training", 3, 9, 0.25, 16.5, samples=40)
    told = viewing.status_of(replace(WORK, learner=learner), contributed=False)
    shown = seen(**told)
    assert (shown.state, shown.step, shown.steps, shown.samples) == ("TRAIN", 3, 9, 40)
    assert (shown.loss, shown.images_per_s, shown.device) == (0.25, 16.5, "cpu")
    assert shown.aggregator


def test_what_is_told_fits_into_a_hello() -> None:
    learner = LearnerState("training", 10**6, 10**6, 123.456789, 1e5, samples=2**29)
    told = viewing.status_of(
        replace(WORK, learner=learner, trainer=replace(READY, device="x" * 500)), contributed=True
    )
    Hello(incarnation=1, seq=1, round=1, head="", attempt=0, port=1, status=told)


@pytest.mark.parametrize(
    ("state", "word"), [("suspect", "SUSPECT"), ("unreachable", "LOST"), ("left", "LEFT")]
)
def test_silence_weighs_more_than_what_was_said(state: str, word: str) -> None:
    assert seen(state, state="TRAIN").state == word


@pytest.mark.parametrize("said", ["LOST", "nonsense", 7, True])
def test_a_peer_cannot_invent_states(said: bool | int | str) -> None:
    shown = seen(state=said)
    assert shown.state == "IDLE"


def test_wrong_types_in_a_status_are_left_out() -> None:
    shown = seen(step="many", steps=True, loss_micro="low", device=5)
    assert (shown.step, shown.steps, shown.loss, shown.device) == (0, 0, None, "")


def test_drawing_is_a_phase_of_its_own_only_when_nothing_urgent_happens() -> None:
    drawing = LearnerState("generating")
    assert viewing.round_view(SNAPSHOT, drawing).phase == "PREVIEW"
    assert viewing.round_view(replace(SNAPSHOT, phase="VERIFY"), drawing).phase == "VERIFY"
    done = viewing.round_view(replace(SNAPSHOT, phase="DONE"), LearnerState())
    assert (done.phase, done.deadline_in_s) == ("DONE", None)
