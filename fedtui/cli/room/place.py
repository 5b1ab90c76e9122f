"""The node of this profile, or what stands in for it when none runs."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fedtui.errors import ExitCode, FedtuiError, TrustError

if TYPE_CHECKING:
    from fedtui.inviting import InviteChoices, InviteView, Place
    from fedtui.paths import Profile
    from fedtui.rooms import Room
    from fedtui.settings import Settings
    from p2p.identity import Identity

SWITCH_S = 40.0


def owner() -> tuple[Profile, Settings, Identity]:
    """This machine's profile, settings and key, made if there is none yet."""
    from fedtui import paths, settings
    from p2p.identity import Identity

    profile = paths.default_profile()
    chosen = settings.load(profile)
    profile.create()
    return profile, chosen, Identity.load_or_create(profile.identity)


def resident() -> tuple[Settings, Room, Identity]:
    """This machine's settings, the room it works for and its key there. Raises
    :class:`FedtuiError` when there is none."""
    from fedtui import rooms
    from fedtui.keys import identity_in

    profile, chosen, _ = owner()
    room = rooms.current(profile)
    return chosen, room, identity_in(profile, room.paths)


def ask(name: str, **arguments: Any) -> dict[str, Any] | None:
    """Asks the running node; None when none runs."""
    from fedtui import paths
    from fedtui.cli import running
    from fedtui.control.client import ControlClient, NoNode
    from fedtui.limits import ROOM_OPERATION_S

    async def main() -> dict[str, Any] | None:
        async with ControlClient(paths.default_profile().control) as client:
            try:
                return await client.do(name, within_s=ROOM_OPERATION_S, **arguments)
            except NoNode:
                return None

    return running.run(main())


def ask_node(name: str, **arguments: Any) -> dict[str, Any]:
    """Asks the running node. Raises :class:`FedtuiError` when none runs."""
    from fedtui import paths, rooms

    told = ask(name, **arguments)
    if told is None:
        from fedtui.control.client import START_A_NODE

        # A node may answer from another machine, whose rooms are not in this profile.
        rooms.current(paths.default_profile())
        raise FedtuiError(
            "no node is running on this profile",
            "only a running node knows, or can change, who belongs to the room",
            START_A_NODE,
            code=ExitCode.NETWORK,
        )
    return told


def works_for(room: Room) -> bool:
    """Whether a node runs here and works for this room."""
    from fedtui import paths
    from fedtui.cli import running
    from fedtui.control.client import ControlClient, NoNode

    async def main() -> bool:
        async with ControlClient(paths.default_profile().control) as client:
            try:
                return (await client.view()).room_id == room.id
            except NoNode:
                return False

    return running.run(main())


def switch(room: Room) -> bool:
    """Has a running node work for the room, and waits until it does; whether there is one."""
    told = ask("switch", room=room.id)
    if told is None:
        return False
    if told["switching"]:
        await_room(room)
    return True


def await_room(room: Room) -> None:
    """Waits until the node works for the room. Raises :class:`FedtuiError` when it does not."""
    end = time.monotonic() + SWITCH_S
    while not works_for(room):
        if time.monotonic() > end:
            raise FedtuiError(
                f"the node does not begin to work for {room.name}",
                f"it had {SWITCH_S:.0f} s",
                "look at its log (`fedtui locate`)",
            )
        time.sleep(0.1)


def issue(settings: Settings, identity: Identity, room: Room, choices: InviteChoices) -> InviteView:
    """A new invite, made by the node or, when none runs, in its place."""
    from fedtui.inviting import InviteView, issue, shown
    from fedtui.view import from_json
    from p2p.joining.invites import InviteBook

    if works_for(room) and (told := ask("invite", **asdict(choices))) is not None:
        return from_json(InviteView, told)
    if identity.peer_id not in room.genesis.admins:
        raise TrustError(
            "only an admin's machine can invite",
            f"no node is running, and this machine did not found {room.name}",
            "start the node with `fedtui --daemon` and try again, or ask an admin",
        )
    book = InviteBook(room.paths.root)
    try:
        return shown(issue(book, choices), lobby_place(settings, identity, room, book))
    finally:
        book.close()


def lobby_place(settings: Settings, identity: Identity, room: Room, book: Any) -> Place:
    """Where the lobby will be. Without a node only the genesis is sure to be history."""
    from fedtui.inviting import Place, lobby_addresses, reserved_port

    addresses = lobby_addresses(settings, reserved_port(book, settings.host))
    return Place(room.id, identity.peer_id, addresses, 0, room.id)
