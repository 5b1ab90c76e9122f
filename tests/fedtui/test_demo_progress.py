"""The steps of a room, told once each, whatever order its nodes report in."""

from __future__ import annotations

from typing import Any

from fedtui.demo.progress import RoomProgress


def progress() -> RoomProgress:
    return RoomProgress({"a": "Ada", "b": "Grace"}, rounds=2)


def take(room: RoomProgress, node: str, type_: str, now: float = 0.0, **data: Any) -> list[str]:
    return list(room.take(node, {"type": type_, **data}, now))


def test_a_round_starts_once_for_the_room() -> None:
    room = progress()
    assert take(room, "a", "round.started", round=1) == ["round 1 of 2 started"]
    assert take(room, "b", "round.started", round=1) == []


def test_nodes_have_found_each_other_when_everyone_knows_everyone() -> None:
    room = progress()
    assert take(room, "a", "peer.found", peer="b") == []
    assert take(room, "a", "peer.found", peer="b") == []
    assert take(room, "b", "peer.found", now=7.0, peer="a") == [
        "all 2 nodes found each other after 7 s"
    ]


def test_nodes_are_strangers_until_one_hears_of_another() -> None:
    room = progress()
    take(room, "a", "round.started", round=1)
    assert room.strangers
    take(room, "a", "peer.found", peer="b")
    assert not room.strangers
    assert not RoomProgress({"a": "Ada"}, rounds=1).strangers


def test_a_commit_is_told_once_and_kept_for_every_node() -> None:
    room = progress()
    take(room, "a", "round.started", now=10.0, round=1)
    commit = {
        "round": 1,
        "value": "v",
        "inputs": [1, 2],
        "excluded": [3],
        "seconds_after_last_contribution": 1.5,
    }
    assert take(room, "b", "round.committed", now=40.0, **commit) == [
        "round 1 committed after 30 s, 1.5 s after the last contribution: "
        "2 contributions, 1 left out"
    ]
    assert take(room, "a", "round.committed", now=41.0, **commit) == []
    assert room.values == {"a": {1: "v"}, "b": {1: "v"}}
    assert room.after_last_contribution == [1.5]


def test_only_a_failover_is_worth_a_line() -> None:
    room = progress()
    assert take(room, "a", "aggregator.elected", round=1, attempt=0, peer="a") == []
    assert take(room, "a", "aggregator.elected", round=1, attempt=1, peer="b") == [
        "round 1: Grace takes over as aggregator (attempt 2)"
    ]
    assert take(room, "b", "aggregator.elected", round=1, attempt=1, peer="b") == []


def test_nodes_that_have_not_begun_count_as_untrained() -> None:
    room = progress()
    take(room, "a", "train.progress", round=1, step=30, steps=60)
    assert room.meanwhile() == "round 1: 25 % trained, 0 of 2 contributed"
    take(room, "a", "contribution.sent", round=1, blob="x", bytes=1)
    take(room, "b", "train.progress", round=1, step=60, steps=60)
    assert room.meanwhile() == "round 1: 75 % trained, 1 of 2 contributed"


def test_the_first_picture_is_told_with_its_time() -> None:
    room = progress()
    picture = {"round": 0, "prompt": "night", "seed": 0, "path": "/p.png"}
    assert take(room, "a", "preview.ready", now=33.0, **picture) == ["first picture after 33 s"]
    assert take(room, "a", "preview.ready", now=34.0, **{**picture, "seed": 1}) == []
    assert room.first_preview_s == 33.0


def test_troubles_are_told_with_the_name_of_the_node() -> None:
    room = progress()
    assert take(room, "b", "notice", text="no pictures", level="error") == ["Grace: no pictures"]
    assert take(room, "b", "notice", text="fine", level="info") == []
