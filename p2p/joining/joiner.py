"""The machine that asks to be let in."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from p2p.addresses import Address
from p2p.envelope import Envelope, decode_base64, encode_base64, open_genesis, seal
from p2p.errors import NetworkError, TrustError
from p2p.identity import Identity, certificate_owner
from p2p.joining import nearby, wire
from p2p.joining.code import SpokenCode
from p2p.joining.door import visitor_context
from p2p.joining.handshake import Proofs, invite_id, joiner_side, same, transcript
from p2p.joining.link import InviteLink
from p2p.joining.reach import Door, connect
from p2p.joining.refusals import InviteRefused, Unreachable, refused
from p2p.limits import (
    CLOCK_TOLERANCE,
    LINK_FIND_TIMEOUT,
    LOBBY_ADMIT_TIMEOUT,
    LOBBY_APPROVAL_TIMEOUT,
    LOBBY_FIND_TIMEOUT,
    LOBBY_PROOF_TIMEOUT,
)
from p2p.room import Device, Member, Role

Step = Literal["looking", "connected", "proved", "waiting"]
S = TypeVar("S", bound=wire.Spoken)


@dataclass(frozen=True)
class Joined:
    """What a new member was given, checked against the invite.

    ``addresses`` are hints by peer id. ``words`` stood on the inviter's screen too.
    """

    room: str
    genesis: Envelope
    operations: tuple[str, ...]
    addresses: Mapping[str, tuple[Address, ...]]
    inviter: str
    head_round: int
    head: str
    words: tuple[str, ...]


class Joiner:
    """Asks for admission with an identity, under a name.

    ``on_step`` hears how far it is: ``looking``, ``connected``, ``proved``, ``waiting``, with the
    words to compare once there are some.
    """

    def __init__(
        self,
        identity: Identity,
        name: str,
        *,
        role: Role = "participant",
        device: Device = "desktop",
        on_step: Callable[[Step, tuple[str, ...]], None] = lambda *_: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._identity: Final = identity
        self._member = Member.of(identity, name, role, device)
        self._on_step = on_step
        self._clock = wall_clock

    async def by_link(self, link: InviteLink, *, interfaces: Sequence[str] | None = None) -> Joined:
        """Joins with a link: the machine that answers must have the key the link names. Where it
        has moved since the link was made, it is looked for by mDNS.

        Raises:
            Unreachable, InviteRefused, NotNow: see :mod:`p2p.joining.refusals`.
            ProtocolError, TrustError: the lobby broke the protocol.
        """
        self._on_step("looking", ())
        context = visitor_context(lambda peer: peer == link.inviter)
        hello = self._hello(invite=invite_id(link.secret), room=link.room)
        try:
            door = await connect(link.addresses, context)
        except Unreachable as error:
            moved = await _moved(link, interfaces)
            if not moved:
                raise
            try:
                door = await connect(moved, context)
            except Unreachable:
                raise error from None
        async with _open(door):
            joined = await self._join(door, hello, lambda *_: link.secret)
        if joined.room != link.room:
            raise TrustError("the lobby belongs to another room than the invite")
        return joined

    async def by_code(
        self,
        code: SpokenCode,
        *,
        addresses: Sequence[Address] = (),
        interfaces: Sequence[str] | None = None,
    ) -> Joined:
        """Joins with a spoken code at the given addresses, or at the lobbies that announce its
        number on the network.

        Raises:
            As :meth:`by_link`.
        """
        self._on_step("looking", ())
        if addresses:
            return await self._try_code(code, addresses)
        tried: InviteRefused | None = None
        lobbies = nearby.lobbies(code.nameplate, interfaces)
        try:
            async with aclosing(lobbies), asyncio.timeout(LOBBY_FIND_TIMEOUT) as looking:
                async for found in lobbies:
                    looking.reschedule(None)
                    try:
                        return await self._try_code(code, found)
                    except InviteRefused as error:
                        # Another room may use the same number.
                        if error.reason not in {"wrong_code", "unknown"}:
                            raise
                        tried = error
                    now = asyncio.get_running_loop().time()
                    looking.reschedule(now + LOBBY_FIND_TIMEOUT)
        except TimeoutError:
            pass
        raise tried or Unreachable(
            "no_lobby",
            f"no machine on this network announces the code {code.nameplate}-…",
            "Check the number and that both are on the same WiFi. If the network blocks mDNS or"
            " keeps its guests apart, ask for a link, or name the machine: --at HOST:PORT.",
        )

    async def _try_code(self, code: SpokenCode, addresses: Sequence[Address]) -> Joined:
        context = visitor_context(lambda _: True)
        door = await connect(addresses, context)
        async with _open(door):
            inviter = certificate_owner(door.certificate)
            me = self._identity.peer_id
            side = joiner_side(code.password, me, inviter, door.certificate)
            element = await asyncio.to_thread(side.start)
            hello = self._hello(nameplate=code.nameplate, element=encode_base64(element))

            def key(challenge: wire.Challenge) -> bytes:
                return side.finish(decode_base64(challenge.element or ""))

            return await self._join(door, hello, key)

    def _hello(
        self,
        *,
        invite: str | None = None,
        room: str | None = None,
        nameplate: int | None = None,
        element: str | None = None,
    ) -> wire.Hello:
        return wire.Hello(
            oldest=wire.PROTOCOL,
            newest=wire.PROTOCOL,
            peer=self._identity.peer_id,
            nonce=secrets.token_hex(16),
            invite=invite,
            room=room,
            nameplate=nameplate,
            element=element,
        )

    async def _join(
        self, door: Door, hello: wire.Hello, secret_of: Callable[[wire.Challenge], bytes]
    ) -> Joined:
        self._on_step("connected", ())
        async with asyncio.timeout(LOBBY_PROOF_TIMEOUT):
            await _say(door, hello)
            challenge_bytes = await _hear(door)
            challenge = self._read(challenge_bytes, wire.Challenge)
            seen = transcript(door.certificate, hello.to_bytes(), challenge_bytes)
            secret = await asyncio.to_thread(secret_of, challenge)
            proofs = Proofs.of(secret, seen)
            await _say(door, wire.Proof(mac=proofs.joiner))
            welcome = self._read(await _hear(door), wire.Welcome)
            if not same(welcome.mac, proofs.inviter):
                raise TrustError("the machine that answers does not know the invite it gave out")
            self._on_step("proved", proofs.words)
            asking = wire.Asking(transcript=seen.hex(), member=self._member)
            envelope = seal(self._identity, challenge.room, wire.REQUEST_TYPE, asking.to_bytes())
            await _say(door, wire.Request(envelope=envelope.to_bytes().decode()))
        admitted = await self._await_admission(door, proofs.words)
        return _checked(admitted, challenge.room, certificate_owner(door.certificate), proofs.words)

    async def _await_admission(self, door: Door, words: tuple[str, ...]) -> wire.Admitted:
        """Waits for a person's answer, as long as the lobby says that it is still there."""
        async with asyncio.timeout(LOBBY_APPROVAL_TIMEOUT + LOBBY_ADMIT_TIMEOUT):
            while True:
                async with asyncio.timeout(2 * LOBBY_ADMIT_TIMEOUT):
                    data = await _hear(door)
                answer = self._read(data, wire.Waiting, wire.Admitted)
                if isinstance(answer, wire.Admitted):
                    return answer
                self._on_step("waiting", words)

    def _read(self, data: bytes, *kinds: type[S]) -> S:
        """The lobby's next message. Raises the error of its refusal, or ProtocolError."""
        answer = wire.read_answer(data, *kinds)
        if not isinstance(answer, wire.Refused):
            return answer
        detail = self._clock_trouble(answer.clock_ms) if answer.reason == "expired" else ""
        raise refused(answer.reason, detail)

    def _clock_trouble(self, lobby_ms: int) -> str:
        apart = self._clock() - lobby_ms / 1000
        if abs(apart) <= CLOCK_TOLERANCE:
            return ""
        minutes = abs(apart) / 60
        span = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:,.0f} hours"
        return f", and the clocks of the two machines are {span} apart: one of them is wrong"


def _checked(admitted: wire.Admitted, room: str, inviter: str, words: tuple[str, ...]) -> Joined:
    """The admission, if it is one to the room that was agreed on."""
    genesis = open_genesis(admitted.genesis.encode())
    if genesis.id != room:
        raise TrustError("the lobby sent the genesis of another room")
    return Joined(
        room=room,
        genesis=genesis,
        operations=admitted.operations,
        addresses={
            peer: tuple(map(Address.parse, texts)) for peer, texts in admitted.addresses.items()
        },
        inviter=inviter,
        head_round=admitted.head_round,
        head=admitted.head,
        words=words,
    )


async def _moved(link: InviteLink, interfaces: Sequence[str] | None) -> tuple[Address, ...]:
    """Where the inviter is now, as far as that differs from the link: the lobby keeps its port."""
    if not link.addresses:
        return ()
    hosts = await nearby.whereabouts(link.room, link.inviter, interfaces, LINK_FIND_TIMEOUT)
    now = (Address(host, link.addresses[0].port) for host in hosts)
    return tuple(address for address in now if address not in link.addresses)


@asynccontextmanager
async def _open(door: Door) -> AsyncIterator[None]:
    try:
        yield
    except (EOFError, OSError) as error:
        raise NetworkError(
            f"{door.address} ended the conversation",
            remedy="Try again; if it persists, look at the log of the inviter's machine.",
        ) from error
    finally:
        await door.close()


async def _say(door: Door, message: wire.Spoken) -> None:
    door.writer.write(wire.frame(message))
    await door.writer.drain()


async def _hear(door: Door) -> bytes:
    return await wire.read_frame(door.reader, wire.MAX_ADMITTED_BYTES)
