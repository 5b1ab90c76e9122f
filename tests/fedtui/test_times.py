"""Who did what when in a round: sampled, noted, kept, and never made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_viewing import SNAPSHOT

from fedtui.control.operations import Operations
from fedtui.limits import TIMES_KEPT
from fedtui.times import RoundTimesBook
from fedtui.view import LaneView, TimesView
from p2p.chronicle import MemberTimes, RoundTimes
from p2p.status import PeerSnapshot, PeerStatus

TRAINS = {"state": "TRAIN"}
RESTS = {"state": "SENT"}


def at(elapsed: float, *peers: PeerStatus, times: tuple[RoundTimes, ...] = ()) -> PeerSnapshot:
    times = times or (RoundTimes(1, None, True, ((0.0, "b"),), ()),)
    return replace(SNAPSHOT, elapsed_s=elapsed, peers=peers, times=times)


def other(liveness: str = "alive", round_: int = 1, **said: str) -> PeerStatus:
    peer = PeerStatus("b", "Grace", "participant", False, state="alive", round=round_, status=said)
    return replace(peer, state=liveness)  # type: ignore[arg-type]


def lane(views: tuple[TimesView, ...], peer: str = "b") -> LaneView | None:
    return next((each for each in views[-1].lanes if each.peer == peer), None)


def test_training_is_what_was_heard_and_goes_on_until_it_is_not(tmp_path: Path) -> None:
    book = RoundTimesBook(tmp_path / "times.json")
    assert lane(book.watch(at(0.5, other()), {})) is None
    assert lane(book.watch(at(1.0, other("suspect", **TRAINS)), {})) is None, (
        "not alive: an old word"
    )
    heard = at(2.0, other(**TRAINS))
    assert lane(book.watch(heard, {})) == LaneView("b", trains=2.0)
    heard = at(5.0, other(**TRAINS))
    assert lane(book.watch(heard, {})) == LaneView("b", trains=2.0), "it goes on"
    assert lane(book.watch(at(6.0, other()), {})) == LaneView("b", trains=2.0, rests=5.0)


def test_training_for_another_round_is_not_told_of_this_one(tmp_path: Path) -> None:
    book = RoundTimesBook(tmp_path / "times.json")
    assert lane(book.watch(at(2.0, other(round_=7, **TRAINS)), {})) is None
    me = PeerStatus("me", "Ada", "participant", True, state="alive")
    assert lane(book.watch(at(3.0, me), TRAINS), "me") == LaneView("me", trains=3.0)
    handed_in = replace(me, contributed=True)
    assert lane(book.watch(at(4.0, handed_in), TRAINS), "me") == LaneView("me", 3.0, 3.0)


def committed(number: int = 1) -> RoundTimes:
    part = MemberTimes("b", 4.0, 4.5, "", 6.0, 6.5, 0.25)
    return RoundTimes(number, 6.5, True, ((0.0, "me"), (5.0, "b")), (part,))


async def test_a_committed_round_is_kept_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    book = RoundTimesBook(path)
    book.watch(at(1.0, other(**TRAINS)), {})
    book.watch(at(3.0, other(**TRAINS)), {})
    later = replace(at(0.2, times=(committed(), RoundTimes(2, None, True, (), ()))), round=2)
    before, now = book.watch(later, {})
    whole = LaneView("b", 1.0, 3.0, 4.0, 4.5, "", 6.0, 6.5, 0.25)
    assert before == TimesView(1, 6.5, True, ((0.0, "me"), (5.0, "b")), (whole,))
    assert now == TimesView(2)
    operations = Operations()
    RoundTimesBook(path).offer(operations)
    told = await operations.run("round_times", {"round": 1})
    assert told["times"]["lanes"][0]["agreed"] == 6.0
    assert (await operations.run("round_times", {"round": 9}))["times"] is None


def test_after_the_last_round_its_times_stay(tmp_path: Path) -> None:
    book = RoundTimesBook(tmp_path / "times.json")
    assert [each.round for each in book.watch(at(9.0, times=(committed(3),)), {})] == [3]


@pytest.mark.parametrize("text", ["[", '{"a": 1}', "[{}]", '[{"round": "x"}]'])
def test_a_damaged_file_is_as_if_nothing_had_been_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "times.json"
    path.write_text(text)
    book = RoundTimesBook(path)
    assert [each.round for each in book.watch(at(9.0, times=(committed(3),)), {})] == [3]


def test_only_so_many_rounds_are_kept(tmp_path: Path) -> None:
    book = RoundTimesBook(tmp_path / "times.json")
    for number in range(1, TIMES_KEPT + 3):
        book.watch(at(0.1, times=(committed(number),)), {})
    assert sorted(book._closed) == list(range(3, TIMES_KEPT + 3))
