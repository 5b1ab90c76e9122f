"""Rooms of the product's gossip under virtual time: its promises in figures.

``python -m p2p.sim --gossip`` measures them with more seeds.
"""

from __future__ import annotations

import pytest

from p2p.gossip.effects import Liveness
from p2p.gossip.hello import Accusation
from p2p.gossip.rumours import Statement
from p2p.sim.gossip import (
    WARM_UP,
    GossipRoom,
    clean_leave,
    crash_detection,
    false_alarms,
    member_id,
    traffic,
)


@pytest.mark.parametrize("nodes", [2, 3, 5, 20])
def test_a_crash_is_seen_by_all(nodes: int) -> None:
    assert crash_detection(nodes, 0.05, seed=1) <= 15.0


@pytest.mark.slow
def test_a_crash_in_a_large_room_is_seen_by_all() -> None:
    assert crash_detection(100, 0.05, seed=1) <= 60.0


@pytest.mark.parametrize("nodes", [2, 5, 40])
def test_a_goodbye_is_known_to_all_within_two_seconds(nodes: int) -> None:
    assert clean_leave(nodes, 0.05, seed=1) <= 2.0


@pytest.mark.parametrize("nodes", [3, 8])
def test_a_starved_member_is_not_taken_for_gone(nodes: int) -> None:
    assert max(false_alarms(nodes, 0.05, seed=1, seconds=200.0), default=0.0) <= 10.0


def test_nobody_is_suspected_for_long_on_a_lossy_network() -> None:
    room = GossipRoom(8, loss=0.2, seed=2)
    room.run(120.0)
    alarms = [alarm for node in room.nodes.values() for alarm in node.false_alarms]
    assert max(alarms, default=0.0) <= 10.0
    assert all(not node.missed for node in room.nodes.values())


@pytest.mark.slow
def test_traffic_does_not_grow_with_the_room() -> None:
    (bytes_20, packets_20), (bytes_80, packets_80) = (
        traffic(nodes, 0.05, seed=1, seconds=15.0) for nodes in (20, 80)
    )
    assert packets_80 <= 1.2 * packets_20
    assert bytes_80 <= 1.5 * bytes_20


def test_a_member_behind_a_cut_is_kept_by_its_witnesses() -> None:
    room = GossipRoom(5, loss=0.0, seed=3)
    a, b = member_id(0), member_id(1)
    room.cut(a, b)
    room.run(60.0)
    assert room.nodes[a].states[b] is Liveness.ALIVE
    assert room.nodes[a].missed == {}


def test_progress_reaches_everybody() -> None:
    room = GossipRoom(30, loss=0.05, seed=4)
    room.run(WARM_UP)
    steps = []
    for node in room.nodes.values():
        for health in node.core.peers().values():
            assert health.hello is not None
            step = health.hello.status["step"]
            assert isinstance(step, int)
            steps.append(step)
    assert sum(step >= WARM_UP - 10 for step in steps) >= 0.9 * len(steps)


def test_a_liar_that_accuses_everybody_all_the_time_silences_nobody() -> None:
    room = GossipRoom(10, loss=0.05, seed=5)
    room.run(WARM_UP)
    liar = member_id(0)
    for second in range(60):
        room.run(WARM_UP + second)
        for node in room.others(liar):
            for accused in room.others(liar):
                said = Accusation(peer=accused.id, incarnation=accused.core.hello.incarnation)
                node.core.on_rumours(liar, [Statement(liar, said, b"lie")], room.now)
    honest = room.others(liar)
    assert all(not node.missed and not node.false_alarms for node in honest)
    assert all(node.core.alive() >= {other.id for other in honest} - {node.id} for node in honest)
    assert sum(node.core.patience for node in honest) <= 3 * len(honest), "nor slows anybody much"
