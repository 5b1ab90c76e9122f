"""What a node notes of the time things took, in rooms of whole peers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy_room import ToyNode, toy_genesis, until

from p2p.chronicle import ATTEMPTS_KEPT, Chronicle, RoundTimes


def in_order(times: RoundTimes) -> bool:
    """Whether nothing is noted before it can have happened."""
    assert times.seconds is not None
    for member in times.members:
        noted = (member.contributed, member.checked, member.prepared, member.committed)
        moments = [moment for moment in noted if moment is not None]
        if not all(0 <= moment <= times.seconds for moment in moments):
            return False
        if member.checked is not None and member.checked < (member.contributed or 0.0):
            return False
        if member.committed is not None and member.committed < (member.prepared or 0.0):
            return False
    return True


async def test_every_round_that_a_node_lived_through_has_its_times(tmp_path: Path) -> None:
    genesis = toy_genesis(3)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        for node in nodes:
            node.knows(nodes)
        await until(lambda: all(node.peer.done for node in nodes))
        peers = {node.id: node for node in nodes}
        for commit in nodes[0].peer.snapshot().commits:
            # Whoever combined has had and checked every contribution, and counted every vote.
            told = peers[commit.aggregator].peer.snapshot().times
            times = next(each for each in told if each.round == commit.round)
            assert in_order(times)
            assert times.whole or commit.round == 1 or told[0] is times
            seen = {each.peer: each for each in times.members}
            assert all(seen[each.peer].checked is not None for each in commit.inputs)
            assert all(seen[peer].committed is not None for peer in commit.signers)
        assert not any(node.peer.snapshot().times[0].whole for node in nodes)
        moved = {node.id: {p.id: p for p in node.peer.snapshot().peers} for node in nodes}
        for one in peers:
            assert moved[one][one].received == moved[one][one].sent == 0
            assert sum(peer.received for peer in moved[one].values()) > 0
            assert all(moved[one][p].received <= moved[p][one].sent for p in peers if p != one)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


@pytest.mark.slow
async def test_nobody_claims_to_have_seen_a_round_from_its_beginning_who_came_later(
    tmp_path: Path,
) -> None:
    genesis = toy_genesis(3, rounds=1)
    nodes = [ToyNode(tmp_path, index, genesis) for index in range(3)]
    here, late = nodes[:2], nodes[2]
    try:
        await asyncio.gather(*(node.start() for node in here))
        for node in here:
            node.knows(here)
        await until(lambda: all(node.peer.done for node in here))
        await late.start(train=False)
        for node in nodes:
            node.knows(nodes)
        await until(lambda: late.peer.done)
        snapshot = late.peer.snapshot()
        assert len(snapshot.commits) == 1
        # What waited for it in the others' queues it may have seen, if that came before the ledger.
        assert not any(times.whole for times in snapshot.times)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))


def a_core(**now: object) -> Any:
    """As much of a round's core as a chronicle looks at."""
    votes: dict[str, set[str]] = {"prepare": set(), "commit": set()}
    core = SimpleNamespace(
        round=1, started_at=10.0, attempt=0, leader="a", done=False, contributions={}, verdicts={},
        votes=votes, journal=SimpleNamespace(lock=None, commits=[]),
    )  # fmt: skip
    core.voted = lambda phase: core.votes[phase]
    vars(core).update(now)
    return core


def test_a_round_without_any_work_on_it_has_no_times() -> None:
    chronicle, core = Chronicle(), a_core()
    chronicle.look(core, 10.0)
    for number in (2, 3, 4):
        core.round, core.started_at = number, 10.0 + number
        chronicle.look(core, 10.0 + number)
    assert [times.round for times in chronicle.rounds] == [4]
    assert not chronicle.rounds[0].whole
    core.done, core.round = True, 5
    chronicle.look(core, 20.0)
    assert chronicle.rounds == ()


def test_votes_of_an_attempt_that_failed_are_forgotten() -> None:
    chronicle, core = Chronicle(), a_core()
    core.votes["prepare"] = {"a", "b"}
    chronicle.look(core, 12.0)
    core.attempt, core.leader, core.votes["prepare"] = 1, "b", {"b"}
    chronicle.look(core, 16.0)
    (times,) = chronicle.rounds
    assert times.attempts == ((2.0, "a"), (6.0, "b"))
    assert [(each.peer, each.prepared) for each in times.members] == [("b", 6.0)]
    core.round, core.started_at = 2, 18.0
    chronicle.look(core, 18.1)
    assert [(each.round, each.seconds, each.whole) for each in chronicle.rounds] == [
        (1, 8.0, False),
        (2, None, True),
    ]


def test_a_round_that_fails_for_days_is_told_in_bounded_space() -> None:
    chronicle, core = Chronicle(), a_core()
    for core.attempt in range(10_000):
        chronicle.look(core, 10.0 + core.attempt)
    (times,) = chronicle.rounds
    assert len(times.attempts) == ATTEMPTS_KEPT
    assert times.attempts[0] == (0.0, "a")


def test_a_start_in_the_middle_of_a_round_begins_its_page_anew() -> None:
    chronicle, core = Chronicle(), a_core(started_at=0.0)
    core.votes["prepare"] = {"a"}
    chronicle.look(core, 500.0)
    core.started_at = 500.1
    chronicle.look(core, 500.2)
    (times,) = chronicle.rounds
    assert [each.prepared for each in times.members] == [0.1]
