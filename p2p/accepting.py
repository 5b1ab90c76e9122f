"""The accept loop in front of the HTTP server: few strangers at a time, and not for long.

``loop.create_server`` neither counts sockets whose handshake is unfinished nor lets one refuse
them, so connections are accepted here and handed to the HTTP protocol once TLS has succeeded.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from p2p.errors import NetworkError
from p2p.interfaces import is_loopback
from p2p.limits import (
    ACCEPT_RETRY_DELAY,
    HANDSHAKE_GRACE,
    HANDSHAKE_TIMEOUT,
    LISTEN_BACKLOG,
    MAX_HANDSHAKES,
    MAX_HANDSHAKES_PER_HOST,
    TLS_SHUTDOWN_TIMEOUT,
)
from p2p.tasks import TaskOwner

ANY_IPV4: Final = "0.0.0.0"
ANY_IPV6: Final = "::"
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

_HANDSHAKE_RECORD: Final = b"\x16"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HandshakeLimits:
    """Budgets for sockets that have not proved to belong to a member yet (counts, seconds)."""

    total: int = MAX_HANDSHAKES
    per_host: int = MAX_HANDSHAKES_PER_HOST
    timeout: float = HANDSHAKE_TIMEOUT
    grace: float = HANDSHAKE_GRACE


class HandshakeGate:
    """Counts unfinished handshakes, all together and per remote host.

    Loopback is exempt from the limit per host: a whole room may run on one machine, and whoever
    connects from it is a local user already.
    """

    def __init__(self, limits: HandshakeLimits) -> None:
        self._limits = limits
        self._hosts: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        return self._hosts.total() >= self._limits.total

    def enter(self, host: str) -> bool:
        """Admits one more socket of ``host``, or says no."""
        if self.is_full or self.has_enough(host):
            return False
        self._hosts[host] += 1
        return True

    def has_enough(self, host: str) -> bool:
        """Whether the host has as many as one may."""
        return self._hosts[host] >= self._limits.per_host and not is_loopback(host)

    def leave(self, host: str) -> None:
        self._hosts[host] -= 1
        if self._hosts[host] <= 0:
            del self._hosts[host]


@dataclass(eq=False)
class _Place:
    """One of the places for visitors; ``given_up`` when it went to somebody else."""

    host: str
    since: float
    is_silent: bool = True
    task: asyncio.Task[None] | None = None
    given_up: bool = False


class Acceptor:
    """Listens on every given host and gives TLS connections that succeeded to ``on_connected``."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        make_protocol: Callable[[], asyncio.BaseProtocol],
        on_connected: Callable[[asyncio.BaseTransport], None],
        limits: HandshakeLimits,
    ) -> None:
        self._tls = tls
        self._make_protocol = make_protocol
        self._on_connected = on_connected
        self._limits = limits
        self._gate = HandshakeGate(limits)
        self._places: dict[_Place, None] = {}
        self._tasks = TaskOwner("accepting")
        self._sockets: list[socket.socket] = []

    async def start(self, hosts: Sequence[str], port: int) -> int:
        """Opens the port on every host; returns it (chosen by the system when 0 was asked).

        Raises:
            NetworkError: the port is taken or a host is not ours. That this machine has no IPv6
                is no error when another host was opened before.
        """
        for host in hosts:
            try:
                listener = _listen(host, port)
            except OSError as error:
                if host == ANY_IPV6 and error.errno in _NO_IPV6 and self._sockets:
                    continue
                self._close_sockets()
                raise NetworkError(
                    f"port {port} on {host} cannot be opened: {error.strerror or error}",
                    remedy="Stop the program that uses the port, or choose another port.",
                ) from error
            self._sockets.append(listener)
            port = listener.getsockname()[1]
        for listener in self._sockets:
            self._tasks.spawn(self._accept_forever(listener), "accept")
        return port

    async def stop(self) -> None:
        """Closes the port and every connection that is still shaking hands."""
        await self._tasks.cancel()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for listener in self._sockets:
            listener.close()
        self._sockets.clear()

    async def _accept_forever(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, remote = await loop.sock_accept(listener)
            except OSError as error:
                _log.warning("cannot accept connections: %s", error)
                await asyncio.sleep(ACCEPT_RETRY_DELAY)
                continue
            place = self._place_for(remote[0])
            if place is None:
                connection.close()
                continue
            work = self._shake_hands(connection, place)
            place.task = self._tasks.spawn(work, f"handshake with {place.host}")
            # It must have begun before it may be cancelled, or nobody closes the socket.
            await asyncio.sleep(0)

    def _place_for(self, host: str) -> _Place | None:
        """A place for one more visitor, if need be another's."""
        if not self._gate.enter(host):
            victim = self._victim(host)
            if victim is None:
                return None
            self._give_up(victim)
            self._gate.enter(host)
        place = _Place(host, asyncio.get_running_loop().time())
        self._places[place] = None
        return place

    def _victim(self, host: str) -> _Place | None:
        """Who gives way to a visitor of ``host``: strangers must not keep members out, who speak
        at once and are soon done. A host that has enough places gives up one of its own; else it
        is somebody of the network that holds most, the silent before the slow, the oldest first.
        """
        slow = asyncio.get_running_loop().time() - self._limits.grace
        may_go = [place for place in self._places if place.is_silent or place.since <= slow]
        if self._gate.has_enough(host):
            may_go = [place for place in may_go if place.host == host]
        sizes = Counter(_network(place.host) for place in self._places)
        return min(may_go, key=lambda p: (-sizes[_network(p.host)], not p.is_silent), default=None)

    def _give_up(self, place: _Place) -> None:
        self._places.pop(place, None)
        self._gate.leave(place.host)
        place.given_up = True
        if place.task is not None:
            place.task.cancel()

    async def _shake_hands(self, connection: socket.socket, place: _Place) -> None:
        host = place.host
        try:
            # TLS costs 300 KiB from its first moment: not before there is something to read.
            async with asyncio.timeout(self._limits.timeout):
                await _first_byte(connection)
            place.is_silent = False
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.timeout,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT,
            )
        except OSError as error:  # ssl.SSLError and TimeoutError are OSErrors.
            _log.debug("handshake with %s failed: %s", host, error)
            connection.close()
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        finally:
            self._places.pop(place, None)
            if not place.given_up:
                self._gate.leave(host)
        self._on_connected(transport)


def _network(host: str) -> str:
    """Whose address it is: one IPv6 customer has a whole /64 of them."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return host if address.version == 4 else address.packed[:8].hex()


async def _first_byte(connection: socket.socket) -> None:
    """Returns when somebody began to speak TLS.

    Raises:
        OSError: he hung up, or said something else.
    """
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    try:
        loop.add_reader(connection, ready.set)
    except NotImplementedError:  # Windows' proactor loop cannot tell: silence costs TLS there.
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
    if connection.recv(1, socket.MSG_PEEK) != _HANDSHAKE_RECORD:
        raise ConnectionAbortedError("it does not speak TLS")


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            # On Windows SO_REUSEADDR would let another program take over a port in use.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.setblocking(False)
        listener.bind(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4])
        listener.listen(LISTEN_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
