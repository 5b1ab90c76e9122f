"""What must hold whatever fails while a blob is fetched.

B1 a node has, serves and completes right bytes only; B2 what is on its disk is recognised after a
restart and does not come again; B3 nobody asks a liar a second time in one fetch; B4 nobody asks
one source for, or sends to all together, more than is allowed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from p2p.blobs.swarm import Ask, Get
from p2p.blobs.uploads import Upload
from p2p.limits import (
    MAX_CHUNKS_UNDER_WAY_PER_SOURCE,
    MAX_TRANSFERS_PER_PEER,
    UPLOAD_PATIENCE,
    UPLOAD_WINDOW_BYTES,
)

if TYPE_CHECKING:
    from p2p.sim.swarm import Content, Node

MAX_TWICE: Final = 3
"""Chunks that may come to one node although it has them."""


class SwarmViolation(Exception):
    """An invariant does not hold. The message names it and the node."""

    def __init__(self, invariant: str, detail: str) -> None:
        super().__init__(f"{invariant}: {detail}")
        self.invariant = invariant


class Invariants:
    """Watches what honest nodes do across their crashes."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.twice: Counter[str] = Counter()
        self._there: defaultdict[str, set[int]] = defaultdict(set)
        self._lied: dict[str, tuple[int, set[str]]] = {}
        self._uploads: defaultdict[str, list[Upload]] = defaultdict(list)

    def on_step(self, node: Node, step: Ask | Get) -> None:
        fetch, liars = self._lied.get(node.name, (0, set()))
        _demand("B3", fetch != node.fetch or step.peer not in liars, node.name, step)
        if isinstance(step, Get):
            same = sum(peer == step.peer for peer, _ in node.gets)
            _demand("B4", same < MAX_CHUNKS_UNDER_WAY_PER_SOURCE, node.name, step)

    def on_lie(self, node: Node, peer: str) -> None:
        fetch, liars = self._lied.get(node.name, (node.fetch, set()))
        known = liars if fetch == node.fetch else set()
        self._lied[node.name] = (node.fetch, {*known, peer})

    def on_upload(self, giver: str, upload: Upload, now: float) -> None:
        under_way = self._uploads[giver]
        under_way.append(upload)
        mine = sum(other.peer == upload.peer for other in under_way)
        _demand("B4", mine <= MAX_TRANSFERS_PER_PEER, giver, f"sends too much to {upload.peer}")
        counted = [other.size for other in under_way if now - other.began < UPLOAD_PATIENCE]
        fits = len(counted) == 1 or sum(counted) <= UPLOAD_WINDOW_BYTES
        _demand("B4", fits, giver, "sends too much at once")

    def on_upload_end(self, giver: str, upload: Upload) -> None:
        if upload in self._uploads[giver]:
            self._uploads[giver].remove(upload)

    def on_restart(self, giver: str) -> None:
        """Its connections are gone."""
        self._uploads[giver].clear()

    def on_served(self, node: Node, index: int, data: bytes) -> None:
        _demand("B1", data == self._content.chunk(index), node.name, f"serves chunk {index}")

    def on_chunk(self, node: Node, index: int, *, again: bool) -> None:
        again = again or index in self._there[node.name]
        self._there[node.name].add(index)
        self.twice[node.name] += again
        _demand("B2", self.twice[node.name] <= MAX_TWICE, node.name, "fetched too much again")

    def on_opened(self, node: Node) -> None:
        assert node.partial is not None
        data = node.file.read_bytes()
        right = {i for i in range(self._content.ref.count) if self._is_right(data, i)}
        had = {i for i in range(self._content.ref.count) if node.partial.have >> i & 1}
        _demand("B1", had <= right, node.name, "believes wrong bytes of its disk")
        self._there[node.name] &= right  # The rest was lost with the power, or rotted.

    def on_complete(self, node: Node) -> None:
        whole = node.file.read_bytes() == self._content.data
        _demand("B1", whole, node.name, "completed another blob")

    def at_the_end(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            self.on_complete(node)

    def _is_right(self, data: bytes, index: int) -> bool:
        span = self._content.ref.span(index)
        return data[span.start : span.stop] == self._content.chunk(index)


def _demand(invariant: str, holds: bool, name: str, detail: object) -> None:
    if not holds:
        raise SwarmViolation(invariant, f"{name} {detail}")
