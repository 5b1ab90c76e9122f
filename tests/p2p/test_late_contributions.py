"""Contributions that come after a round was decided, in rooms that carry them over."""

from __future__ import annotations

import pytest
from core_bench import Bench, decide_without, kind_is, result_of

from p2p.messages import Contribution, Receipt
from p2p.room import Plan
from p2p.rounds.state import OwnContribution
from p2p.sim.campaign import run_campaign
from p2p.sim.parts import contribution_blob
from p2p.sim.world import Scenario


def hand_in_late(bench: Bench, peer: str, samples: int = 10) -> None:
    core = bench.cores[peer]
    blob = contribution_blob(peer, core.round - 1, "late", False)
    own = OwnContribution(core.round - 1, blob, samples=samples, steps=1)
    bench.feed(peer, lambda c: c.on_contribution(own, bench.now))


def decide(bench: Bench, *contributors: str) -> None:
    number = bench.cores[bench.peers[0]].round
    bench.contribute(*contributors)
    bench.persist_until(lambda: bench.committed() == [number] * len(bench.peers), lambda m: True)


def test_work_that_came_too_late_counts_half_in_the_next_round() -> None:
    bench = Bench(4, carry=True)
    slow, *others = reversed(bench.order)
    decide_without(bench, slow)
    hand_in_late(bench, slow, samples=11)
    assert bench.cores[slow].contributed, "nothing is left to train for this round"
    decide(bench, *others)
    weights = {item.peer: item.weight for item in result_of(bench, 2).inputs}
    assert weights == {slow: 5, **dict.fromkeys(others, 10)}
    decide(bench)
    assert {item.weight for item in result_of(bench, 3).inputs} == {10}


def test_rooms_drop_what_is_late_unless_their_founder_chose_otherwise() -> None:
    bench = Bench(4)
    slow = bench.order[-1]
    decide_without(bench, slow)
    hand_in_late(bench, slow)
    assert not bench.cores[slow].contributed
    assert bench.refused[-1][0] == slow


def test_work_that_the_leader_never_heard_of_is_carried_by_its_author() -> None:
    bench = Bench(4, carry=True)
    slow, *others = reversed(bench.order)
    bench.contribute(slow)
    bench.mail.clear()
    decide_without(bench, slow)
    assert bench.disks[slow].contribution is not None
    bench.restart(slow)
    bench.fire(slow, "resend")
    decide(bench, *others)
    assert slow in {item.peer for item in result_of(bench, 2).inputs}


def test_a_member_that_counted_in_a_round_brings_nothing_late_for_it() -> None:
    bench = Bench(4, carry=True)
    decide(bench)
    greedy = bench.order[0]
    hand_in_late(bench, greedy)
    assert not bench.cores[greedy].contributed
    core = bench.cores[greedy]
    facts, late = core.facts, contribution_blob(greedy, 1, "late", False)
    second = bench.signer(greedy).seal(
        Contribution(
            peer=greedy,
            round=1,
            parent=facts.room_id,
            plan=facts.plan_hash,
            blob=late.sha256,
            size=late.size,
            chunks=late.chunks,
            samples=10,
            steps=1,
        )
    )
    other = bench.order[1]
    bench.hand_over((greedy, other, second))
    assert not bench.cores[other].contributions
    (receipt,) = [m[2] for m in bench.mail if m[2].type == Receipt.kind]
    assert b'"late"' in receipt.payload


def test_nothing_is_carried_further_than_one_round() -> None:
    bench = Bench(4, carry=True)
    slow = bench.order[-1]
    bench.contribute(slow)
    bench.mail.clear()
    decide_without(bench, slow)
    decide_without(bench, slow)
    assert bench.disks[slow].contribution is None


def test_a_fresh_contribution_comes_before_one_that_is_carried() -> None:
    bench = Bench(4, carry=True)
    slow = bench.order[-1]
    decide_without(bench, slow)
    hand_in_late(bench, slow)
    bench.deliver(kind_is("contribution", "receipt"))
    bench.disks[slow].contribution = None  # Its disk is lost, and it trains again.
    bench.restart(slow)
    decide(bench)
    result = result_of(bench, 2)
    assert {item.weight for item in result.inputs if item.peer == slow} == {10}
    assert {item.peer for item in result.excluded} == {slow}


def test_a_plan_that_asks_only_some_carries_nothing() -> None:
    with pytest.raises(ValueError, match="cannot be carried"):
        Plan(rounds=1, deadline_ms=1000, ask=2, late="carry", task={})


def test_no_fault_splits_a_room_that_carries_late_work_over() -> None:
    report = run_campaign(Scenario(nodes=4, carry=True), range(4))
    assert (report.unsafe, report.live) == (0, 4)
