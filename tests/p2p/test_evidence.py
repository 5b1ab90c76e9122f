"""Proofs of what members did that nobody honest does: kept within bounds, whatever is proven."""

from __future__ import annotations

import pytest
from core_bench import Bench, everything, kind_is_not

from p2p.messages import (
    Contribution,
    Evidence,
    Proposal,
    Vote,
    parse,
    parse_result,
)
from p2p.rounds import voting
from p2p.rounds.effects import Accused, Persist
from p2p.rounds.voting import MAX_PROOFS_PER_MEMBER
from p2p.sim.parts import SimSigner, contribution_blob


def proofs_of(bench: Bench, peer: str) -> list[Evidence]:
    records = [e.record for p, e in bench.effects if p == peer and isinstance(e, Persist)]
    return [record.evidence for record in records if isinstance(record, Accused)]


def variants(bench: Bench, author: str, count: int) -> tuple[str, ...]:
    """Contributions of one author to the first round, as others quote them."""
    core = bench.cores[author]
    blob = contribution_blob(author, 1, core.head, False)
    first = Contribution(
        peer=author, round=1, parent=core.head, plan=core.facts.plan_hash, blob=blob.sha256,
        size=blob.size, chunks=blob.chunks, samples=1, steps=1,
    )  # fmt: skip
    each = (first.model_copy(update={"samples": number}) for number in range(1, count + 1))
    return tuple(bench.signer(author).seal(message).to_bytes().decode() for message in each)


def wrong_proposal(bench: Bench, liar: str) -> Proposal:
    """What a leader whose sums are wrong would propose."""
    bench.bad_arithmetic.add(liar)
    bench.contribute()
    bench.deliver(kind_is_not("proposal"))
    envelope = bench.disks[liar].proposals[0]
    proposal = parse(envelope.type, envelope.payload)
    assert isinstance(proposal, Proposal)
    return proposal


@pytest.mark.parametrize("count", [10, 300, 500])
def test_a_false_proposal_of_any_length_stops_no_voter(count: int) -> None:
    bench = Bench(4, rule="two_thirds")
    liar, *voters = bench.order
    proposal = wrong_proposal(bench, liar)
    quoted = proposal.contributions + variants(bench, liar, count)
    long = proposal.model_copy(update={"contributions": quoted})
    sealed = bench.signer(liar).seal(long)
    for voter in voters:
        bench.hand_over((liar, voter, sealed))
        assert [proof.offence for proof in proofs_of(bench, voter)] == ["wrong_result"]
    bench.persist_until(lambda: bench.committed() == [1] * 4, everything)


def test_a_proof_too_long_to_be_read_again_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voting, "MAX_PROOF_TEXT", 1000)
    bench = Bench(4, rule="two_thirds")
    liar, voter, *_ = bench.order
    sealed = bench.signer(liar).seal(wrong_proposal(bench, liar))
    bench.hand_over((liar, voter, sealed))
    assert not bench.disks[voter].evidence
    assert bench.refused[-1] == (voter, "wrong_result: one more proof is not kept")


def test_a_proposal_with_blanks_is_refused() -> None:
    bench = Bench(4, rule="two_thirds")
    liar, voter, *_ = bench.order
    bench.contribute()
    bench.deliver(kind_is_not("proposal"))
    envelope = bench.disks[liar].proposals[0]
    proposal = parse(envelope.type, envelope.payload)
    assert isinstance(proposal, Proposal)
    spaced = proposal.model_copy(update={"body": proposal.body.replace("{", "{ ", 1)})
    assert parse_result(spaced.body) == parse_result(proposal.body)
    bench.hand_over((liar, voter, bench.signer(liar).seal(spaced)))
    assert bench.refused[-1] == (voter, "a result is not written as results are")
    assert not bench.disks[voter].votes


def double_vote(bench: Bench, accused: str, number: int = 1) -> Evidence:
    signer = SimSigner(accused)
    votes = [Vote(attempt=0, phase="prepare", round=number, value=v * 64) for v in "ab"]
    first, second = (signer.seal(vote).to_bytes().decode() for vote in votes)
    return Evidence(
        offence="double_vote", accused=accused, round=number, first=first, second=second
    )


def test_proofs_against_invented_members_are_not_kept() -> None:
    bench = Bench(3)
    liar, other, _ = bench.order
    for letter in "mnopqrst":
        evidence = bench.signer(liar).seal(double_vote(bench, letter * 52))
        bench.hand_over((liar, other, evidence))
    assert not bench.disks[other].evidence


def test_of_one_member_only_so_many_proofs_are_kept() -> None:
    bench = Bench(3, rounds=MAX_PROOFS_PER_MEMBER + 3)
    liar, other, third = bench.order
    for number in range(1, MAX_PROOFS_PER_MEMBER + 3):
        evidence = bench.signer(liar).seal(double_vote(bench, liar, number))
        bench.hand_over((liar, other, evidence))
        bench.contribute()
        bench.persist_until(lambda n=number: bench.committed() == [n] * 3, everything)  # type: ignore[misc]
    assert len(bench.disks[other].evidence) == MAX_PROOFS_PER_MEMBER
    evidence = bench.signer(liar).seal(double_vote(bench, third, bench.cores[other].round))
    bench.hand_over((liar, other, evidence))
    assert len(bench.disks[other].evidence) == MAX_PROOFS_PER_MEMBER + 1
