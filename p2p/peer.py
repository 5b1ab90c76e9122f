"""One participant of one room: everything of p2p put together behind a few methods.

:class:`Peer` is what the product constructs. It owns a directory (``ledger.sqlite``, ``blobs/``,
a lock), the member port, discovery, liveness and the rounds, reports what happens through
``emit`` and shows where it stands through :meth:`Peer.snapshot`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from p2p import clock
from p2p.accepting import ANY_IPV4, ANY_IPV6
from p2p.addresses import Address, AddressBook
from p2p.blobs.chunks import BlobRef
from p2p.blobs.store import BlobStore
from p2p.changes import Changes
from p2p.client import PeerClient
from p2p.discovery import Discovery
from p2p.envelope import Envelope
from p2p.errors import BlobUnavailable, TrustError
from p2p.events import Emit
from p2p.farewell import Farewells
from p2p.gossip.driver import Gossip, GossipListener
from p2p.gossip.effects import Liveness
from p2p.gossip.hello import Status
from p2p.identity import Identity
from p2p.limits import PROBE_INTERVAL, ROOM_QUOTA_BYTES
from p2p.membership import Membership
from p2p.operations import Operation
from p2p.pacing import Bandwidth
from p2p.paths import Paths
from p2p.relay import Relay
from p2p.removals import Removals, operations_of
from p2p.room import Member, Plan, read_genesis
from p2p.rounds.admission import verify_operation
from p2p.rounds.core import RoundCore
from p2p.rounds.driver import RoundDriver
from p2p.rounds.effects import Journal, OperationHeard
from p2p.rounds.ledger import Ledger
from p2p.rounds.limits import ALIVE_INTERVAL, DISCOVERY_GRACE, KEPT_INPUT_ROUNDS
from p2p.rounds.rekeying import Rekeying
from p2p.rounds.rules import Facts
from p2p.rounds.signing import EnvelopeSigner
from p2p.rounds.state import OwnContribution, Timing
from p2p.scores import Scores
from p2p.server import MemberServer
from p2p.status import Observer, PeerSnapshot, changes, display_name
from p2p.store import DirectoryLock
from p2p.tasks import TaskOwner
from p2p.tls import MemberTLS
from p2p.workload import Workload


class Peer:
    """A running member. :meth:`start` and :meth:`stop` once each.

    ``directory`` belongs to this peer in this room. ``host`` and ``port`` are where the member
    port listens (0.0.0.0 includes IPv6; 0: any free one), ``interfaces`` the addresses of ours to
    announce and look on (None: all). ``addresses`` are further hints, by peer id; ``seeds`` are
    ``HOST:PORT`` of members that are usually there, for networks without multicast. ``bandwidth``
    limits what blobs take of the network, ``quota`` (bytes) what they take of the disk; the inputs
    of the last ``kept_rounds`` rounds are kept within it.

    A node that has just been admitted also needs ``operations``, what :meth:`operations` of any
    member gives: they are checked against the genesis, kept, and not needed at later starts. The
    ledger and all else it fetches from the members by itself, checking every certificate.
    """

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        genesis_envelope: Envelope,
        workload: Workload,
        *,
        operations: Sequence[Operation] = (),
        host: str = "0.0.0.0",
        port: int = 0,
        interfaces: Sequence[str] | None = None,
        addresses: Mapping[str, Sequence[Address]] | None = None,
        seeds: Sequence[str] = (),
        timing: Timing | None = None,
        discovery_grace: float = DISCOVERY_GRACE,
        probe_interval: float = PROBE_INTERVAL,
        bandwidth: Bandwidth | None = None,
        kept_rounds: int = KEPT_INPUT_ROUNDS,
        quota: int = ROOM_QUOTA_BYTES,
        emit: Emit,
    ) -> None:
        self.identity: Final = identity
        self.room_id: Final = genesis_envelope.id
        self.genesis: Final = read_genesis(genesis_envelope)
        self._operations = tuple(operations)
        self._membership = Membership.founding(self.genesis)
        self._directory = directory
        self._workload = workload
        self._host = host
        self._port = port
        self._interfaces = interfaces
        self._timing = timing or Timing()
        self._grace = discovery_grace
        self._probe_interval = probe_interval
        self._bandwidth = bandwidth or Bandwidth()
        self._kept_rounds = kept_rounds
        self._quota = quota
        self._emit = emit
        self._seeds = seeds
        self._book = AddressBook()
        for peer_id, known in (addresses or {}).items():
            self._book.hint(peer_id, known)
        self._scores = Scores(lambda peer: emit("peer.graylisted", peer=peer))
        self._tasks = TaskOwner("peer")
        self.exhibits: Callable[[int], Awaitable[bytes | None]] | None = None
        self._found: set[str] = set()
        self._gave_way = False
        self._started_at = 0.0
        self._running = AsyncExitStack()

    # --- life ------------------------------------------------------------------------------------
    async def start(self) -> None:
        """Recovers what the directory holds, opens the port and joins the round under way.

        Raises:
            TrustError: this identity is not a member of the room.
            ProtocolError: the operations are not signed by the room's admins.
            StorageError: the directory is in use by another process, or the disk refuses.
            NetworkError: the port is taken. What had been opened is closed again in any case.
        """
        async with AsyncExitStack() as stack:
            await self._start(stack)
            self._running = stack.pop_all()
        self._emit("room.joined", room=self.room_id, round=self.round, head=self.head)
        self._give_way()

    async def _start(self, stack: AsyncExitStack) -> None:
        lock = await asyncio.to_thread(DirectoryLock, self._directory)
        stack.callback(lock.release)
        self._ledger = await asyncio.to_thread(Ledger, self._directory, self.room_id)
        stack.push_async_callback(asyncio.to_thread, self._ledger.close)
        journal = await asyncio.to_thread(self._ledger.journal)
        starts = await asyncio.to_thread(self._ledger.next_incarnation)
        self.blobs = BlobStore(
            self._directory / "blobs", max_blob=self.genesis.policy.max_blob, quota=self._quota
        )
        self.blobs.accuse = self._on_wrong_bytes
        signer = EnvelopeSigner(self.identity, self.room_id)
        await asyncio.to_thread(self._remember_operations, journal, signer)
        vouched = [operation.id for operation in self._operations]
        self._core = RoundCore(self.genesis, self.room_id, signer, journal, self._timing, vouched)
        self._rekeying = Rekeying(self._core)
        self._membership = self._core.membership
        if self.identity.peer_id not in self.members and not self._removals.leaves_open(journal):
            raise self._removals.refusal()
        tls = MemberTLS(self.identity, self._certificates())
        self._client = PeerClient(tls, self._book, download_rate=self._bandwidth.download)
        await self._client.start()
        stack.push_async_callback(self._client.stop)
        self._driver = RoundDriver(
            self._core,
            self._ledger,
            self.blobs,
            self._client,
            self._workload,
            emit=self._emit,
            reachable=lambda: self._gossip.alive(),
            moved=self._moved,
            members_changed=self._on_members,
            misbehaved=self._scores.invalid,
            kept_rounds=self._kept_rounds,
        )
        self.changes = Changes(self.room_id, self._core, self._driver)
        self._server = MemberServer(
            tls,
            self,
            self.blobs,
            relay=Relay(self._book),
            scores=self._scores,
            upload_rate=self._bandwidth.upload,
        )
        both = self._host == ANY_IPV4
        await self._server.start((ANY_IPV4, ANY_IPV6) if both else (self._host,), self._port)
        stack.push_async_callback(self._server.stop)
        self._gossip = self._new_gossip(starts)
        self._discovery = Discovery(
            self.identity.peer_id,
            self.room_id,
            self._server.port,
            on_hint=self._on_hint,
            interfaces=self._interfaces,
        )
        self._paths = Paths(
            self._directory,
            self._book,
            self._client,
            self._gossip,
            self._discovery,
            interfaces=self._interfaces,
            seeds=self._seeds,
        )
        self._observer = Observer(
            self.room_id, self._core, self._driver, self._gossip, self._paths, self._discovery,
            self._client.received, self._server.sent,
        )  # fmt: skip
        self._farewells = Farewells(
            self._client, lambda peer: self._removals.notice(peer), self._has_understood
        )
        self._farewells.set_removed(self._removals.certificates())
        self._started_at = clock.now()
        self._moved()
        for part in (self._paths, self._gossip, self._discovery, self._driver, self._farewells):
            await part.start()
            stack.push_async_callback(part.stop)
        self._tasks.spawn(self._tell_who_is_there(), "liveness")
        stack.push_async_callback(self._tasks.cancel)

    def _new_gossip(self, starts: int) -> Gossip:
        return Gossip(
            self.identity,
            self.room_id,
            self._client,
            self._book,
            members=self.members,
            starts=starts,
            port=self._server.port,
            interval=self._probe_interval,
            listener=GossipListener(
                peer_head=self._on_peer_head,
                peer_state=self._on_peer_state,
                witnessed=lambda peer, helper: self._paths.on_witnessed(peer, helper),
                located=lambda peer: self._paths.on_located(peer),
                woke=self._on_woke,
                misbehaved=self._scores.invalid,
            ),
        )

    def _remember_operations(self, journal: Journal, signer: EnvelopeSigner) -> None:
        """Takes in what admitted this node, once."""
        if not self._operations:
            return
        known = Facts.of(self.genesis, self.room_id, journal.commits).membership
        for operation in self._operations:
            if operation.id in journal.operations or known.is_outdated(operation):
                continue
            verify_operation(operation, signer)
            record = OperationHeard(journal.round, operation)
            self._ledger.write(record)
            journal.apply(record)

    async def stop(self) -> None:
        """Says goodbye and ends everything; the directory may be opened again afterwards."""
        await self._running.aclose()

    # --- what the server asks --------------------------------------------------------------------
    def on_message(self, sender: str, data: bytes) -> None:
        """See :class:`p2p.server.RoomHandler`."""
        self._driver.on_message(sender, data)
        self._rekeying.on_message(sender, data)
        self._give_way()

    def on_hello(self, sender: str, data: bytes, host: str) -> bytes:
        """See :class:`p2p.server.RoomHandler`."""
        return self._gossip.answer(sender, data, host)

    async def on_probe(self, sender: str, peer_id: str) -> bytes:
        """See :class:`p2p.server.RoomHandler`."""
        return await self._gossip.probe_for(sender, peer_id)

    async def exhibit(self, sender: str, round_number: int) -> bytes:
        """See :class:`p2p.server.RoomHandler`. ``exhibits`` says what there is to give; None, or no
        ``exhibits`` at all, is nothing."""
        member = self.members.get(sender)
        if member is None or not member.sees_previews:
            raise TrustError("this member may not see the previews of others")
        given = await self.exhibits(round_number) if self.exhibits is not None else None
        if given is None:
            raise BlobUnavailable("there are no previews to give")
        return given

    async def exhibit_of(self, peer_id: str, round_number: int) -> bytes:
        """The pictures of a round that a member gives us, unchecked. Raises NetworkError,
        TrustError."""
        return await self._client.exhibit(peer_id, round_number)

    def ledger_entries(self, first_round: int) -> Iterable[bytes]:
        """See :class:`p2p.server.RoomHandler`."""
        return self._ledger.entries(first_round)

    # --- members ---------------------------------------------------------------------------------
    @property
    def members(self) -> Mapping[str, Member]:
        """Who belongs to the room now, also when no commit says so yet."""
        return self._membership.members

    @property
    def admins(self) -> frozenset[str]:
        return self._membership.admins

    @property
    def admin_threshold(self) -> int:
        """How many admins must sign a change of the membership, as soon as there are as many."""
        return self._membership.threshold

    @property
    def signatures_needed(self) -> int:
        """How many admins must sign a change of the membership now."""
        return self._membership.needed

    @property
    def removed(self) -> frozenset[str]:
        """Keys that admins removed: they never come back."""
        return self._membership.removed

    @property
    def removal(self) -> Operation | None:
        """What removed this machine from the room, signed by whoever did; None for a member."""
        me = self.identity.peer_id
        return None if me in self.members else self._removals.of(me)

    @property
    def is_leaving(self) -> bool:
        """Whether this machine has said goodbye, and is a member until the commit that holds it."""
        return self._core.leaves

    def addresses(self) -> dict[str, tuple[Address, ...]]:
        """Where the members may be, as far as this node knows; hints like all addresses."""
        known = {peer: self._book.of(peer) for peer in self.members}
        return {peer: addresses for peer, addresses in known.items() if addresses}

    def operations(self) -> tuple[Operation, ...]:
        """Every change of the membership that acts, since the genesis, in order: with the genesis
        and an address, all that a newcomer needs."""
        return operations_of(self._core)

    @property
    def successor(self) -> str | None:
        """The key that took the place of this node's; None while it has not been changed."""
        return self._membership.successors.get(self.identity.peer_id)

    def now(self, peer: str) -> str:
        """The key that took the place of a member's; ``peer`` itself while none has."""
        return self._membership.now(peer)

    @property
    def started(self) -> int:
        """The last round that somebody has started, where the plan has them wait; else 0."""
        return self._membership.started

    def _certificates(self) -> dict[str, bytes]:
        return {peer: member.certificate_der for peer, member in self.members.items()}

    # --- who was removed -------------------------------------------------------------------------
    @property
    def _removals(self) -> Removals:
        return Removals(self.genesis, self._core, self._membership)

    def _has_understood(self, peer: str) -> bool | None:
        """Of a given-up key, whether the one that took its place is there: its machine may stop
        after it was told, and forgets then who told it."""
        now = self.now(peer)
        return None if now == peer else now not in self.members or now in self._gossip.alive()

    def _on_hint(self, peer_id: str, addresses: Sequence[Address]) -> None:
        if peer_id in self.removed:
            self._book.hint(peer_id, addresses)
            self._farewells.on_hint(peer_id)
        else:
            self._gossip.on_hint(peer_id, addresses)

    def _on_members(self, membership: Membership) -> None:
        before, self._membership = self._membership, membership
        self._server.set_members(self._certificates())
        self._gossip.set_members(self.members)
        for peer in before.members.keys() - self.members.keys():
            self._client.forget(peer)
            self._found.discard(peer)
        self._farewells.set_removed(self._removals.certificates())
        for type_, fields in changes(before, membership):
            if type_ == "member.removed":
                fields["reason"] = self._removals.reason(str(fields["peer"]))
            self._emit(type_, **fields)
        self._give_way()

    # --- giving a key up -------------------------------------------------------------------------
    def _on_peer_head(self, peer: str, round_number: int) -> None:
        self._driver.on_peer_head(peer, round_number)
        self._rekeying.on_peer_head(peer, round_number)
        self._give_way()

    def _give_way(self) -> None:
        """Says, once, that the next key can take over: this one is given up, and not only here."""
        if self.successor is not None and not self._gave_way and self._rekeying.is_time:
            self._gave_way = True
            self._emit("key.changed", peer=self.successor)

    def _on_wrong_bytes(self, peer: str, sha256: str) -> None:
        """A member sent bytes that are not what was signed: it is not asked for that blob again."""
        self._scores.invalid(peer)
        self._emit("blob.refused", peer=peer, sha256=sha256)

    # --- taking part -----------------------------------------------------------------------------
    @property
    def port(self) -> int:
        """The TCP port of the member server."""
        return self._server.port

    @property
    def plan(self) -> Plan:
        return self.genesis.plan

    @property
    def round(self) -> int:
        """The round being worked on; greater than ``plan.rounds`` when the room is done."""
        return self._core.round

    @property
    def head(self) -> str:
        """The hash of the last commit, equal on all members that are up to date."""
        return self._core.head

    @property
    def done(self) -> bool:
        return self._core.done

    @property
    def is_asked(self) -> bool:
        """Whether the current round wants a contribution of this node now; the plan may ask only
        some of the participants, others each time, and have rounds wait until they are started."""
        core = self._core
        trains = core.membership.trains(core.me) and core.facts.asks(core.me)
        return trains and not core.held

    def contributed(self, round_number: int) -> bool:
        """Whether there is nothing left to train for a round, also after a restart."""
        if round_number != self.round:
            return round_number < self.round
        return self._core.contributed

    async def provide(self, source: Path | bytes) -> str:
        """Stores a blob that others may ask for, such as the room's initial state; returns its
        SHA-256. Raises LimitError, StorageError."""
        return (await self.blobs.put(source)).sha256

    @property
    def state(self) -> BlobRef:
        """The state that the current round trains from: the last result."""
        return self._core.facts.previous

    async def previous(self) -> Path:
        """The state that the current round trains from, fetched when it is not here yet.

        Raises:
            BlobUnavailable: nobody reachable has it now; try again.
        """
        # Before the first round only who founded the room is sure to have it.
        return await self._driver.blob(self._core.facts.previous, sorted(self.admins))

    async def contribute(
        self,
        path: Path,
        *,
        round_number: int | None = None,
        samples: int,
        steps: int,
        loss_milli: int | None = None,
    ) -> str:
        """Hands in what was trained for a round (the current one); returns the blob's SHA-256.

        File and contribution are durable when this returns; :meth:`contributed` is true then. A
        round that has moved on refuses it, as does one that has a contribution of this node.

        Raises:
            LimitError: the file is larger than the room allows.
            StorageError: the disk refused.
        """
        number = self.round if round_number is None else round_number
        ref = await self.blobs.put(path)
        own = OwnContribution(number, ref, samples, steps, loss_milli)
        with self.blobs.pinned(ref.sha256):
            await self._driver.contribute(own)
        return ref.sha256

    def leave_round(self, round_number: int) -> None:
        """Tells the others not to wait: nothing will come from this node in a round (it has no
        data, or its training failed). It still votes."""
        self._driver.on_leave(round_number)

    def set_status(self, status: Status) -> None:
        """What other members see of this node's work: flat, small, never acted upon.

        Raises:
            ValueError: above 1 KiB, or not flat names to numbers, flags and texts.
        """
        self._gossip.set_status(status)

    async def add_address(self, host: str, port: int) -> str:
        """Finds out which member answers at a place that somebody named; returns its id. It is
        dialled there from now on.

        Raises:
            NetworkError: nobody answers there, or no member.
        """
        return await self._paths.add(host, port)

    # --- liveness --------------------------------------------------------------------------------
    async def _tell_who_is_there(self) -> None:
        while True:
            self._driver.on_alive(self._present())
            self._give_way()
            await asyncio.sleep(ALIVE_INTERVAL)

    def _present(self) -> set[str]:
        present = self._gossip.alive() | {self.identity.peer_id}
        if clock.now() - self._started_at < self._grace:
            present |= {p for p, health in self._gossip.peers().items() if health.heard is None}
        return present

    def _on_peer_state(self, peer: str, before: Liveness, after: Liveness) -> None:
        if after is Liveness.ALIVE and peer not in self._found:
            self._found.add(peer)
            self._emit("peer.found", peer=peer, name=display_name(self.members[peer]))
        self._emit("peer.state", peer=peer, before=before.value, state=after.value)
        self._driver.on_alive(self._present())

    def _on_woke(self, seconds: float) -> None:
        self._emit("node.woke", seconds=round(seconds, 1))
        self._paths.on_woke()

    def _moved(self) -> None:
        self._gossip.local_head(self._core.round, self._core.head, self._core.attempt)
        self._observer.look(clock.now())

    # --- showing ---------------------------------------------------------------------------------
    def snapshot(self) -> PeerSnapshot:
        """Everything a screen may show, as plain frozen values."""
        return self._observer.snapshot(clock.now())
