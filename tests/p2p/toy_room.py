"""A room of real peers on loopback whose workload is ten lines of arithmetic on text files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from p2p.addresses import Address
from p2p.blobs.chunks import describe
from p2p.envelope import Envelope, seal_genesis
from p2p.errors import BlobUnavailable
from p2p.identity import Identity
from p2p.peer import Peer
from p2p.room import Genesis, Member, Plan, Policy
from p2p.rounds.state import Timing
from p2p.workload import Input, Verdict

FAST = Timing(base=2.0, grace=0.2, dead_leader=0.2, resend=0.5)
PATIENT = Timing(base=20.0, grace=0.2, dead_leader=0.2, resend=0.5)
"""For rooms in which nobody may be taken for dead because this machine is busy."""
INITIAL = b"0"
INITIAL_SHA256 = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
WAIT_SECONDS = 120.0


class ToyWorkload:
    """Contributions are integers in text; the result is the previous plus their weighted sum."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.applied: list[tuple[int, int]] = []

    async def check(self, path: Path, plan: Plan) -> Verdict:
        text = read_text(path)
        return Verdict(True) if text.isdigit() else Verdict(False, "not a number")

    async def combine(self, inputs: Sequence[Input], plan: Plan, previous: Path) -> Path:
        total = int(read_text(previous)) + sum(
            int(read_text(item.path)) * item.weight for item in inputs
        )
        return self._write(total)

    async def apply(self, path: Path, round_number: int) -> None:
        self.applied.append((round_number, int(read_text(path))))

    def _write(self, number: int) -> Path:
        self.scratch.mkdir(parents=True, exist_ok=True)
        path = self.scratch / "result"
        path.write_text(str(number))
        return path


def read_text(path: Path) -> str:
    return path.read_text()


def identity(index: int) -> Identity:
    return Identity.from_seed(bytes([index + 1]) * 32)


def toy_genesis(
    count: int,
    *,
    rounds: int = 3,
    deadline_ms: int = 20_000,
    quorum: str = "majority",
    min_contributions: int = 1,
) -> Envelope:
    founder = identity(0)
    genesis = Genesis(
        room_name="toy",
        created_ms=0,
        admins=[founder.peer_id],
        policy=Policy.model_validate({"quorum": quorum}),
        members=[Member.of(identity(i), f"node {i}") for i in range(count)],
        plan=Plan(
            rounds=rounds,
            deadline_ms=deadline_ms,
            min_contributions=min_contributions,
            task={},
        ),
        initial_blob=INITIAL_SHA256,
        initial_size=len(INITIAL),
        initial_chunks=describe(INITIAL).chunks,
        nonce="0" * 32,
    )
    return seal_genesis(founder, genesis.to_bytes())


class ToyNode:
    """A peer that trains for ``training`` seconds: in round ``r`` node ``i`` contributes
    ``10 r + i``. ``key`` is the number of its identity, where that is not its own."""

    def __init__(
        self,
        root: Path,
        index: int,
        genesis: Envelope,
        *,
        training: float = 0.0,
        key: int | None = None,
        **options: Any,
    ) -> None:
        self.index = index
        self.training = training
        self.directory = root / f"node{index}"
        self.events: list[dict[str, Any]] = []
        self.workload = ToyWorkload(self.directory / "scratch")
        self.text: Callable[[int], str] = lambda round_number: str(10 * round_number + index)
        self.trained: list[int] = []
        self.peer = Peer(
            self.directory / "room",
            identity(index if key is None else key),
            genesis,
            self.workload,
            emit=self._emit,
            **{"timing": FAST, "host": "127.0.0.1", "interfaces": ["127.0.0.1"], **options},
        )
        self._training: asyncio.Task[None] | None = None

    def _emit(self, type: str, /, **fields: object) -> None:
        self.events.append({"type": type, **fields})

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    @property
    def id(self) -> str:
        return self.peer.identity.peer_id

    async def start(self, *, train: bool = True) -> None:
        await self.peer.start()
        if self.index == 0:
            await self.peer.provide(INITIAL)
        if train:
            self.begin_training()

    def begin_training(self) -> None:
        self._training = asyncio.create_task(self._train())

    async def _train(self) -> None:
        while not self.peer.done:
            number = self.peer.round
            if not self.peer.contributed(number) and await self._has_previous():
                self.trained.append(number)
                await asyncio.sleep(self.training)
                path = self.directory / "trained"
                path.write_text(self.text(number))
                await self.peer.contribute(
                    path, round_number=number, samples=self.index + 1, steps=1
                )
            await asyncio.sleep(0.02)

    async def _has_previous(self) -> bool:
        try:
            await self.peer.previous()
        except BlobUnavailable:
            return False
        return True

    async def stop(self) -> None:
        if self._training is not None:
            self._training.cancel()
            await asyncio.gather(self._training, return_exceptions=True)
        await self.peer.stop()

    def knows(self, others: Iterable[ToyNode]) -> None:
        """Addresses by hand, for tests that are not about discovery."""
        for other in others:
            if other is not self:
                self.peer._book.hint(other.id, [Address("127.0.0.1", other.peer.port)])


async def until(condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Waits for a condition; a test that needs longer than this has failed."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
