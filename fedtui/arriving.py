"""Another room for this machine, without leaving the one it works for: its own rooms, a new one, or
one that somebody invited it to.

A profile works for one room at a time. So whatever succeeds here ends in a switch, and the service
starts anew for the other room; what fails or is stopped changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fedtui import rooms
from fedtui.control.operations import Operations
from fedtui.entering import enter, own_name, read_invite
from fedtui.errors import FedtuiError, UsageError
from fedtui.founding import found_planned
from fedtui.inviting import translated
from fedtui.limits import NEARBY_S
from fedtui.paths import Profile
from fedtui.room_plan import RoomPlan
from fedtui.rooms import Room
from fedtui.settings import Settings
from p2p.errors import P2PError
from p2p.tasks import TaskOwner


@dataclass(frozen=True)
class Nothing:
    """No arguments."""


@dataclass(frozen=True, kw_only=True)
class NewRoom(RoomPlan):
    """A plan, and what the room is called."""

    room: str


@dataclass(frozen=True)
class Invited:
    """``invite``: a link, a code, or a file that holds one of them."""

    invite: str


@dataclass
class Journey:
    """How far it is: ``step`` is one of :mod:`p2p.joining.joiner`, ``making`` or ``done``;
    ``words`` stand on the inviter's screen, too."""

    step: str
    words: tuple[str, ...] = ()
    room: Room | None = None
    error: FedtuiError | None = None


class Arriving:
    """One journey at a time. ``switch`` has the node work for another room from now on."""

    def __init__(
        self,
        profile: Profile,
        settings: Settings,
        room: Room,
        *,
        name: Callable[[], str],
        switch: Callable[[Room], None],
    ) -> None:
        self._profile = profile
        self._settings = settings
        self._room = room
        self._name = name
        self._switch = switch
        self._tasks = TaskOwner("arriving")
        self._task: asyncio.Task[Any] | None = None
        self._journey: Journey | None = None

    def offer(self, operations: Operations) -> None:
        """Adds what the control API can ask for."""
        operations.add("rooms", Nothing, self._list)
        operations.add("rooms_nearby", Nothing, self._nearby)
        operations.add("make_room", NewRoom, self._make)
        operations.add("enter_room", Invited, self._enter)
        operations.add("arriving", Nothing, self._tell)
        operations.add("stay", Nothing, self._stay)

    async def stop(self) -> None:
        """Ends what is under way; nothing has changed then."""
        await self._tasks.cancel()

    async def _list(self, _: Nothing) -> dict[str, Any]:
        """This machine's rooms, by name."""
        found = await asyncio.to_thread(rooms.listed, self._profile)
        return {
            "rooms": [
                {
                    "room": room.id,
                    "name": room.name,
                    "active": room.id == self._room.id,
                    "model": room.task.model,
                    "rounds": room.genesis.plan.rounds,
                    "done": max(rooms.committed_adapters(room.paths), default=0),
                }
                for room in found
            ]
        }

    async def _nearby(self, _: Nothing) -> dict[str, Any]:
        """How many rooms announce themselves; this machine's own is among them."""
        from p2p.nearby import rooms_nearby

        try:
            return {"count": await rooms_nearby(NEARBY_S, self._settings.interfaces or None)}
        except OSError as error:
            raise FedtuiError("the network cannot be listened to", str(error)) from error

    async def _make(self, wanted: NewRoom) -> dict[str, Any]:
        """Begins to make a room; ``arriving`` tells what becomes of it."""
        me = own_name(self._settings, self._name())
        return self._begin("making", lambda: found_planned(self._profile, me, wanted.room, wanted))

    async def _enter(self, wanted: Invited) -> dict[str, Any]:
        """Begins to ask to be let in; ``arriving`` tells what becomes of it."""
        invite = read_invite(wanted.invite)

        def step(name: str, words: tuple[str, ...]) -> None:
            if self._journey is not None:
                self._journey.step = name
                self._journey.words = words or self._journey.words

        async def ask() -> Room:
            entry = await enter(
                self._profile, self._settings, invite, name=self._name(), on_step=step
            )
            return entry.room

        return self._begin("looking", ask)

    def _begin(self, step: str, work: Callable[[], Awaitable[Room]]) -> dict[str, Any]:
        if self._task is not None and not self._task.done():
            raise UsageError("this machine is on its way to another room already")
        self._journey = Journey(step)
        self._task = self._tasks.spawn(self._travel(self._journey, work), step)
        return self._told()

    async def _travel(self, journey: Journey, work: Callable[[], Awaitable[Room]]) -> None:
        try:
            room = await work()
        except FedtuiError as error:
            journey.error = error
        except P2PError as error:
            journey.error = translated(error)
        except Exception as error:
            journey.error = FedtuiError("it came to nothing", f"{type(error).__name__}: {error}")
            raise
        else:
            journey.room, journey.step = room, "done"
            if room.id != self._room.id:
                self._switch(room)
        finally:
            if journey.room is None:  # What was begun may have made itself the current one.
                rooms.use(self._profile, self._room)

    async def _tell(self, _: Nothing) -> dict[str, Any]:
        return self._told()

    def _told(self) -> dict[str, Any]:
        journey = self._journey
        if journey is None:
            return {"step": "", "words": [], "room": "", "name": "", "switching": False}
        told: dict[str, Any] = {
            "step": journey.step,
            "words": list(journey.words),
            "room": journey.room.id if journey.room else "",
            "name": journey.room.name if journey.room else "",
            "switching": journey.room is not None and journey.room.id != self._room.id,
        }
        if journey.error is not None:
            error = journey.error
            told |= {
                "step": "failed", "title": error.title, "cause": error.cause,
                "remedy": error.remedy,
            }  # fmt: skip
        return told

    async def _stay(self, _: Nothing) -> dict[str, Any]:
        """Stops the journey, if it can still be stopped."""
        journey = self._journey
        await self._tasks.cancel()
        arrived = journey is not None and journey.room is not None
        if not arrived:
            self._journey = None
        return {"stayed": not arrived}
