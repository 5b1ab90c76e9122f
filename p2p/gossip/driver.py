"""The liveness core connected to the network: probes, answers, timers, and who wants to know."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from p2p import clock
from p2p.addresses import Address, AddressBook
from p2p.envelope import open_envelope, seal
from p2p.errors import P2PError, ProtocolError
from p2p.gossip.core import (
    Effect,
    HeadSeen,
    Liveness,
    LivenessCore,
    PeerHealth,
    Probe,
    StateChanged,
    Woke,
)
from p2p.gossip.hello import HELLO_TYPE, Hello, Status, parse_hello
from p2p.identity import Identity
from p2p.limits import LEAVE_TIMEOUT, PROBE_INTERVAL
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)

_TICKS_PER_INTERVAL: Final = 4


class HelloClient(Protocol):
    """What probing needs of :class:`p2p.client.PeerClient`."""

    async def hello(self, peer_id: str, data: bytes) -> bytes:
        """Sends our Hello, returns the answer. Raises NetworkError, TrustError."""
        ...

    def wake(self, peer_id: str) -> None:
        """The peer is there: what waits for it may go now."""
        ...

    async def reset(self) -> None:
        """Every open connection is probably dead."""
        ...


@dataclass(frozen=True)
class GossipListener:
    """Whom the driver tells. Calls come from the event loop and return quickly.

    ``peer_head(peer_id, round, head, attempt)`` for every newer Hello, ``peer_state(peer_id,
    before, after)`` on changes, ``woke(seconds)`` after this machine slept.
    """

    peer_head: Callable[[str, int, str, int], None] = lambda *_: None
    peer_state: Callable[[str, Liveness, Liveness], None] = lambda *_: None
    woke: Callable[[float], None] = lambda _: None


class Gossip:
    """Probes every member about once a second and knows who is there.

    ``incarnation`` must be greater than at any earlier start of this identity; ``port`` is our
    member port. :meth:`answer` serves the other side's probes and counts as hearing from it.
    """

    def __init__(
        self,
        identity: Identity,
        room_id: str,
        client: HelloClient,
        addresses: AddressBook,
        *,
        members: Collection[str],
        incarnation: int,
        port: int,
        listener: GossipListener | None = None,
        interval: float = PROBE_INTERVAL,
        clock: Callable[[], float] = clock.now,
    ) -> None:
        self._identity = identity
        self._room_id = room_id
        self._client = client
        self._addresses = addresses
        self._listener = listener or GossipListener()
        self._clock = clock
        self._core = LivenessCore(identity.peer_id, members, clock(), interval=interval)
        self._hello = Hello(
            incarnation=incarnation, seq=0, round=0, head="", attempt=0, port=port, status={}
        )
        self._leaving = False
        self._tick = interval / _TICKS_PER_INTERVAL
        self._tasks = TaskOwner("gossip")

    async def start(self) -> None:
        self._tasks.spawn(self._run_timer(), "timer")

    async def stop(self) -> None:
        """Says goodbye to whoever is alive, for at most a second, and stops."""
        await self._tasks.cancel()
        self._leaving = True
        goodbye = self._sealed()
        sending = [
            asyncio.ensure_future(self._client.hello(peer_id, goodbye))
            for peer_id in self._core.alive()
        ]
        if not sending:
            return
        _, late = await asyncio.wait(sending, timeout=LEAVE_TIMEOUT)
        for task in late:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)

    def alive(self) -> set[str]:
        """Members that are there, without ourselves."""
        return self._core.alive()

    def peers(self) -> dict[str, PeerHealth]:
        """What is known of every other member, by peer id."""
        return self._core.peers()

    def set_members(self, members: Collection[str]) -> None:
        self._core.set_members(members, self._clock())

    def local_head(self, round_number: int, head: str, attempt: int) -> None:
        """Notes how far we are; the next Hellos carry it."""
        update = {"round": round_number, "head": head, "attempt": attempt}
        self._hello = self._hello.model_copy(update=update)

    def set_status(self, status: Status) -> None:
        """Replaces what others see of our work.

        Raises:
            ValueError: above 1 KiB, or not flat names to numbers, flags and texts.
        """
        fields = self._hello.model_dump() | {"status": status}
        self._hello = Hello.model_validate(fields)

    def answer(self, sender: str, data: bytes, host: str) -> bytes:
        """Takes the Hello of ``sender`` (authenticated by TLS) and returns ours.

        Raises:
            ProtocolError: it is malformed, or signed by somebody else.
        """
        hello = self._opened(sender, data)
        with suppress(ProtocolError):  # The remote address may be hidden from us.
            self._addresses.hint(sender, [Address.checked(host, hello.port)])
        self._client.wake(sender)
        self._act(self._core.on_hello(sender, hello, self._clock()))
        return self._sealed()

    # --- inside -----------------------------------------------------------------------------
    async def _run_timer(self) -> None:
        while True:
            self._act(self._core.on_timer(self._clock()))
            await asyncio.sleep(self._tick)

    def _act(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Probe(peer_id):
                    self._tasks.spawn(self._probe(peer_id), f"probe {peer_id[:8]}")
                case StateChanged(peer_id, before, after):
                    self._listener.peer_state(peer_id, before, after)
                case HeadSeen(peer_id, round_number, head, attempt):
                    self._listener.peer_head(peer_id, round_number, head, attempt)
                case Woke(seconds):
                    self._tasks.spawn(self._client.reset(), "reset")
                    self._listener.woke(seconds)

    async def _probe(self, peer_id: str) -> None:
        started = self._clock()
        hello = None
        try:
            hello = self._opened(peer_id, await self._client.hello(peer_id, self._sealed()))
        except P2PError as error:
            _log.debug("no answer from %s: %s", peer_id, error)
        finally:
            # However it ended, the core must hear of it, or it would never probe this peer again.
            if hello is None:
                self._act(self._core.on_failure(peer_id, self._clock()))
        if hello is not None:
            now = self._clock()
            self._client.wake(peer_id)
            self._act(self._core.on_hello(peer_id, hello, now, rtt=now - started))

    def _opened(self, sender: str, data: bytes) -> Hello:
        envelope = open_envelope(data, self._room_id, type_=HELLO_TYPE)
        if envelope.signer != sender:
            raise ProtocolError("a Hello is signed by another member than the one who sent it")
        return parse_hello(envelope)

    def _sealed(self) -> bytes:
        update = {"seq": self._hello.seq + 1, "leaving": self._leaving}
        self._hello = self._hello.model_copy(update=update)
        return seal(self._identity, self._room_id, HELLO_TYPE, self._hello.to_bytes()).to_bytes()
