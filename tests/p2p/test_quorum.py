"""Quorums, leaders and the voters of the next round: pure functions of committed facts."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p.room import Member, Policy
from p2p.rounds.quorum import (
    Rule,
    fewest_voters,
    leader_order,
    next_voters,
    quorum_size,
    tolerated_liars,
)
from p2p.sim.parts import ROOM_ID, peer_ids

PEERS = peer_ids(6)
MEMBERS = {peer: Member(peer_id=peer, name=peer[:1], certificate="") for peer in PEERS}


@pytest.mark.parametrize("count", range(1, 9))
def test_two_majorities_share_a_voter(count: int) -> None:
    size = quorum_size(count, "majority")
    groups = [set(group) for group in combinations(range(count), size)]
    assert all(a & b for a in groups for b in groups)


@pytest.mark.parametrize("count", range(1, 9))
def test_two_quorums_of_two_thirds_share_an_honest_voter(count: int) -> None:
    size, liars = quorum_size(count, "two_thirds"), tolerated_liars(count, "two_thirds")
    groups = [set(group) for group in combinations(range(count), size)]
    assert all(len(a & b) > liars for a in groups for b in groups)
    assert count - liars >= size


def test_a_majority_room_tolerates_no_liar() -> None:
    assert tolerated_liars(5, "majority") == 0


@given(st.permutations(PEERS), st.integers(1, 1000))
def test_the_order_of_leaders_depends_on_the_set_alone(voters: list[str], number: int) -> None:
    order = leader_order(voters, ROOM_ID, number, MEMBERS)
    assert order == leader_order(PEERS, ROOM_ID, number, MEMBERS)
    assert sorted(order) == sorted(PEERS)


def test_everybody_gets_to_lead_and_nobody_always() -> None:
    first = Counter(leader_order(PEERS, ROOM_ID, number, MEMBERS)[0] for number in range(600))
    assert set(first) == set(PEERS)
    assert max(first.values()) < 160


def test_servers_lead_before_laptops() -> None:
    kinds = ("laptop", "server", "desktop", "laptop", "server", "desktop")
    devices = dict(zip(PEERS, kinds, strict=True))
    members = {
        peer: MEMBERS[peer].model_copy(update={"device": device})
        for peer, device in devices.items()
    }
    order = [devices[peer] for peer in leader_order(PEERS, ROOM_ID, 1, members)]
    assert order == ["server", "server", "desktop", "desktop", "laptop", "laptop"]


a, b, c, d, e, f = PEERS


@pytest.mark.parametrize(
    ("rule", "voters", "present", "before", "expected"),
    [
        ("majority", PEERS, PEERS, PEERS, PEERS),
        # Away for one round: still a voter. Away for two: no longer.
        ("majority", PEERS, (a, b, c, d), PEERS, PEERS),
        ("majority", PEERS, (a, b, c, d), (a, b, c, d), (a, b, c, d)),
        # Back again: a voter of the next round.
        ("majority", (a, b, c, d), (a, b, c, d, e), (a, b, c, d), (a, b, c, d, e)),
        # Never below a third of the members, whoever is away.
        ("majority", (a, b), (a,), (a,), (a, b)),
        # Liars could leave honest voters out: two-thirds rooms keep theirs.
        ("two_thirds", PEERS, (a, b, c, d, e), (a, b, c, d, e), PEERS),
    ],
)
def test_who_votes_next(
    rule: Rule,
    voters: tuple[str, ...],
    present: tuple[str, ...],
    before: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    policy = Policy(quorum=rule)
    assert next_voters(voters, present, before, MEMBERS, policy, parent=ROOM_ID) == expected


def test_observers_and_strangers_never_become_voters() -> None:
    members = {**MEMBERS, f: MEMBERS[f].model_copy(update={"role": "observer"})}
    present = (a, b, c, f, "z" * 52)
    drawn = next_voters((a, b, c), present, (a, b, c), members, Policy(), parent=ROOM_ID)
    assert drawn == (a, b, c)


@pytest.mark.parametrize(("members", "fewest"), [(1, 1), (2, 2), (5, 2), (7, 3), (30, 10)])
def test_the_least_number_of_voters(members: int, fewest: int) -> None:
    assert fewest_voters(members, Policy()) == fewest
