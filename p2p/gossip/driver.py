"""The gossip core connected to the network: probes, answers, timers, and who wants to know."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol

from p2p import clock
from p2p.addresses import Address, AddressBook
from p2p.client import PeerRefused
from p2p.errors import LimitError, P2PError, ProtocolError
from p2p.gossip.core import SwimCore
from p2p.gossip.effects import (
    Effect,
    HeadSeen,
    Liveness,
    Located,
    PeerHealth,
    Probe,
    ProbeThrough,
    StateChanged,
    Witnessed,
    Woke,
)
from p2p.gossip.hello import Hello, Status
from p2p.gossip.packets import Codec, first_part, to_bytes
from p2p.gossip.rumours import Statement
from p2p.identity import Identity
from p2p.interfaces import is_link_local, is_loopback
from p2p.limits import (
    LEAVE_FANOUT,
    LEAVE_TIMEOUT,
    MAX_ANSWERED_RUMOURS,
    MAX_INDIRECT_PER_PEER,
    PROBE_INTERVAL,
    PROBE_TIMEOUT,
    REFUTATIONS_PER_START,
)
from p2p.tasks import TaskOwner

_log = logging.getLogger(__name__)

_TICKS_PER_INTERVAL: Final = 4


class HelloClient(Protocol):
    """What probing needs of :class:`p2p.client.PeerClient`."""

    async def hello(
        self, peer_id: str, data: bytes, timeout: float, *, directly: bool = False
    ) -> bytes:
        """Sends a gossip packet, returns the answer. Raises NetworkError, TrustError."""
        ...

    async def probe_through(self, helper: str, peer_id: str, timeout: float) -> bytes:
        """The Hello that ``helper`` got from a member. Raises NetworkError, TrustError."""
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

    ``peer_head(peer_id, round)`` for every newer Hello, ``peer_state(peer_id,
    before, after)`` on changes, ``witnessed(peer_id, helper)`` when a helper reached a peer that
    we did not, ``located(peer_id)`` for a new address, ``woke(seconds)`` after this machine slept,
    ``misbehaved(peer_id)`` when a peer's answer is no gossip.
    """

    peer_head: Callable[[str, int], None] = lambda *_: None
    peer_state: Callable[[str, Liveness, Liveness], None] = lambda *_: None
    witnessed: Callable[[str, str], None] = lambda *_: None
    located: Callable[[str], None] = lambda _: None
    woke: Callable[[float], None] = lambda _: None
    misbehaved: Callable[[str], None] = lambda _: None


class Gossip:
    """Probes a few members every second, passes on what they say and knows who is there.

    ``starts`` must be greater than at any earlier start of this identity; ``port`` is our member
    port and ``hosts`` our addresses. :meth:`answer` serves the other side's probes.
    """

    def __init__(
        self,
        identity: Identity,
        room_id: str,
        client: HelloClient,
        addresses: AddressBook,
        *,
        members: Collection[str],
        starts: int,
        port: int,
        hosts: Sequence[str] = (),
        listener: GossipListener | None = None,
        interval: float = PROBE_INTERVAL,
        clock: Callable[[], float] = clock.now,
    ) -> None:
        self._codec = Codec(identity, room_id)
        self._client = client
        self._addresses = addresses
        self._listener = listener or GossipListener()
        self._clock = clock
        hello = Hello(
            incarnation=starts * REFUTATIONS_PER_START,
            seq=0, round=0, head="", attempt=0, port=port, hosts=tuple(hosts), status={},
        )  # fmt: skip
        self._core = SwimCore(
            identity.peer_id,
            members,
            clock(),
            hello=hello,
            speak=self._codec.speak,
            choose=random.Random(),
            interval=interval,
        )
        self._probing_for: Counter[str] = Counter()
        self._tick = interval / _TICKS_PER_INTERVAL
        self._tasks = TaskOwner("gossip")

    async def start(self) -> None:
        self._tasks.spawn(self._run_timer(), "timer")

    async def stop(self) -> None:
        """Says goodbye to some of those who are there, for at most a second, and stops."""
        await self._tasks.cancel()
        now = self._clock()
        self._core.update(now, leaving=True)
        sending = [
            asyncio.ensure_future(self._exchange(peer_id, LEAVE_TIMEOUT))
            for peer_id in list(self._core.alive())[:LEAVE_FANOUT]
        ]
        if not sending:
            return
        _, late = await asyncio.wait(sending, timeout=LEAVE_TIMEOUT)
        for task in late:
            task.cancel()
        await asyncio.gather(*sending, return_exceptions=True)
        await self._tasks.cancel()  # What the answers gave rise to.

    def alive(self) -> set[str]:
        """Members that are there, without ourselves."""
        return self._core.alive()

    def peers(self) -> dict[str, PeerHealth]:
        """What is known of every other member, by peer id."""
        return self._core.peers()

    @property
    def patience(self) -> int:
        """How much slower than usual we are, 1 to 8: Lifeguard's local health."""
        return self._core.patience

    def set_members(self, members: Collection[str]) -> None:
        """Replaces the membership; whoever stays keeps its state."""
        self._core.set_members(members, self._clock())

    def set_hosts(self, hosts: Sequence[str]) -> None:
        """Our addresses have changed; the next Hellos carry them."""
        self._core.update(self._clock(), hosts=tuple(hosts))

    def on_hint(self, peer_id: str, addresses: Sequence[Address]) -> None:
        """A member may be found there; if we miss it, it is probed at once."""
        self._note_addresses(peer_id, addresses)
        self._act(self._core.on_hint(peer_id, self._clock()))

    def local_head(self, round_number: int, head: str, attempt: int) -> None:
        """Notes how far we are; the next Hellos carry it, a new head is told at once."""
        self._core.update(self._clock(), round=round_number, head=head, attempt=attempt)

    def set_status(self, status: Status) -> None:
        """Replaces what others see of our work.

        Raises:
            ValueError: above 1 KiB, or not flat names to numbers, flags and texts.
        """
        fields = self._core.hello.model_dump() | {"status": status}
        self._core.update(self._clock(), status=Hello.model_validate(fields).status)

    def answer(self, sender: str, data: bytes, host: str) -> bytes:
        """Takes the packet of ``sender`` (authenticated by TLS) and returns ours.

        Raises:
            ProtocolError: it is malformed, or something in it is forged.
        """
        packet = self._codec.open_packet(sender, data, self._core.is_news)
        hello = packet[0].said
        assert isinstance(hello, Hello)
        directly = _is_senders(host, hello)
        if directly:
            with suppress(ProtocolError):  # The remote address may be hidden from us.
                self._note_addresses(sender, [Address.checked(host, hello.port)])
        self._client.wake(sender)
        effects, reply = self._core.answer(sender, packet, self._clock(), directly=directly)
        self._act(effects)
        return to_bytes(reply)

    async def probe_for(self, sender: str, peer_id: str) -> bytes:
        """Probes a member on behalf of another; returns its Hello as it signed it.

        Raises:
            LimitError: ``sender`` asks for too much at once.
            NetworkError, TrustError: the member does not answer us either, or is none.
        """
        if self._probing_for[sender] >= MAX_INDIRECT_PER_PEER:
            raise LimitError("too many indirect probes at once")
        self._probing_for[sender] += 1
        try:
            return first_part(await self._exchange(peer_id, PROBE_TIMEOUT, directly=True))
        finally:
            self._probing_for[sender] -= 1
            if not self._probing_for[sender]:
                del self._probing_for[sender]

    # --- inside -----------------------------------------------------------------------------
    async def _run_timer(self) -> None:
        while True:
            self._act(self._core.on_timer(self._clock()))
            await asyncio.sleep(self._tick)

    def _note_addresses(self, peer_id: str, addresses: Sequence[Address]) -> None:
        before = set(self._addresses.of(peer_id))
        self._addresses.hint(peer_id, addresses)
        if not before.issuperset(addresses):
            self._listener.located(peer_id)

    def _act(self, effects: list[Effect]) -> None:
        for effect in effects:
            try:
                self._carry_out(effect)
            except Exception:  # Of a listener: it must end neither the probes nor the timer.
                _log.exception("what gossip found out was not taken")

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Probe():
                self._tasks.spawn(self._probe(effect), f"probe {effect.peer_id[:8]}")
            case ProbeThrough():
                self._tasks.spawn(self._probe_through(effect), "indirect probe")
            case StateChanged(peer_id, before, after):
                self._listener.peer_state(peer_id, before, after)
            case HeadSeen(peer_id, round_number):
                self._listener.peer_head(peer_id, round_number)
            case Located(peer_id, addresses):
                self.on_hint(peer_id, self._elsewhere(addresses))
            case Witnessed(peer_id, helper):
                self._listener.witnessed(peer_id, helper)
            case Woke(seconds):
                self._tasks.spawn(self._client.reset(), "reset")
                self._listener.woke(seconds)

    def _elsewhere(self, addresses: Sequence[Address]) -> list[Address]:
        """Without those of this very machine, unless the whole room is on it: a member could make
        us connect to services that listen here for us alone."""
        here = any(is_loopback(host) for host in self._core.hello.hosts)
        return [each for each in addresses if here or not is_loopback(each.host)]

    async def _probe(self, probe: Probe) -> None:
        answered = False
        try:
            await self._exchange(probe.peer_id, probe.timeout, to_bytes(probe.packet))
            answered = True
        except P2PError as error:
            _log.debug("no answer from %s: %s", probe.peer_id, error)
        finally:
            # However it ended, the core must hear of it, or it would never probe this peer again.
            if not answered:
                self._act(self._core.on_failure(probe.peer_id, self._clock()))

    async def _exchange(
        self, peer_id: str, timeout: float, data: bytes | None = None, *, directly: bool = False
    ) -> bytes:
        """Sends a packet and takes the answer in; returns its bytes."""
        started = self._clock()
        if data is None:
            data = to_bytes(self._core.packet(peer_id, started))
        answer = await self._client.hello(peer_id, data, timeout, directly=directly)
        try:
            packet = self._codec.open_packet(
                peer_id, answer, self._core.is_news, MAX_ANSWERED_RUMOURS
            )
        except ProtocolError:
            self._listener.misbehaved(peer_id)
            raise
        now = self._clock()
        self._client.wake(peer_id)
        self._act(self._core.on_packet(peer_id, packet, now, rtt=now - started))
        return answer

    async def _probe_through(self, probe: ProbeThrough) -> None:
        peer_id, helper = probe.peer_id, probe.helper
        seen: Statement | None = None
        answered = False
        try:
            data = await self._client.probe_through(helper, peer_id, probe.timeout)
            seen = self._codec.open_hello(peer_id, data)
            answered = True
        except PeerRefused:
            answered = True
        except P2PError as error:
            _log.debug("%s could not probe %s for us: %s", helper, peer_id, error)
        finally:
            self._act(self._core.on_witness(peer_id, helper, seen, answered, self._clock()))


def _is_senders(host: str, hello: Hello) -> bool:
    """Whether a connection from ``host`` came without a relay, which has an address of its own."""
    if not hello.hosts or host in hello.hosts:
        return True
    return bool(host) and is_link_local(host)
