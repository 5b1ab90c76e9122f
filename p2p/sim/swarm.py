"""Nodes that fetch one blob from one another over faulty links, under virtual time.

They use the product's bookkeeping as it is: :class:`p2p.blobs.swarm.Swarm` says what to ask of
whom, :class:`p2p.blobs.uploads.Uploads` whom to serve, :class:`p2p.blobs.chunks.ChunkList` which
bytes are right, and :class:`p2p.blobs.partial.Partial` keeps them in a file that survives a kill.
Blobs are small copies: :data:`SCALE` times fewer bytes are hashed and written than travel.
What fails is in :mod:`p2p.sim.swarm_faults`, what must hold in :mod:`p2p.sim.swarm_invariants`.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal

from p2p.blobs.chunks import BlobRef, ChunkList
from p2p.blobs.partial import SYNC_BYTES, Partial
from p2p.blobs.swarm import Ask, Drop, Get, Swarm
from p2p.blobs.uploads import Upload, Uploads
from p2p.errors import ProtocolError
from p2p.limits import (
    CHUNK_BYTES,
    CONNECT_TIMEOUT,
    MIN_TRANSFER_RATE,
    STREAM_CHUNK_BYTES,
    TRANSFER_GRACE,
)
from p2p.sim.links import Flow, Links
from p2p.sim.swarm_faults import Faults, Liar
from p2p.sim.swarm_invariants import Invariants

SMALL_CHUNK: Final = 64
SCALE: Final = CHUNK_BYTES // SMALL_CHUNK
RETRANSMISSION: Final = 0.2
"""Seconds that a lost packet costs at least (Linux: the least timeout of TCP)."""
STALLED: Final = TRANSFER_GRACE + STREAM_CHUNK_BYTES / MIN_TRANSFER_RATE
"""Seconds without enough progress after which a transfer breaks off."""
RETRY: Final = 1.0
"""Seconds until a fetch that failed is begun again."""

Kind = Literal["honest", Liar]


@dataclass(frozen=True)
class SmallBlob(BlobRef):
    """A blob whose chunks are ``SMALL_CHUNK`` bytes long."""

    @property
    def count(self) -> int:
        return max(1, -(-self.size // SMALL_CHUNK))

    def span(self, index: int) -> range:
        return range(index * SMALL_CHUNK, min(self.size, (index + 1) * SMALL_CHUNK))


@dataclass(frozen=True)
class Content:
    """The right bytes of the blob that everybody wants; ``size`` is what travels."""

    size: int

    @cached_property
    def data(self) -> bytes:
        count = -(-self.size // CHUNK_BYTES)
        chunks = (hashlib.sha512(str(index).encode()).digest() for index in range(count))
        return b"".join(chunks)[: max(1, self.size // SCALE)]

    @cached_property
    def chunks(self) -> ChunkList:
        parts = range(0, len(self.data), SMALL_CHUNK)
        return ChunkList(
            tuple(hashlib.sha256(self.data[at : at + SMALL_CHUNK]).digest() for at in parts)
        )

    @cached_property
    def ref(self) -> SmallBlob:
        digest = hashlib.sha256(self.data).hexdigest()
        return SmallBlob(digest, len(self.data), self.chunks.digest)

    def chunk(self, index: int) -> bytes:
        span = self.ref.span(index)
        return self.data[span.start : span.stop]


@dataclass(frozen=True)
class Network:
    """What to simulate. ``rate`` is in bytes per second, both ways, per node; ``latency`` in
    seconds one way; ``loss`` the share of exchanges that lose a packet. ``liars`` have a way each
    of not giving what they say they hold. Until ``calm`` machines and links fail.
    """

    takers: int = 15
    size: int = 64_000_000
    rate: float = 100e6 / 8
    rates: dict[str, float] = field(default_factory=dict)
    latency: float = 0.002
    loss: float = 0.0
    liars: tuple[Liar, ...] = ()
    calm: float = 0.0
    horizon: float = 3600.0
    only_first: bool = False
    """Nobody passes on what it has: what a hand-out by the aggregator alone costs."""
    silent_after: dict[str, float] = field(default_factory=dict)
    """Nodes that vanish at a time."""
    swarm: type[Swarm] = Swarm
    partial: type[Partial] = Partial
    uploads: type[Uploads] = Uploads


@dataclass(frozen=True)
class HandOut:
    """What happened. ``seconds`` until the last node had it, ``sent`` bytes by each node,
    ``twice`` the most chunks that came to one node although it had them."""

    seconds: float
    sent: dict[str, float]
    twice: int
    complete: bool
    faults: int


@dataclass(eq=False)
class Getting:
    """A chunk that was asked for; ``flow`` and ``upload`` once it is on its way."""

    step: Get
    flow: Flow | None = None
    upload: Upload | None = None


@dataclass(eq=False)
class Node:
    """A simulated machine. ``file`` survives; ``fetch`` counts the fetches that were begun."""

    name: str
    kind: Kind
    file: Path
    uploads: Uploads
    up: bool = True
    whole: bool = False
    fetch: int = 0
    wake: int = 0
    swarm: Swarm | None = None
    partial: Partial | None = None
    gets: dict[tuple[str, int], Getting] = field(default_factory=dict)
    unsynced: set[int] = field(default_factory=set)
    full_until: float = 0.0


class SwarmSimulation:
    """One execution, decided by its seed. Times are virtual seconds."""

    def __init__(self, network: Network, seed: int = 0) -> None:
        self.network = network
        self.content = Content(network.size)
        self.now = 0.0
        self.random = random.Random(seed)
        self.first = "giver"
        self.takers = [f"taker{i}" for i in range(network.takers)]
        liars = {f"liar{i}": kind for i, kind in enumerate(network.liars)}
        self._kinds: dict[str, Kind] = {
            **dict.fromkeys([self.first, *self.takers], "honest"),
            **liars,
        }
        self.nodes: dict[str, Node] = {}
        rates = {name: network.rates.get(name, network.rate) for name in self._kinds}
        self.rates = dict(rates)
        self.links = Links(rates)
        self.cut: set[frozenset[str]] = set()
        self.silent: set[str] = set()
        self.invariants = Invariants(self.content)
        self.faults = Faults(self)
        self._sent = dict.fromkeys(self._kinds, 0.0)
        self._sending: dict[Upload, Flow] = {}
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def run(self) -> HandOut:
        """Raises :class:`p2p.sim.swarm_invariants.SwarmViolation`."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="swarm-")))
            stack.callback(self._close)
            self._begin(folder)
            while self._later and not self._complete and self.now < self.network.horizon:
                arrival = self.links.next_arrival()
                if arrival <= self._later[0][0]:
                    self.now = max(self.now, arrival)
                    for flow in self.links.arrivals(self.now):
                        flow.arrived()
                else:
                    self.now, _, action = heapq.heappop(self._later)
                    action()
            self.invariants.at_the_end(node for node in self.nodes.values() if node.whole)
        twice = max(self.invariants.twice.values(), default=0)
        return HandOut(self.now, self._sent, twice, self._complete, self.faults.count)

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time, next(self._order), action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.at(self.now + seconds, action)

    def _begin(self, folder: Path) -> None:
        for name, kind in self._kinds.items():
            self.nodes[name] = Node(name, kind, folder / name, self.network.uploads())
        first = self.nodes[self.first]
        first.file.write_bytes(self.content.data)
        first.whole = True
        for name in self.takers:
            self.begin_fetch(self.nodes[name])
        for name, time in self.network.silent_after.items():
            self.at(time, lambda name=name: self.faults.vanish(self.nodes[name]))  # type: ignore[misc]
        self.faults.schedule()

    def missing(self) -> list[str]:
        """Who has not got all of it."""
        return [name for name in self.takers if not self.nodes[name].whole]

    def _close(self) -> None:
        for node in self.nodes.values():
            if node.partial is not None:
                node.partial.close()

    @property
    def _complete(self) -> bool:
        return (
            self.now >= self.network.calm
            and not {*self.missing()} - self.network.silent_after.keys()
        )

    # --- one node's fetch, as p2p.blobs.transfer does it -----------------------------------------
    def begin_fetch(self, node: Node) -> None:
        node.fetch += 1
        node.swarm = self.network.swarm(self.content.ref.count, f"{node.name} {node.fetch}")
        others = [name for name in self._kinds if name != node.name]
        if self.network.only_first:
            others = [self.first]
        else:
            self.random.shuffle(others)
        node.swarm.on_sources(others)
        self._advance(node)

    def end_fetch(self, node: Node) -> None:
        """What has come stays in the file."""
        node.fetch += 1
        node.swarm = None
        for getting in list(node.gets.values()):
            self._stop(node, getting)
        if node.partial is not None:
            node.partial.close()
            node.partial = None

    def _fail_fetch(self, node: Node) -> None:
        self.end_fetch(node)
        mine = node.fetch
        self.after(RETRY, lambda: self.begin_fetch(node) if node.fetch == mine else None)

    def _advance(self, node: Node) -> None:
        swarm = node.swarm
        if swarm is None:
            return
        if swarm.done:
            self._finish(node)
            return
        for step in swarm.next(self.now):
            self._act(node, step)
        if swarm.exhausted:
            self._fail_fetch(node)
            return
        node.wake += 1
        mine = node.wake
        self.after(swarm.wait(self.now), lambda: self._advance(node) if node.wake == mine else None)

    def _finish(self, node: Node) -> None:
        assert node.partial is not None
        self.end_fetch(node)
        node.whole = True
        node.unsynced.clear()
        self.invariants.on_complete(node)

    def _act(self, node: Node, step: Ask | Get | Drop) -> None:
        if isinstance(step, Drop):
            getting = node.gets.get((step.peer, step.index))
            if getting is not None:
                self._stop(node, getting)
            return
        peer, mine = self.nodes[step.peer], node.fetch
        self.invariants.on_step(node, step)

        def exchange(then: Callable[[], None]) -> Callable[[], None]:
            return lambda: then() if node.fetch == mine else None

        if isinstance(step, Ask):
            self._reach(
                node, peer, exchange(lambda: self._answer(node, peer)),
                exchange(lambda: self._on_failure(node, step.peer, None)),
            )  # fmt: skip
            return
        getting = Getting(step)
        node.gets[step.peer, step.index] = getting

        def live(then: Callable[[], None]) -> Callable[[], None]:
            key = (step.peer, step.index)
            return exchange(lambda: then() if node.gets.get(key) is getting else None)

        self._reach(
            node, peer, live(lambda: self._serve(node, peer, getting)),
            live(lambda: self._break(node, getting)),
        )  # fmt: skip

    def _reach(
        self, node: Node, peer: Node, then: Callable[[], None], fail: Callable[[], None]
    ) -> None:
        """A question and its answer: refused at once by a machine whose node is gone, after a
        while where nothing answers."""
        delay = 2 * self.network.latency
        while self.random.random() < self.network.loss:
            delay += RETRANSMISSION
        if self.hears(node, peer):
            self.after(delay, then if peer.up else fail)
        else:
            self.after(CONNECT_TIMEOUT, fail)

    def hears(self, node: Node, peer: Node) -> bool:
        apart = frozenset((node.name, peer.name)) in self.cut
        return not apart and not {node.name, peer.name} & self.silent

    def _answer(self, node: Node, peer: Node) -> None:
        assert node.swarm is not None
        have, listing = self._offer(peer)
        if not have:
            node.swarm.on_absent(peer.name, None, self.now)
        elif node.swarm.listed:
            node.swarm.on_holdings(peer.name, have, self.now)
        else:
            try:
                chunks = ChunkList.read(listing, self.content.ref)
            except ProtocolError:
                self._on_lie(node, peer.name, None)
            else:
                self._open(node, chunks)
                node.swarm.on_holdings(peer.name, have, self.now)
        self._advance(node)

    def _offer(self, peer: Node) -> tuple[int, bytes]:
        """What a node says it holds, as a mask and a list of chunks."""
        everything = (1 << self.content.ref.count) - 1
        listing = self.content.chunks.to_bytes()
        if peer.kind == "wrong list":
            return everything, bytes(len(listing))
        if peer.whole or peer.kind != "honest":
            return everything, listing
        return (peer.partial.have if peer.partial is not None else 0), listing

    def _open(self, node: Node, chunks: ChunkList) -> None:
        assert node.swarm is not None
        node.partial = self.network.partial(node.file, self.content.ref, chunks)
        node.partial.open()
        self.invariants.on_opened(node)
        node.swarm.have = node.partial.have
        node.swarm.listed = True

    # --- one chunk -------------------------------------------------------------------------------
    def _serve(self, node: Node, peer: Node, getting: Getting) -> None:
        assert node.swarm is not None
        index = getting.step.index
        size = len(self.content.ref.span(index)) * SCALE
        if peer.kind == "has nothing" or not self._offer(peer)[0] >> index & 1:
            self._drop(node, getting)
            node.swarm.on_absent(peer.name, index, self.now)
            self._advance(node)
            return
        if peer.kind != "always busy":
            getting.upload = self.admit(peer, node.name, size)
        if getting.upload is None:
            self._drop(node, getting)
            node.swarm.on_busy(peer.name, index, self.now)
        else:
            getting.flow = Flow(
                peer.name, node.name, size, lambda: self._arrive(node, peer, getting)
            )
            if peer.kind != "sends nothing":
                self.send(getting.upload, getting.flow)
            self._watch(node, getting)
        self._advance(node)

    def admit(self, giver: Node, taker: str, size: int) -> Upload | None:
        """Asks a node to send something; None: it sends enough already."""
        self._note_progress(giver)
        upload = giver.uploads.begin(taker, size, self.now)
        if upload is not None:
            self.invariants.on_upload(giver.name, upload, self.now)
        return upload

    def send(self, upload: Upload, flow: Flow) -> None:
        """Lets the bytes of an admitted upload move."""
        self._sending[upload] = flow
        self.links.begin(flow, self.now)

    def _note_progress(self, giver: Node) -> None:
        """Tells a node what moved of its uploads since it was told last."""
        self.links.advance(self.now)
        for upload, flow in self._sending.items():
            if flow.giver == giver.name and (size := int(flow.moved - flow.noted)):
                flow.noted += size
                giver.uploads.moved(upload, size, self.now)

    def release(self, giver: Node, upload: Upload) -> None:
        """What was sent, or will not be, leaves room for something else."""
        self._note_progress(giver)
        self._sending.pop(upload, None)
        giver.uploads.end(upload)
        self.invariants.on_upload_end(giver.name, upload)

    def _watch(self, node: Node, getting: Getting) -> None:
        """Breaks a transfer off that moves too slowly."""
        flow, key = getting.flow, (getting.step.peer, getting.step.index)
        assert flow is not None
        before = flow.moved

        def look() -> None:
            if node.gets.get(key) is not getting:
                return
            self.links.advance(self.now)
            if flow.moved - before < STREAM_CHUNK_BYTES:
                self._break(node, getting)
            else:
                self._watch(node, getting)

        self.after(STALLED, look)

    def _arrive(self, node: Node, peer: Node, getting: Getting) -> None:
        index = getting.step.index
        self._drop(node, getting)
        if node.swarm is None or node.partial is None:
            return
        if node.full_until > self.now:
            self._fail_fetch(node)
            return
        span = self.content.ref.span(index)
        if peer.kind == "honest":
            data = peer.file.read_bytes()[span.start : span.stop]
            self.invariants.on_served(peer, index, data)
        else:
            data = bytes(len(span))
        self._sent[peer.name] += len(span) * SCALE
        had = node.partial.have >> index & 1
        if not node.partial.write(index, data):
            self._on_lie(node, peer.name, index)
        else:
            self.invariants.on_chunk(node, index, again=bool(had))
            node.swarm.on_chunk(peer.name, index, self.now, self._offer(peer)[0])
            self._sync_sometimes(node, index)
        self._advance(node)

    def _sync_sometimes(self, node: Node, index: int) -> None:
        assert node.partial is not None
        node.unsynced.add(index)
        if len(node.unsynced) * CHUNK_BYTES >= SYNC_BYTES:
            node.partial.sync()
            node.unsynced.clear()

    def _on_lie(self, node: Node, peer: str, index: int | None) -> None:
        assert node.swarm is not None
        node.swarm.on_lie(peer, index)
        self.invariants.on_lie(node, peer)

    def _on_failure(self, node: Node, peer: str, index: int | None) -> None:
        assert node.swarm is not None
        if peer not in node.swarm.banned:
            node.swarm.on_failure(peer, index, self.now)
        self._advance(node)

    def _break(self, node: Node, getting: Getting) -> None:
        self._stop(node, getting)
        self._on_failure(node, getting.step.peer, getting.step.index)

    def _stop(self, node: Node, getting: Getting) -> None:
        """The taker hangs up."""
        if getting.flow is not None:
            self.links.stop(getting.flow, self.now)
            self._sent[getting.step.peer] += getting.flow.moved
        self._drop(node, getting)

    def _drop(self, node: Node, getting: Getting) -> None:
        del node.gets[getting.step.peer, getting.step.index]
        if getting.upload is not None:
            self.release(self.nodes[getting.step.peer], getting.upload)
            getting.upload = None

    # --- for faults ------------------------------------------------------------------------------
    def on_crash(self, node: Node, *, silently: bool) -> None:
        """The process is gone. Whoever was being served by it notices at once, or (``silently``,
        after a power cut) when nothing comes for too long."""
        node.up = False
        for getting in node.gets.values() if silently else ():
            self._forget_upload_later(getting)
        self.end_fetch(node)
        node.uploads = self.network.uploads()
        self._sending = {u: flow for u, flow in self._sending.items() if flow.giver != node.name}
        self.invariants.on_restart(node.name)
        self.faults.on_crash(node)
        for taker in self.nodes.values():
            for getting in [g for g in taker.gets.values() if g.step.peer == node.name]:
                getting.upload = None
                if getting.flow is None:
                    continue  # The question is still on its way.
                if silently:
                    self.links.stop(getting.flow, self.now)
                else:
                    self._break(taker, getting)

    def _forget_upload_later(self, getting: Getting) -> None:
        """Who sends to a machine without power notices when nothing is taken for too long."""
        giver, upload = self.nodes[getting.step.peer], getting.upload
        getting.upload = None
        if upload is not None:
            self.after(STALLED, lambda: self.release(giver, upload))


def hand_out(network: Network, seed: int = 0) -> HandOut:
    """Lets one node give a blob to all others and says how long it took."""
    return SwarmSimulation(network, seed).run()
