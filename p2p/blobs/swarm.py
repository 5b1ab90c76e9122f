"""Which chunk to ask of whom next: the bookkeeping of one fetch, without I/O.

It is fed answers and the time and says what to do (:meth:`Swarm.next`): ask a source what it
holds, get a chunk from it, or stop waiting for one. Rarest chunks go first, each node breaking
ties in an order of its own, so that nodes fetching the same blob soon have something to give to
one another and its first holder sends little more than one copy (the rule of BitTorrent: Cohen,
"Incentives Build Robustness in BitTorrent", 2003). Sets of chunks are bit masks: bit ``i`` is
chunk ``i``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from p2p.limits import (
    BLOB_RETRY_MAX,
    BLOB_RETRY_MIN,
    BLOB_TRIES_PER_SOURCE,
    BUSY_PAUSE,
    HOLDINGS_INTERVAL,
    MAX_ASKS_FOR_ONE_CHUNK,
    MAX_CHUNKS_UNDER_WAY,
    MAX_CHUNKS_UNDER_WAY_PER_SOURCE,
    MAX_PAUSES,
    MAX_SOURCES,
    SLOW_CHUNK_FACTOR,
    SLOW_CHUNK_SECONDS,
)

_RECENT: Final = 0.25
"""Weight of the newest chunk in the running mean of how long one takes."""


@dataclass(frozen=True)
class Ask:
    """Ask a source what it holds of the blob."""

    peer: str


@dataclass(frozen=True)
class Get:
    """Get one chunk from a source."""

    peer: str
    index: int


@dataclass(frozen=True)
class Drop:
    """Stop waiting for a chunk of a source: another one was faster, or this one lied."""

    peer: str
    index: int


Step = Ask | Get | Drop


@dataclass
class _Source:
    have: int = 0
    asking: bool = False
    ask_at: float = 0.0
    get_at: float = 0.0
    under_way: dict[int, float] = field(default_factory=dict)
    fruitless: int = 0
    failures: int = 0
    pauses: int = 0
    overtaken: int = 0


class Swarm:
    """Fetches ``count`` chunks from sources that come and go.

    ``salt`` tells this node from others that fetch the same. ``have`` are the chunks that are
    here already. Until :attr:`listed` is set (the list of chunks is known and checked) sources are
    only asked. Times are seconds of one monotonic clock.
    """

    def __init__(self, count: int, salt: str, *, have: int = 0, listed: bool = False) -> None:
        self.count = count
        self.have = have
        self.listed = listed
        self.banned: set[str] = set()
        self.twice = 0
        self._all = (1 << count) - 1
        self._salt = salt
        self._places = [_spread(salt, "", index) for index in range(count)]
        self._order: list[int] | None = None
        self._sources: dict[str, _Source] = {}
        self._drops: list[Drop] = []
        self._chunk_seconds: float | None = None

    # --- looking -----------------------------------------------------------------------------
    @property
    def missing(self) -> int:
        return self._all & ~self.have

    @property
    def done(self) -> bool:
        return not self.missing

    @property
    def exhausted(self) -> bool:
        """Whether every source was asked often enough and none has what is missing."""
        return not self.done and all(
            peer in self.banned
            or (
                source.fruitless >= BLOB_TRIES_PER_SOURCE
                and not source.asking
                and not source.under_way
                and not source.have & self.missing
            )
            for peer, source in self._sources.items()
        )

    # --- events ------------------------------------------------------------------------------
    def on_sources(self, peers: Iterable[str]) -> None:
        """Names members worth asking, best first; those known already are kept."""
        for peer in peers:
            if len(self._sources) - len(self.banned) >= MAX_SOURCES:
                return
            self._sources.setdefault(peer, _Source())

    def expect(self, peer: str) -> None:
        """``peer`` most likely has all of it: it need not be asked first."""
        self._holds(self._sources.setdefault(peer, _Source()), self._all)

    def on_holdings(self, peer: str, have: int, now: float) -> None:
        """A source said which chunks it holds."""
        source = self._sources[peer]
        source.asking = False
        source.failures = 0
        source.ask_at = now + HOLDINGS_INTERVAL
        self._holds(source, have)
        if not source.have & self.missing:
            source.fruitless += 1

    def on_chunk(self, peer: str, index: int, now: float, have: int | None = None) -> None:
        """A chunk came and is what it should be; ``have`` is what its source holds by now."""
        source = self._sources[peer]
        began = source.under_way.pop(index, now)
        source.failures = source.pauses = source.overtaken = 0
        if have is not None:
            self._holds(source, have)
        took = now - began
        mean = took if self._chunk_seconds is None else self._chunk_seconds
        self._chunk_seconds = mean + _RECENT * (took - mean)
        if self.have >> index & 1:
            self.twice += 1
        self.have |= 1 << index
        for other, slower in self._sources.items():
            slower.fruitless = 0
            if slower.under_way.pop(index, None) is not None:
                slower.overtaken += 1
                self._drops.append(Drop(other, index))

    def on_lie(self, peer: str, index: int | None = None) -> None:
        """A source sent wrong bytes (of chunk ``index``) or a wrong list: it is not asked again
        for this blob."""
        self.banned.add(peer)
        source = self._sources[peer]
        if index is not None:
            source.under_way.pop(index, None)
        self._drops += [Drop(peer, index) for index in source.under_way]
        source.under_way.clear()
        source.asking = False
        self._holds(source, 0)

    def on_busy(self, peer: str, index: int, now: float) -> None:
        """A source has no room for us at the moment."""
        source = self._sources[peer]
        source.pauses += 1
        if source.pauses % MAX_PAUSES == 0:
            self.on_failure(peer, index, now)
            return
        source.under_way.pop(index, None)
        source.get_at = now + BUSY_PAUSE * (0.5 + self._jitter(peer, source.pauses))

    def on_absent(self, peer: str, index: int | None, now: float) -> None:
        """A source has nothing of the blob, or (``index``) no longer this chunk."""
        source = self._sources[peer]
        self._holds(source, 0)
        source.fruitless += 1
        source.ask_at = now + HOLDINGS_INTERVAL
        if index is None:
            source.asking = False
        else:
            source.under_way.pop(index, None)

    def on_failure(self, peer: str, index: int | None, now: float) -> None:
        """A question or (``index``) a transfer broke off."""
        source = self._sources[peer]
        self._holds(source, 0)
        source.fruitless += 1
        if index is None:
            source.asking = False
        else:
            source.under_way.pop(index, None)
        pause = min(BLOB_RETRY_MIN * 2**source.failures, BLOB_RETRY_MAX)
        source.failures += 1
        source.ask_at = source.get_at = now + pause

    # --- what to do --------------------------------------------------------------------------
    def next(self, now: float) -> list[Step]:
        """What is to be done now; each step is answered by one event (a Drop by none)."""
        steps: list[Step] = [*self._drops]
        self._drops.clear()
        if not self.done:
            steps += self._asks(now)
            if self.listed:
                steps += self._gets(now)
        return steps

    def wait(self, now: float) -> float:
        """Seconds after which :meth:`next` may say something new without any event."""
        times = [now + HOLDINGS_INTERVAL]
        for peer, source in self._sources.items():
            if peer in self.banned:
                continue
            if not source.asking and self._worth_asking(source):
                times.append(source.ask_at)
            if source.have & self.missing:
                times.append(source.get_at)
        return max(0.0, min(t for t in times if t > now) - now)

    # --- inside ------------------------------------------------------------------------------
    def _holds(self, source: _Source, have: int) -> None:
        if source.have != have & self._all:
            source.have = have & self._all
            self._order = None

    def _useful(self) -> Iterator[tuple[str, _Source]]:
        return (item for item in self._sources.items() if item[0] not in self.banned)

    def _worth_asking(self, source: _Source) -> bool:
        return not self.listed or bool(self.missing & ~source.have)

    def _asks(self, now: float) -> Iterator[Ask]:
        promised = any(source.have & self.missing for _, source in self._useful())
        if self.count == 1 and promised:
            return
        free = len(self._sources)
        if self.count == 1:
            free = MAX_ASKS_FOR_ONE_CHUNK - sum(source.asking for source in self._sources.values())
        for peer, source in self._useful():
            if free <= 0:
                return
            if not source.asking and now >= source.ask_at and self._worth_asking(source):
                source.asking = True
                free -= 1
                yield Ask(peer)

    def _gets(self, now: float) -> Iterator[Get]:
        while self._in_time(now) < MAX_CHUNKS_UNDER_WAY:
            get = self._best(now)
            if get is None:
                return
            self._sources[get.peer].under_way[get.index] = now
            yield get

    def _in_time(self, now: float) -> int:
        """Chunks under way, without those that have become late: silence must not block others."""
        return sum(
            now - began <= self._patience
            for source in self._sources.values()
            for began in source.under_way.values()
        )

    def _is_slow(self, source: _Source, now: float) -> bool:
        """Whether a source keeps us waiting, or did until another one was faster."""
        late = any(now - began > self._patience for began in source.under_way.values())
        return late or source.overtaken > 0

    @property
    def _patience(self) -> float:
        return max(SLOW_CHUNK_SECONDS, SLOW_CHUNK_FACTOR * (self._chunk_seconds or 0.0))

    def _rarest_first(self) -> list[int]:
        """Missing chunks, those with the fewest holders first; kept while holders stay the same."""
        if self._order is None:
            masks = [source.have for _, source in self._useful()]
            holders = [sum(mask >> i & 1 for mask in masks) for i in range(self.count)]
            missing = (i for i in range(self.count) if self.missing >> i & 1)
            self._order = sorted(missing, key=lambda i: (holders[i], self._places[i]))
        return self._order

    def _best(self, now: float) -> Get | None:
        idle = [  # Who keeps us waiting already comes last.
            (self._is_slow(source, now), len(source.under_way), self._jitter(peer, 0), peer)
            for peer, source in self._useful()
            if now >= source.get_at
            and len(source.under_way) < MAX_CHUNKS_UNDER_WAY_PER_SOURCE
            and source.have & self.missing
        ]
        claimed = self._claimed()
        for slow in (False, True):
            for *_, peer in sorted(idle):
                source = self._sources[peer]
                for index in self._rarest_first():
                    if not source.have & self.missing & 1 << index:
                        continue
                    began = claimed.get(index)
                    if began is None or (slow and self._is_late(source, index, began, now)):
                        return Get(peer, index)
        return None

    def _claimed(self) -> dict[int, list[float]]:
        claimed: dict[int, list[float]] = {}
        for source in self._sources.values():
            for index, began in source.under_way.items():
                claimed.setdefault(index, []).append(began)
        return claimed

    def _is_late(self, source: _Source, index: int, began: list[float], now: float) -> bool:
        """Whether a chunk that others are sending is worth asking of one more source."""
        return index not in source.under_way and now - max(began) > self._patience

    def _jitter(self, peer: str, count: int) -> float:
        return _spread(self._salt, peer, count) / (1 << 32)


def _spread(salt: str, peer: str, count: int) -> int:
    """A number below 2**32 that differs between nodes."""
    digest = hashlib.sha256(f"{salt}|{peer}|{count}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def to_mask(data: bytes | bytearray) -> int:
    """The set of chunks in its form on the wire: bit ``i`` of byte ``i // 8``."""
    return int.from_bytes(data, "little")


def from_mask(mask: int, count: int) -> bytes:
    return mask.to_bytes(-(-count // 8), "little")
