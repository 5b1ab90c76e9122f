"""The lobby: a port of its own where a machine that holds an invite may ask to be let in.

It is open only while an invite is, speaks a protocol of eight small messages
(:mod:`p2p.joining.wire`) and no HTTP, and knows nothing of what the room does. Strangers cost a
bounded number of sockets for a bounded time; only who has proved an invite may wait for a person.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from p2p.accepting import Acceptor, HandshakeLimits
from p2p.envelope import decode_base64, encode_base64, open_envelope
from p2p.errors import NetworkError, P2PError, ProtocolError, TrustError
from p2p.identity import Identity, check_certificate
from p2p.interfaces import is_loopback
from p2p.joining import wire
from p2p.joining.door import lobby_context
from p2p.joining.handshake import Proofs, inviter_side, same, transcript
from p2p.joining.invites import Invite, InviteBook, NotUsable
from p2p.joining.refusals import Refusal
from p2p.limits import (
    LOBBY_ADMIT_TIMEOUT,
    LOBBY_APPROVAL_TIMEOUT,
    LOBBY_LINGER,
    LOBBY_NOTE_BURST,
    LOBBY_NOTE_RATE,
    LOBBY_POLL_INTERVAL,
    LOBBY_PROOF_TIMEOUT,
    LOBBY_REFUSAL_DELAY,
    LOBBY_REPLY_TIMEOUT,
    LOBBY_WAITING_INTERVAL,
    MAX_LOBBY_FRAME_BYTES,
    MAX_LOBBY_SESSIONS,
    MAX_LOBBY_SESSIONS_PER_HOST,
)
from p2p.pacing import TokenBucket
from p2p.room import Member
from p2p.tasks import TaskOwner
from p2p.text import clean_text

_log = logging.getLogger(__name__)

Standing = Literal["stranger", "awaited", "member", "removed"]
"""What a key is to the room; "awaited": we signed it in, and more admins must."""


@dataclass(frozen=True)
class Applicant:
    """Somebody who has proved to hold an invite. ``words`` also stand on his own screen;
    ``host`` is the address he came from."""

    id: str
    member: Member
    invite: Invite
    words: tuple[str, ...]
    host: str


class Doorkeeper(Protocol):
    """What the lobby asks of the node behind it."""

    def standing(self, peer_id: str) -> Standing: ...

    def is_full(self) -> bool: ...

    def is_past_full(self) -> bool:
        """Whether :meth:`admission` may soon have no room for one more change of the members."""
        ...

    async def approve(self, applicant: Applicant) -> bool:
        """Whether to admit him. Cancelled when he goes away or after five minutes."""
        ...

    async def admit(self, member: Member) -> None:
        """Makes him a member, durably; never called for one key twice at a time. Raises
        P2PError."""
        ...

    def admission(self) -> wire.Admitted:
        """What a member needs to begin. Raises P2PError when that is too much to tell."""
        ...

    def refused(self, host: str, reason: Refusal) -> None:
        """Somebody was not let in. Told no more often than a log can bear."""
        ...


@dataclass(frozen=True)
class LobbyLimits:
    """Budgets of one lobby; counts and seconds as in p2p.limits."""

    handshakes: HandshakeLimits = field(default_factory=HandshakeLimits)
    sessions: int = MAX_LOBBY_SESSIONS
    sessions_per_host: int = MAX_LOBBY_SESSIONS_PER_HOST
    proof: float = LOBBY_PROOF_TIMEOUT
    approval: float = LOBBY_APPROVAL_TIMEOUT
    waiting_interval: float = LOBBY_WAITING_INTERVAL
    refusal_delay: float = LOBBY_REFUSAL_DELAY
    linger: float = LOBBY_LINGER


class _Refuse(Exception):
    """Ends a session with a reason that the joiner is told."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason)
        self.reason: Refusal = reason


class Lobby:
    """The lobby of one room. :meth:`start` and :meth:`stop` once each.

    ``on_change`` is called with the nameplates of open codes and the port whenever the port
    opens or closes or those change; the port is 0 while it is closed.
    """

    def __init__(
        self,
        identity: Identity,
        room_id: str,
        book: InviteBook,
        doorkeeper: Doorkeeper,
        *,
        host: str,
        on_change: Callable[[frozenset[int], int], None] = lambda *_: None,
        limits: LobbyLimits | None = None,
    ) -> None:
        self._identity = identity
        self._certificate = identity.certificate_der()
        self._room_id = room_id
        self._book = book
        self._doorkeeper = doorkeeper
        self._host = host
        self._on_change = on_change
        self._limits = limits or LobbyLimits()
        self._tls = lobby_context(identity)
        self._acceptor: Acceptor | None = None
        self._sessions: Counter[str] = Counter()
        self._waiting: dict[str, str] = {}
        self._turn = asyncio.Lock()
        self._owner = TaskOwner("lobby")
        self._looked = asyncio.Event()
        self._notes = TokenBucket(LOBBY_NOTE_RATE, LOBBY_NOTE_BURST, 0.0)
        self._told: tuple[frozenset[int], int] = (frozenset(), 0)
        self._closes_at = 0.0
        self.port = 0

    async def start(self) -> None:
        """Begins to open and close with the invites in the book. A port that cannot be opened now
        is tried again: the room goes on without it."""
        try:
            await self._follow_book()
        except P2PError as error:
            _log.warning("%s", error)
        self._owner.spawn(self._watch(), "invites")

    async def stop(self) -> None:
        """Closes the port and ends every conversation."""
        await self._close()
        await self._owner.cancel()

    async def refresh(self) -> None:
        """The book has changed: opens or closes accordingly before it returns.

        Raises:
            NetworkError: the port cannot be opened.
        """
        await self._follow_book()

    # --- the port ----------------------------------------------------------------------------
    async def _watch(self) -> None:
        """Other processes may write into the book, and invites expire."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOBBY_POLL_INTERVAL):
                    await self._looked.wait()
            self._looked.clear()
            try:
                await self._follow_book()
            except P2PError as error:
                _log.warning("%s", error)

    async def _follow_book(self) -> None:
        async with self._turn:
            await self._follow_book_now()

    async def _follow_book_now(self) -> None:
        wanted = await asyncio.to_thread(self._book.open_invites)
        now = asyncio.get_running_loop().time()
        if wanted:
            # A newcomer whose connection broke at the last moment can still ask again.
            self._closes_at = now + self._limits.linger
            if self._acceptor is None:
                await self._open()
        elif self._acceptor is not None and now >= self._closes_at:
            await self._close()
        plates = frozenset(invite.nameplate for invite in wanted if invite.nameplate is not None)
        self._tell(plates)

    async def _open(self) -> None:
        remembered = await asyncio.to_thread(lambda: self._book.port)
        acceptor = Acceptor(self._tls, self._protocol, lambda _: None, self._limits.handshakes)
        try:
            self.port = await acceptor.start((self._host,), remembered)
        except NetworkError:
            if not remembered:
                raise
            self.port = await acceptor.start((self._host,), 0)
            _log.warning("port %d is taken: invites made before name a wrong port", remembered)
        self._acceptor = acceptor
        await asyncio.to_thread(setattr, self._book, "port", self.port)
        _log.info("the lobby is open on port %d", self.port)

    async def _close(self) -> None:
        if self._acceptor is not None:
            acceptor, self._acceptor, self.port = self._acceptor, None, 0
            await acceptor.stop()
            _log.info("the lobby is closed")
        self._tell(frozenset())

    def _tell(self, nameplates: frozenset[int]) -> None:
        state = (nameplates, self.port)
        if state != self._told:
            self._told = state
            self._on_change(*state)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = asyncio.StreamReader(limit=MAX_LOBBY_FRAME_BYTES)
        return asyncio.StreamReaderProtocol(reader, self._begin)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._owner.spawn(self._converse(reader, writer), "visitor")

    # --- a visitor ---------------------------------------------------------------------------
    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = str((writer.get_extra_info("peername") or ("",))[0])
        try:
            with self._place(host):
                await self._serve(_Visitor(reader, writer, host))
        except _Refuse as refusal:
            if self._note("a machine at %s was not let in: %s", host, refusal.reason):
                self._doorkeeper.refused(host, refusal.reason)
            await self._refuse(writer, refusal.reason)
        except (ProtocolError, TrustError) as error:
            self._note("a machine at %s was not understood: %s", host, error.cause)
            await self._refuse(writer, "malformed")
        except P2PError as error:
            _log.error("a machine at %s could not be admitted: %s", host, error)
            await self._refuse(writer, "failed")
        except (EOFError, OSError) as error:
            _log.debug("a machine at %s went away: %s", host, error or type(error).__name__)
        except asyncio.CancelledError:
            await self._refuse(writer, "closing")
            raise
        finally:
            writer.close()

    def _note(self, text: str, *details: object) -> bool:
        """Logs what strangers cause, but no more of it than a disk can bear; tells whether."""
        noted = self._notes.take(asyncio.get_running_loop().time())
        _log.log(logging.INFO if noted else logging.DEBUG, text, *details)
        return noted

    @contextmanager
    def _place(self, host: str) -> Iterator[None]:
        """One of the places for visitors. Raises _Refuse when none is left."""
        crowded = self._sessions[host] >= self._limits.sessions_per_host and not is_loopback(host)
        if crowded or self._sessions.total() >= self._limits.sessions:
            raise _Refuse("busy")
        self._sessions[host] += 1
        try:
            yield
        finally:
            self._sessions[host] -= 1
            if not self._sessions[host]:
                del self._sessions[host]

    async def _serve(self, visitor: _Visitor) -> None:
        async with asyncio.timeout(self._limits.proof):
            invite, proofs, seen = await self._prove(visitor)
            member = await self._read_request(visitor, invite, seen)
        standing = self._doorkeeper.standing(member.peer_id)
        if standing == "removed":
            raise _Refuse("removed")
        # A member has a right to what it may have missed, and is asked about no second time.
        if standing != "member":
            applicant = Applicant(visitor.id, member, invite, proofs.words, visitor.host)
            await self._admit(visitor, applicant, ask=standing == "stranger")
        await visitor.say(self._doorkeeper.admission())

    async def _prove(self, visitor: _Visitor) -> tuple[Invite, Proofs, bytes]:
        """The first half: who comes, by which invite, and does he hold it?"""
        hello_bytes = await visitor.hear()
        hello = wire.read(wire.Hello, hello_bytes)
        if not hello.oldest <= wire.PROTOCOL <= hello.newest:
            raise _Refuse("version")
        if hello.room is not None and hello.room != self._room_id:
            raise _Refuse("other_room")
        visitor.peer = hello.peer
        invite, secret, element = await self._invite_of(hello)
        challenge = wire.Challenge(
            version=wire.PROTOCOL,
            room=self._room_id,
            nonce=secrets.token_hex(16),
            element=encode_base64(element) if element else None,
        )
        await visitor.say(challenge)
        proof = wire.read(wire.Proof, await visitor.hear())
        seen = transcript(self._certificate, hello_bytes, challenge.to_bytes())
        proofs = Proofs.of(secret, seen)
        if not same(proof.mac, proofs.joiner):
            await asyncio.sleep(self._limits.refusal_delay)
            raise _Refuse("wrong_code" if invite.nameplate else "unknown")
        if invite.nameplate is not None:
            await asyncio.to_thread(self._book.guessed_right, invite.id)
        await visitor.say(wire.Welcome(mac=proofs.inviter))
        return invite, proofs, seen

    async def _invite_of(self, hello: wire.Hello) -> tuple[Invite, bytes, bytes]:
        """The invite a visitor means, the secret both sides have if he holds it, and our half of
        SPAKE2 for a code."""
        try:
            if hello.invite is not None:
                invite = await asyncio.to_thread(self._book.by_link, hello.invite, hello.peer)
                return invite, invite.secret, b""
            if hello.nameplate is None or hello.element is None:
                raise ProtocolError("a visitor names no invite")
            theirs = decode_base64(hello.element)
            invite = await asyncio.to_thread(self._book.guess, hello.nameplate, hello.peer)
        except NotUsable as unusable:
            await asyncio.sleep(self._limits.refusal_delay)
            raise _Refuse(unusable.reason) from unusable
        peer, me = hello.peer, self._identity.peer_id

        def answer() -> tuple[bytes, bytes]:
            side = inviter_side(invite.secret, peer, me, self._certificate)
            ours = side.start()
            return side.finish(theirs), ours

        secret, ours = await asyncio.to_thread(answer)
        return invite, secret, ours

    async def _read_request(self, visitor: _Visitor, invite: Invite, seen: bytes) -> Member:
        """The second half: the record he signed, as the room would keep it.

        Raises:
            ProtocolError, TrustError: it is not signed by the key it names, for this very
                conversation, or names another key or certificate.
        """
        request = wire.read(wire.Request, await visitor.hear())
        envelope = open_envelope(request.envelope.encode(), self._room_id, type_=wire.REQUEST_TYPE)
        asking = wire.read(wire.Asking, envelope.payload)
        member = asking.member
        if asking.transcript != seen.hex():
            raise ProtocolError("a request belongs to another conversation")
        if not member.peer_id == envelope.signer == visitor.peer:
            raise TrustError("a request is not signed by the key it names")
        check_certificate(member.certificate_der, member.peer_id)
        role = "observer" if member.role == "observer" else invite.role
        return member.model_copy(update={"name": clean_text(member.name), "role": role})

    async def _admit(self, visitor: _Visitor, applicant: Applicant, *, ask: bool) -> None:
        invite, member = applicant.invite, applicant.member
        if self._doorkeeper.is_full():
            raise _Refuse("room_full")
        if self._doorkeeper.is_past_full():
            raise _Refuse("past_full")
        # One question about each machine, and no more of them than the invite has uses left.
        # A guest has one already: he did not become a member then, or is none any more.
        rivals = sum(id_ == invite.id for id_ in self._waiting.values())
        crowded = rivals >= invite.uses - invite.used and not invite.has_guest(member.peer_id)
        if member.peer_id in self._waiting or crowded:
            raise _Refuse("busy")
        self._waiting[member.peer_id] = invite.id
        with ExitStack() as place:
            place.callback(self._waiting.pop, member.peer_id)
            if ask and not invite.auto_approve:
                await self._await_approval(visitor, applicant)
            try:
                await asyncio.to_thread(self._book.take_use, invite.id, member.peer_id, member.name)
            except NotUsable as unusable:
                raise _Refuse(unusable.reason) from unusable
            # Finished even if the visitor goes away now: he may come back and be told.
            admitting = self._owner.spawn(self._admit_counted(applicant), "admission")
            # Until then, a second request of his must not begin another one.
            kept = place.pop_all()
            admitting.add_done_callback(lambda _: kept.close())
        await asyncio.shield(admitting)

    async def _admit_counted(self, applicant: Applicant) -> None:
        """A use is taken; it is given back when the admission fails for good."""
        try:
            async with asyncio.timeout(LOBBY_ADMIT_TIMEOUT):
                await self._doorkeeper.admit(applicant.member)
        except BaseException as error:
            invite, peer = applicant.invite.id, applicant.member.peer_id
            if self._doorkeeper.standing(peer) not in {"member", "awaited"}:
                await asyncio.to_thread(self._book.return_use, invite, peer)
            if isinstance(error, P2PError | TimeoutError):
                _log.error("%s could not be admitted: %s", applicant.member.name, error)
                raise _Refuse("failed") from error
            raise
        finally:
            self._looked.set()

    async def _await_approval(self, visitor: _Visitor, applicant: Applicant) -> None:
        """Returns when somebody said yes; tells the visitor that he is not forgotten."""
        decision = asyncio.ensure_future(self._doorkeeper.approve(applicant))
        leaving = asyncio.ensure_future(visitor.gone())
        try:
            async with asyncio.timeout(self._limits.approval):
                while True:
                    done, _ = await asyncio.wait(
                        {decision, leaving},
                        timeout=self._limits.waiting_interval,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if leaving in done:
                        raise EOFError("it did not wait for the answer")
                    if decision in done:
                        break
                    await visitor.say(wire.Waiting())
        except TimeoutError as error:
            raise _Refuse("unanswered") from error
        finally:
            decision.cancel()
            leaving.cancel()
            await asyncio.gather(decision, leaving, return_exceptions=True)
        if not decision.result():
            raise _Refuse("declined")

    async def _refuse(self, writer: asyncio.StreamWriter, reason: Refusal) -> None:
        refusal = wire.Refused(reason=reason, clock_ms=max(0, int(time.time() * 1000)))
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LOBBY_REPLY_TIMEOUT):
                writer.write(wire.frame(refusal))
                await writer.drain()


class _Visitor:
    """One conversation, frame by frame."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str
    ) -> None:
        self.id: Final = secrets.token_hex(4)
        self.host: Final = host
        self.peer = ""
        self._reader = reader
        self._writer = writer

    async def hear(self) -> bytes:
        return await wire.read_frame(self._reader, MAX_LOBBY_FRAME_BYTES)

    async def say(self, message: wire.Spoken) -> None:
        async with asyncio.timeout(LOBBY_REPLY_TIMEOUT):
            self._writer.write(wire.frame(message))
            await self._writer.drain()

    async def gone(self) -> None:
        """Returns when the visitor closes, or says something out of turn."""
        with suppress(OSError):
            await self._reader.read(1)
