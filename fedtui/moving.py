"""How a node comes to work for another room or for none: it switches, leaves, or forks its room."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedtui import rooms
from fedtui.control.operations import Operations
from fedtui.errors import UsageError
from fedtui.founding import continue_room
from fedtui.governance import Governance, require_admin
from fedtui.inviting import translated
from fedtui.keys import take_next
from fedtui.limits import FORK_SPREAD_S, MOVED_TOLD_S
from fedtui.paths import Profile
from fedtui.rooms import Room
from p2p.errors import P2PError
from p2p.identity import Identity
from p2p.peer import Peer
from p2p.room import Continuation
from p2p.status import display_name
from p2p.tasks import TaskOwner

ANSWER_FIRST_S = 0.05
"""Before a node ends by an operation: the caller must learn that it worked."""
NEEDED_CHECK_S = 1.0


@dataclass(frozen=True)
class Switch:
    """``room``: a name, or the beginning of an id."""

    room: str


@dataclass(frozen=True)
class Leave:
    """``anyway``: without telling the others; also as the last admin."""

    anyway: bool = False


@dataclass(frozen=True)
class Recovery:
    """``anyway``: although the room has its quorum."""

    anyway: bool = False


class Moving:
    """Ends the work for ``room``; ``stop`` asks the node to end, and ``switching`` says that its
    service starts anew: for another room of the profile, or with another key."""

    def __init__(
        self,
        profile: Profile,
        room: Room,
        identity: Identity,
        peer: Peer,
        governance: Governance,
        *,
        stop: Callable[[], None],
    ) -> None:
        self.switching = False
        self._profile = profile
        self._room = room
        self._identity = identity
        self._peer = peer
        self._governance = governance
        self._ask_to_stop = stop
        self._tasks = TaskOwner("moving")

    def offer(self, operations: Operations) -> None:
        """Adds what the control API can ask for."""
        operations.add("switch", Switch, self._switch)
        operations.add("recover", Recovery, self._recover)
        operations.add("leave", Leave, self._leave)

    async def stop(self) -> None:
        """Waits for nothing any more."""
        await self._tasks.cancel()

    def take_new_key(self, successor: str) -> None:
        """The room knows this machine by its new key now: the service starts anew with that.

        Raises :class:`FedtuiError` when there is no such key here, or the disk refuses; the node
        ends in any case.
        """
        self._ask_to_stop()
        try:
            take_next(self._profile, self._room.paths, successor)
        except P2PError as error:
            raise translated(error) from error
        self.switching = True

    def begin_anew(self, room: Room) -> None:
        """Works for another room of the profile, after a moment in which whoever waited for it
        hears that it will."""
        rooms.use(self._profile, room)
        self.switching = True
        asyncio.get_running_loop().call_later(MOVED_TOLD_S, self._ask_to_stop)

    async def _switch(self, wanted: Switch) -> dict[str, Any]:
        """Works for another room of the profile from now on; the service starts anew for it."""
        room = rooms.named(self._profile, wanted.room)
        rooms.use(self._profile, room)
        self.switching = room.id != self._room.id
        if self.switching:
            self._stop_soon()
        return {"room": room.id, "name": room.name, "switching": self.switching}

    async def _leave(self, wanted: Leave) -> dict[str, Any]:
        """Works for no room from now on, and ends; what is on disk stays there."""
        told = not wanted.anyway and self._identity.peer_id in self._peer.members
        if told:
            await self._governance.leave()
        waits = told and self._is_needed
        if waits:
            self._tasks.spawn(self._leave_when_unneeded(), "leaving")
        else:
            self._have_left()
        return {"room": self._room.id, "name": self._room.name, "told": told, "waits": waits,
                "folder": str(self._room.paths.root)}  # fmt: skip

    def _have_left(self) -> None:
        rooms.use(self._profile, None)
        self._stop_soon()

    def _stop_soon(self) -> None:
        asyncio.get_running_loop().call_later(ANSWER_FIRST_S, self._ask_to_stop)

    async def _leave_when_unneeded(self) -> None:
        """A voter whose goodbye waits for a commit votes until then, or until nobody is there:
        whoever has the commit lets it in no more."""
        while True:
            await asyncio.sleep(NEEDED_CHECK_S)
            if not self._is_needed:
                self._have_left()
                return

    @property
    def _is_needed(self) -> bool:
        others = (peer.state for peer in self._peer.snapshot().peers if not peer.me)
        return self._peer.is_leaving and any(state in ("alive", "suspect") for state in others)

    async def _recover(self, wanted: Recovery) -> dict[str, Any]:
        """Forks the room with those who are here, and works for the new one."""
        require_admin(self._peer)
        snapshot = self._peer.snapshot()
        if snapshot.phase != "PAUSED" and not wanted.anyway:
            raise UsageError(
                "the room still works: it needs no recovery",
                f"{snapshot.quorum} of its {len(snapshot.voters)} voters decide, and are here",
                "a fork splits the room for good; say --anyway if you mean it",
            )
        here = {peer.id for peer in snapshot.peers if peer.me or peer.state == "alive"}
        survivors = [m for id_, m in sorted(self._peer.members.items()) if id_ in here]
        made = await continue_room(
            self._profile,
            self._identity,
            self._room,
            survivors,
            Continuation(room=self._room.id, round=self._peer.round - 1, head=self._peer.head),
            (self._peer.state, await self._peer.previous()),
        )
        try:
            await self._peer.changes.fork(made.envelope)
        except P2PError as error:  # The room has moved on meanwhile, say: nobody heard of the fork.
            await asyncio.to_thread(shutil.rmtree, made.paths.root, ignore_errors=True)
            raise translated(error) from error
        await asyncio.sleep(FORK_SPREAD_S)
        left = [display_name(m) for id_, m in self._peer.members.items() if id_ not in here]
        await self._switch(Switch(made.id))
        return {
            "room": made.id,
            "name": made.name,
            "members": [display_name(m) for m in survivors],
            "left_out": sorted(left),
            "after_round": self._peer.round - 1,
        }
