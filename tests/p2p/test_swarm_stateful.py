"""Hypothesis plays the sources of a fetch, and the members that ask for uploads, in any order."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from p2p.blobs.swarm import Ask, Drop, Get, Swarm
from p2p.blobs.uploads import Upload, Uploads
from p2p.limits import (
    MAX_CHUNKS_UNDER_WAY,
    MAX_CHUNKS_UNDER_WAY_PER_SOURCE,
    MAX_SOURCES,
    MAX_TRANSFERS_PER_PEER,
    SLOW_CHUNK_SECONDS,
    UPLOAD_PATIENCE,
    UPLOAD_TURN,
)

CHUNKS = 9
EVERYTHING = (1 << CHUNKS) - 1
PEERS = [f"peer{number}" for number in range(5)]
WINDOW = 8
RELIABLE = "the first holder"
ENOUGH = 500
"""Steps within which an honest source gives everything, whatever went before."""


class Fetch(RuleBasedStateMachine):
    """One fetch; each question and each chunk under way is answered in some way, some day."""

    def __init__(self) -> None:
        super().__init__()
        self.swarm = Swarm(CHUNKS, "me")
        self.now = 0.0
        self.open: dict[Ask | Get, float] = {}
        self.had = 0

    # --- what the driver does --------------------------------------------------------------------
    @rule()
    def go_on(self) -> None:
        for step in self.swarm.next(self.now):
            if isinstance(step, Drop):
                self.open.pop(Get(step.peer, step.index), None)
                continue
            assert step.peer not in self.swarm.banned
            assert step not in self.open, "asked twice at once"
            if isinstance(step, Get):
                assert self.swarm.listed
                assert not self.swarm.have >> step.index & 1, "asked for what is here"
            self.open[step] = self.now

    @rule(seconds=st.sampled_from((0.05, 1.0, SLOW_CHUNK_SECONDS + 0.1, 60.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(peers=st.lists(st.sampled_from(PEERS), unique=True))
    def meet(self, peers: list[str]) -> None:
        self.swarm.on_sources(peers)

    # --- what sources do -------------------------------------------------------------------------
    def _take(self, data: st.DataObject, kind: type[Ask] | type[Get]) -> Ask | Get:
        step = data.draw(st.sampled_from([s for s in self.open if isinstance(s, kind)]))
        del self.open[step]
        return step

    def _asked(self, kind: type[Ask] | type[Get]) -> bool:
        return any(isinstance(step, kind) for step in self.open)

    @precondition(lambda self: self._asked(Ask))
    @rule(data=st.data(), have=st.integers(0, EVERYTHING))
    def tell(self, data: st.DataObject, have: int) -> None:
        step = self._take(data, Ask)
        if have:
            self.swarm.listed = True
            self.swarm.on_holdings(step.peer, have, self.now)
        else:
            self.swarm.on_absent(step.peer, None, self.now)

    @precondition(lambda self: self._asked(Get))
    @rule(data=st.data(), have=st.none() | st.integers(0, EVERYTHING))
    def give(self, data: st.DataObject, have: int | None) -> None:
        step = self._take(data, Get)
        assert isinstance(step, Get)
        self.swarm.on_chunk(step.peer, step.index, self.now, have)

    @precondition(lambda self: self._asked(Get))
    @rule(data=st.data(), how=st.sampled_from(("busy", "absent", "failure")))
    def refuse(self, data: st.DataObject, how: str) -> None:
        step = self._take(data, Get)
        assert isinstance(step, Get)
        event = getattr(self.swarm, f"on_{how}")
        event(step.peer, step.index, self.now)

    @precondition(lambda self: self._asked(Ask))
    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        self.swarm.on_failure(self._take(data, Ask).peer, None, self.now)

    @precondition(lambda self: self._asked(Get))
    @rule(data=st.data())
    def lie(self, data: st.DataObject) -> None:
        step = self._take(data, Get)
        assert isinstance(step, Get)
        self.swarm.on_lie(step.peer, step.index)
        self.open = {s: at for s, at in self.open.items() if s.peer != step.peer}

    # --- what must hold --------------------------------------------------------------------------
    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.swarm.have & self.had == self.had
        self.had = self.swarm.have

    @invariant()
    def nobody_is_overrun(self) -> None:
        gets = {step: at for step, at in self.open.items() if isinstance(step, Get)}
        of_each = Counter(step.peer for step in gets)
        assert all(count <= MAX_CHUNKS_UNDER_WAY_PER_SOURCE for count in of_each.values())
        young = [at for at in gets.values() if self.now - at <= SLOW_CHUNK_SECONDS]
        assert len(young) <= MAX_CHUNKS_UNDER_WAY
        assert len(of_each) <= MAX_SOURCES

    @invariant()
    def it_never_sleeps_for_ever(self) -> None:
        assert 0.0 <= self.swarm.wait(self.now) <= 60.0

    def teardown(self) -> None:
        """An honest holder turns up. Nobody else ever says another word."""
        self.swarm.on_sources([RELIABLE])
        for _ in range(ENOUGH):
            self.go_on()
            if self.swarm.done:
                return
            of_it = [step for step in self.open if step.peer == RELIABLE]
            for step in of_it:
                self.open.pop(step, None)
                if isinstance(step, Ask):
                    self.swarm.listed = True
                    self.swarm.on_holdings(RELIABLE, EVERYTHING, self.now)
                elif not self.swarm.have >> step.index & 1:
                    self.swarm.on_chunk(RELIABLE, step.index, self.now, EVERYTHING)
            self.now += max(0.01, self.swarm.wait(self.now))
        raise AssertionError(f"{bin(self.swarm.missing)} is still missing")


class Sending(RuleBasedStateMachine):
    """What one member sends, to members that ask as often as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.uploads = Uploads(window=WINDOW)
        self.now = 0.0
        self.open: list[Upload] = []

    @rule(peer=st.sampled_from(PEERS), size=st.integers(1, WINDOW + 2))
    def ask(self, peer: str, size: int) -> None:
        mine = sum(upload.peer == peer for upload in self.open)
        young = sum(u.size for u in self.open if self.now - u.began < UPLOAD_PATIENCE)
        upload = self.uploads.begin(peer, size, self.now)
        if upload is None:
            return
        assert mine < MAX_TRANSFERS_PER_PEER
        assert not young or young + size <= WINDOW
        self.open.append(upload)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        upload = data.draw(st.sampled_from(self.open))
        self.open.remove(upload)
        self.uploads.end(upload)

    @rule(seconds=st.sampled_from((0.01, UPLOAD_TURN, UPLOAD_PATIENCE)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def it_is_counted(self) -> None:
        assert len(self.uploads) == len(self.open)

    def teardown(self) -> None:
        """Whoever has nothing gets its turn, however many others never read what they asked for."""
        self.now += max(UPLOAD_PATIENCE, UPLOAD_TURN)
        assert self.uploads.begin("newcomer", WINDOW, self.now) is not None


RUN = settings(max_examples=60, stateful_step_count=60)
TestFetch = Fetch.TestCase
TestFetch.settings = RUN
TestSending = Sending.TestCase
TestSending.settings = RUN
