"""Who belongs to the room, what they may do, and whom this machine trusts."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from fedtui.cli import output
from fedtui.cli.room.place import ask_node
from fedtui.cli.room.words import Json

Peer = Annotated[str, typer.Argument(help="A member's name, or the beginning of its id.")]


def members(json: Json = False) -> None:
    """Who belongs to the room, with the words to compare by voice."""
    listed: list[dict[str, Any]] = ask_node("members")["members"]
    if json:
        output.data_json(listed)
        return
    rows = [
        (
            one["name"] + (" (this node)" if one["me"] else ""),
            one["peer"][:8],
            one["role"],
            "verified" if one["verified"] else "-",
            one["fingerprint"],
            " ".join(one["words"]),
        )
        for one in listed
    ]
    output.data(output.table(("name", "id", "role", "mark", "fingerprint", "words"), rows))


def remove(
    peer: Peer,
    reason: Annotated[str, typer.Option(help="Told to the room.")] = "",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if too few voters are left to go on.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove a member for good: its key never comes back."""
    told = ask_node("remove", peer=peer, reason=reason, anyway=anyway)
    if json:
        output.data_json(told)
    elif told["state"] == "removed":
        output.say(f"{told['name']} is no member any more")
    else:
        output.say(f"other admins must also remove {told['name']} before it takes effect")


def promote(
    peer: Peer,
    undo: Annotated[bool, typer.Option("--undo", help="Take the right back.")] = False,
    json: Json = False,
) -> None:
    """Make a member an admin, who can invite and remove others."""
    told = ask_node("promote", peer=peer, admin=not undo)
    if json:
        output.data_json(told)
    elif told["needs_others"]:
        output.say("other admins must do the same before it takes effect")
    else:
        output.say(f"the room has {len(told['admins'])} admin(s) now")


def verify(
    peer: Peer,
    undo: Annotated[bool, typer.Option("--undo", help="Take the mark back.")] = False,
    json: Json = False,
) -> None:
    """Mark a member whose words you have compared with them."""
    told = ask_node("verify", peer=peer, verified=not undo)
    if json:
        output.data_json(told)
    else:
        words = " ".join(told["words"])
        output.say(f"{told['name']} ({words}) is {'no longer ' if undo else ''}marked as verified")


def history(json: Json = False) -> None:
    """Whom this machine has met, and what was decided about them."""
    from fedtui import paths
    from fedtui.trust import TrustBook

    events = TrustBook(paths.default_profile().trust).history()
    if json:
        output.data_json([asdict(event) for event in events])
        return
    rows = [
        (time.strftime("%Y-%m-%d %H:%M", time.localtime(event.ts)), event.event,
         event.name, event.peer[:8], event.room[:8])
        for event in events
    ]  # fmt: skip
    output.data(output.table(("when", "what", "name", "id", "room"), rows))
