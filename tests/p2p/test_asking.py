"""Large rooms ask only some participants per round; small ones wait for enough of them."""

from __future__ import annotations

import pytest
from core_bench import Bench, everything

from p2p.messages import Commit, Exclusion, Result, parse, parse_result
from p2p.room import Plan
from p2p.rounds import rules
from p2p.sim.parts import BLOB_SIZE, contribution_blob


def result_of(bench: Bench, round_number: int) -> Result:
    commit = parse(
        Commit.kind, bench.cores[bench.peers[0]].journal.commits[round_number - 1].payload
    )
    assert isinstance(commit, Commit)
    return parse_result(commit.body)


def asked(bench: Bench) -> frozenset[str]:
    (one,) = {core.facts.asked for core in bench.cores.values()}
    assert one is not None
    return one


def test_every_node_knows_who_is_asked_and_nobody_else_is_waited_for() -> None:
    bench = Bench(6, rounds=5, ask=3)
    seen = []
    for number in range(1, 6):
        chosen = asked(bench)
        assert len(chosen) == 3
        seen.append(chosen)
        bench.contribute(*sorted(chosen))
        bench.deliver()
        assert bench.committed() == [number] * 6
        assert {item.peer for item in result_of(bench, number).inputs} == chosen
    assert len(set(seen)) > 1


def test_who_is_not_asked_hands_nothing_in() -> None:
    bench = Bench(4, ask=2)
    idle = min(set(bench.peers) - asked(bench))
    bench.contribute(idle)
    assert not bench.cores[idle].contributed
    assert (idle, rules.NOT_ASKED) in bench.refused


def test_a_contribution_nobody_asked_for_is_left_out_with_that_reason() -> None:
    bench = Bench(4, ask=2)
    facts = bench.cores[bench.peers[0]].facts
    idle = min(set(bench.peers) - asked(bench))
    eager = contribution_blob(idle, 1, facts.parent, False)
    manifest = rules.Contribution(
        peer=idle,
        round=1,
        parent=facts.parent,
        plan=facts.plan_hash,
        blob=eager.sha256,
        size=BLOB_SIZE,
        chunks=eager.chunks,
        samples=1,
        steps=1,
    )
    envelope = bench.signer(idle).seal(manifest)
    for peer in bench.peers:
        if peer != idle:
            bench.hand_over((idle, peer, envelope))
    bench.contribute(*sorted(asked(bench)))
    bench.persist_until(lambda: min(bench.committed()) == 1, everything)
    (left_out,) = result_of(bench, 1).excluded
    assert isinstance(left_out, Exclusion)
    assert (left_out.peer, left_out.reason) == (idle, rules.NOT_ASKED)


def test_sleepers_are_asked_last() -> None:
    bench = Bench(4, rounds=4, ask=2)
    asleep = min(asked(bench))
    rest = [peer for peer in bench.peers if peer != asleep]
    bench.alive(*rest)
    for _ in range(2):
        wanted = bench.cores[rest[0]].facts.asked
        assert wanted is not None
        bench.contribute(*sorted(wanted - {asleep}))
        bench.deliver(lambda message: asleep not in message[:2])
        bench.fire_all("deadline")
        bench.deliver(lambda message: asleep not in message[:2])
    awake = bench.cores[rest[0]]
    assert awake.round > 2
    assert awake.facts.asked is not None
    assert asleep not in awake.facts.asked


def test_a_plan_that_asks_fewer_than_it_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="as many as it needs"):
        Plan(rounds=1, deadline_ms=1_000, min_contributions=3, ask=2, task={})


def test_a_room_with_too_few_waits_past_every_deadline_and_then_gives_the_newcomer_time() -> None:
    bench = Bench(3, min_contributions=3)
    *here, away = bench.peers
    bench.alive(*here)
    bench.contribute(*here)
    bench.deliver(lambda message: away not in message[:2])
    for _ in range(3):
        for peer in here:
            bench.timers.setdefault((peer, "deadline"), 0.0)
            bench.fire(peer, "deadline")
        bench.deliver(lambda message: away not in message[:2])
    assert bench.committed() == [0, 0, 0]
    assert bench.cores[here[0]].lacking == 1
    bench.timers.clear()
    bench.alive(*bench.peers)
    assert (here[0], "deadline") in bench.timers
    bench.contribute(away)
    for peer in here:
        bench.fire(peer, "resend")
    bench.persist_until(lambda: bench.committed() == [1, 1, 1], everything)
    assert len(result_of(bench, 1).inputs) == 3
