"""The bookkeeping of a fetch: everything comes, little comes twice, nobody is overrun."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p.blobs.swarm import Ask, Drop, Get, Swarm, from_mask, to_mask
from p2p.blobs.uploads import Upload, Uploads
from p2p.limits import (
    MAX_ASKS_FOR_ONE_CHUNK,
    MAX_CHUNKS_UNDER_WAY,
    MAX_CHUNKS_UNDER_WAY_PER_SOURCE,
    MAX_SOURCES,
    MIN_TRANSFER_RATE,
    SLOW_CHUNK_SECONDS,
    UPLOAD_PATIENCE,
    UPLOAD_PROBE,
    UPLOAD_WINDOW_BYTES,
)
from p2p.sim.swarm import Network, hand_out

BEHAVIOURS = ("honest", "lying", "flaky", "busy", "forgetful", "stuck")


@dataclass
class Crowd:
    """Sources that behave as they are told, driven in an order that a seed decides."""

    swarm: Swarm
    holdings: dict[str, int]
    behaviour: dict[str, str]
    seed: int
    now: float = 0.0
    pending: list[Ask | Get] = field(default_factory=list)
    began: dict[Get, float] = field(default_factory=dict)
    good: Counter[int] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def run(self, most: int = 3000) -> None:
        rng = random.Random(self.seed)
        self.swarm.on_sources(self.holdings)
        for _ in range(most):
            if self.swarm.done or self.swarm.exhausted:
                return
            self._take(self.swarm.next(self.now))
            movable = [s for s in self.pending if self._moves(s)]
            if movable and rng.random() < 0.8:
                step = rng.choice(movable)
                self.pending.remove(step)
                self._answer(step, rng)
            else:
                self.now += max(0.01, self.swarm.wait(self.now))
        raise AssertionError("neither done nor given up")

    def _moves(self, step: Ask | Get) -> bool:
        return isinstance(step, Ask) or self.behaviour[step.peer] != "stuck"

    def _take(self, steps: list[Ask | Get | Drop]) -> None:
        for step in steps:
            if isinstance(step, Drop):
                self.pending.remove(Get(step.peer, step.index))
                continue
            assert step.peer not in self.swarm.banned
            assert step not in self.pending, "asked twice at once"
            if isinstance(step, Get):
                assert self.swarm.listed
                assert not self.swarm.have >> step.index & 1, "asked for what is here"
                self.began[step] = self.now
            self.pending.append(step)
        gets = [s for s in self.pending if isinstance(s, Get)]
        in_time = [s for s in gets if self.now - self.began[s] <= SLOW_CHUNK_SECONDS]
        assert len(in_time) <= MAX_CHUNKS_UNDER_WAY
        assert all(
            n <= MAX_CHUNKS_UNDER_WAY_PER_SOURCE for n in Counter(s.peer for s in gets).values()
        )

    def _fails(self, peer: str, behaviour: str, rng: random.Random) -> bool:
        """Whether a member fails in its way now: twice at most, or giving it up would be right."""
        if self.behaviour[peer] != behaviour or self.faults[peer] == 2 or rng.random() < 0.5:
            return False
        self.faults[peer] += 1
        return True

    def _answer(self, step: Ask | Get, rng: random.Random) -> None:
        swarm, peer = self.swarm, step.peer
        if isinstance(step, Ask):
            if self._fails(peer, "flaky", rng):
                swarm.on_failure(peer, None, self.now)
            elif not self.holdings[peer]:
                swarm.on_absent(peer, None, self.now)
            else:
                swarm.listed = True
                swarm.on_holdings(peer, self.holdings[peer], self.now)
            return
        if self.behaviour[peer] == "lying":
            swarm.on_lie(peer, step.index)
        elif self._fails(peer, "flaky", rng):
            swarm.on_failure(peer, step.index, self.now)
        elif self._fails(peer, "busy", rng):
            swarm.on_busy(peer, step.index, self.now)
        elif self._fails(peer, "forgetful", rng):
            swarm.on_absent(peer, step.index, self.now)
        else:
            self.good[step.index] += 1
            swarm.on_chunk(peer, step.index, self.now, self.holdings[peer])


@st.composite
def crowds(draw: st.DrawFn) -> Crowd:
    count = draw(st.integers(1, 12))
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6))
    masks = st.integers(0, (1 << count) - 1)
    return Crowd(
        Swarm(count, "me", have=draw(masks) if count > 1 else 0),
        {name: draw(masks) for name in names},
        {name: draw(st.sampled_from(BEHAVIOURS)) for name in names},
        draw(st.integers(0, 1 << 30)),
    )


@settings(max_examples=300)
@given(crowds())
def test_a_fetch_ends_and_gets_whatever_somebody_reliable_holds(crowd: Crowd) -> None:
    for name, behaviour in crowd.behaviour.items():
        if behaviour == "stuck":
            crowd.behaviour[name] = "honest"
    reliable = crowd.swarm.have
    for name, mask in crowd.holdings.items():
        if crowd.behaviour[name] != "lying":
            reliable |= mask
    complete = reliable == (1 << crowd.swarm.count) - 1
    crowd.run()
    assert not complete or crowd.swarm.done
    assert crowd.swarm.done or crowd.swarm.exhausted
    assert all(count == 1 for count in crowd.good.values()), "nothing came twice"


@settings(max_examples=100)
@given(st.integers(1, 12), st.integers(0, 1 << 30), st.integers(1, 3))
def test_sources_that_stop_answering_cost_at_most_what_they_were_sending(
    count: int, seed: int, stuck: int
) -> None:
    everything = (1 << count) - 1
    names = ["honest", *(f"stuck{i}" for i in range(stuck))]
    behaviour = {name: name.rstrip("0123456789") for name in names}
    crowd = Crowd(Swarm(count, "me"), dict.fromkeys(names, everything), behaviour, seed)
    crowd.run()
    assert crowd.swarm.done
    assert all(times == 1 for times in crowd.good.values())


def test_the_rarest_chunk_goes_first() -> None:
    swarm = Swarm(4, "me")
    swarm.on_sources("abc")
    swarm.next(0.0)
    swarm.listed = True
    for peer, have in (("a", 0b1111), ("b", 0b1101), ("c", 0b1101)):
        swarm.on_holdings(peer, have, 0.0)
    gets = [step for step in swarm.next(0.0) if isinstance(step, Get)]
    assert next(get.index for get in gets if get.peer == "a") == 1


def test_nodes_that_fetch_the_same_begin_at_different_chunks() -> None:
    firsts = set()
    for salt in "abcdefgh":
        swarm = Swarm(64, salt, listed=True)
        swarm.expect("holder")
        firsts.add(next(s.index for s in swarm.next(0.0) if isinstance(s, Get)))
    assert len(firsts) > 4


def test_no_more_sources_are_asked_than_allowed() -> None:
    swarm = Swarm(2, "me")
    swarm.on_sources(f"peer{i}" for i in range(100))
    assert len(swarm.next(0.0)) == MAX_SOURCES


@given(st.integers(1, 1100), st.data())
def test_masks_survive_the_wire(count: int, data: st.DataObject) -> None:
    mask = data.draw(st.integers(0, (1 << count) - 1))
    assert to_mask(from_mask(mask, count)) == mask
    assert len(from_mask(mask, count)) == -(-count // 8)


# --- many nodes ------------------------------------------------------------------------------
def test_handing_out_to_many_takes_less_than_twice_as_long_as_to_one() -> None:
    network = Network()
    one, many = hand_out(Network(takers=1)), hand_out(network)
    assert many.seconds < 2 * one.seconds
    assert many.twice == 0
    assert many.sent["giver"] < 2 * network.size


def test_a_hand_out_survives_takers_that_vanish() -> None:
    """Those who stay get everything, although what others were sending them is lost."""
    gone = {"taker1": 1.0, "taker2": 1.5, "taker3": 2.0}
    result = hand_out(Network(takers=7, size=16_000_000, silent_after=gone))
    assert result.seconds < 10


# --- what is being sent ----------------------------------------------------------------------
def test_uploads_are_bounded_and_everybody_gets_a_turn() -> None:
    uploads, half = Uploads(), UPLOAD_WINDOW_BYTES // 2
    first, second = uploads.begin("ada", half, 0.0), uploads.begin("ada", half, 0.0)
    assert first is not None
    assert second is not None
    assert uploads.begin("bob", half, 0.1) is None
    uploads.end(first)
    assert uploads.begin("ada", half, 0.2) is None, "bob was sent away before"
    assert uploads.begin("bob", half, 0.3) is not None


def test_a_member_that_was_sent_away_and_left_does_not_block_others_for_long() -> None:
    uploads = Uploads(window=10)
    first = uploads.begin("ada", 10, 0.0)
    assert first is not None
    assert uploads.begin("gone", 10, 0.0) is None
    uploads.end(first)
    assert uploads.begin("ada", 5, 0.5) is not None
    assert uploads.begin("ada", 5, 0.6) is None
    assert uploads.begin("ada", 5, 1.1) is not None


def test_whoever_does_not_read_cannot_keep_the_line() -> None:
    uploads = Uploads()
    for name in ("eve", "mallory"):
        uploads.begin(name, UPLOAD_WINDOW_BYTES // 2, 0.0)
    assert uploads.begin("ada", 1000, 1.0) is None
    assert uploads.begin("ada", 1000, UPLOAD_PATIENCE) is not None


@pytest.mark.parametrize("slow", "ab")
def test_who_was_overtaken_is_asked_last(slow: str) -> None:
    swarm, fast = Swarm(64, "me", listed=True), "b" if slow == "a" else "a"
    for peer in "ab":
        swarm.expect(peer)
    for step in swarm.next(0.0):
        if isinstance(step, Get):
            swarm.on_chunk(fast, step.index, 1.0)
    gets = [step.peer for step in swarm.next(1.0) if isinstance(step, Get)]
    assert gets[:2] == [fast, fast]
    assert slow in gets, "as long as others are no better"


def streams(uploads: Uploads, count: int, now: float) -> list[Upload]:
    begun = [uploads.begin(f"member {i}", 1000, now) for i in range(count)]
    return [upload for upload in begun if upload is not None]


def test_a_limited_line_feeds_only_so_many_streams() -> None:
    uploads = Uploads(rate=4 * MIN_TRANSFER_RATE)
    under_way = streams(uploads, 5, 0.0)
    assert len(under_way) == 2
    uploads.end(under_way[0])
    assert len(streams(uploads, 5, 0.1)) == 1


def move(uploads: Uploads, under_way: list[Upload], rate: float, times: range) -> None:
    """Lets every upload move at ``rate`` bytes per second."""
    for now in times:
        for upload in under_way:
            uploads.moved(upload, int(rate), float(now))


def test_a_line_that_proves_slow_takes_fewer_streams_and_more_again_when_it_is_faster() -> None:
    uploads, patience = Uploads(), int(UPLOAD_PATIENCE)
    under_way = streams(uploads, 8, 0.0)
    assert len(under_way) == 8, "nothing is known of the line yet"
    move(uploads, under_way, MIN_TRANSFER_RATE / 2, range(1, patience + 1))
    for upload in under_way[2:]:
        assert uploads.begin("ada", 1000, patience + 0.5) is None
        uploads.end(upload)
    assert uploads.begin("ada", 1000, patience + 0.5) is None, "it feeds two"
    move(uploads, under_way[:2], 100 * MIN_TRANSFER_RATE, range(patience + 1, 2 * patience + 1))
    assert len(streams(uploads, 8, 2.0 * patience)) == 8


def test_slow_readers_do_not_keep_a_line_for_good() -> None:
    uploads, patience, probe = Uploads(), int(UPLOAD_PATIENCE), int(UPLOAD_PROBE)
    eve = streams(uploads, 4, 0.0)
    move(uploads, eve, MIN_TRANSFER_RATE / 4, range(1, patience + 1))
    assert uploads.begin("ada", 1000, patience + 0.5) is None
    move(uploads, eve, MIN_TRANSFER_RATE / 4, range(patience + 1, probe + 1))
    assert uploads.begin("ada", 1000, probe) is not None


def test_one_upload_is_always_admitted() -> None:
    assert Uploads(window=1).begin("ada", 1 << 30, 0.0) is not None


def test_a_small_blob_is_asked_for_in_few_places_at_a_time() -> None:
    peers = [f"member {number}" for number in range(10)]
    swarm = Swarm(1, "me", listed=True)
    swarm.on_sources(peers)
    asked: list[str] = []
    now = 0.0
    while len(set(asked)) < len(peers):
        steps = swarm.next(now)
        assert all(isinstance(step, Ask) for step in steps)
        assert len(steps) <= MAX_ASKS_FOR_ONE_CHUNK
        assert swarm.next(now) == [], "the others wait for an answer"
        for step in steps:
            asked.append(step.peer)
            swarm.on_failure(step.peer, None, now)
    swarm.expect(peers[0])
    assert all(step.peer == peers[0] for step in swarm.next(now + 60.0))
