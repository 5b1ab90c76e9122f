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
    """List the members, with the words to compare by voice."""
    listed: list[dict[str, Any]] = ask_node("members")["members"]
    if json:
        output.data_json(listed)
        return
    rows = [
        (
            one["name"] + (" (this node)" if one["me"] else ""),
            one["peer"][:8],
            one["role"],
            _may(one["may"]),
            "verified" if one["verified"] else "-",
            one["fingerprint"],
            " ".join(one["words"]),
        )
        for one in listed
    ]
    output.data(output.table(("name", "id", "role", "may", "mark", "fingerprint", "words"), rows))


def remove(
    peer: Peer,
    reason: Annotated[str, typer.Option(help="Why, for the room to read.")] = "",
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
        _say_others(told)


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
        _say_others(told)
    else:
        output.say(f"the room has {len(told['admins'])} admin(s) now")


def permit(
    peer: Peer,
    contribute: Annotated[
        bool | None,
        typer.Option("--contribute/--no-contribute", help="Train, contribute and vote."),
    ] = None,
    start_rounds: Annotated[
        bool | None,
        typer.Option("--start-rounds/--no-start-rounds", help="Start rounds that wait for it."),
    ] = None,
    see_previews: Annotated[
        bool | None,
        typer.Option("--see-previews/--no-see-previews", help="Get pictures others drew."),
    ] = None,
    observer: Annotated[
        bool | None,
        typer.Option("--observer/--participant", help="Only watch, or take part."),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if too few voters are left to go on.")
    ] = False,
    json: Json = False,
) -> None:
    """Change what a member may do."""
    role = "" if observer is None else "observer" if observer else "participant"
    told = ask_node(
        "permit",
        peer=peer,
        contribute=contribute,
        start_rounds=start_rounds,
        see_previews=see_previews,
        role=role,
        anyway=anyway,
    )
    if json:
        output.data_json(told)
    elif told["needs_others"]:
        _say_others(told)
    else:
        output.say(f"{told['name']} is {told['role']} and may {_may(told['may'])}")


def new_key(json: Json = False) -> None:
    """Give this machine another key in the room.

    For example when somebody may have copied it.
    """
    told = ask_node("change_key")
    if json:
        output.data_json(told)
        return
    output.say(f"the new key's words are: {' '.join(told['words'])}")
    if told["needs_others"]:
        _say_others(told)
    output.say(f"it takes the old one's place with the commit of round {told['round']}; both are")
    output.say("kept until then, and the node starts anew by itself. Open invite links end with it")


def threshold(
    admins: Annotated[int, typer.Argument(min=1, max=16, help="How many must sign.")],
    json: Json = False,
) -> None:
    """Say how many admins must sign who comes, goes, or gets rights."""
    told = ask_node("threshold", admins=admins)
    if json:
        output.data_json(told)
    elif told["needs_others"]:
        _say_others(told)
    else:
        output.say(f"{told['threshold']} admin(s) must sign a change from now on")


def changes(json: Json = False) -> None:
    """List changes of the members that wait for more admins."""
    waiting: list[dict[str, Any]] = ask_node("changes")["changes"]
    if json:
        output.data_json(waiting)
        return
    rows = [
        (
            one["id"][:8],
            one["text"],
            one["author"],
            ", ".join(one["signed"]),
            f"{one['missing']} more" + ("" if one["mine"] else ", you too"),
            f"round {one['last_round']}",
        )
        for one in waiting
    ]
    header = ("change", "what", "asked by", "signed by", "needs", "forgotten after")
    output.data(output.table(header, rows))


def endorse(
    change: Annotated[str, typer.Argument(help="From `room changes`: its beginning.")],
    json: Json = False,
) -> None:
    """Sign a change that another admin asks for."""
    told = ask_node("endorse", id=change)
    if json:
        output.data_json(told)
    elif told["missing"]:
        output.say(f"signed: {told['text']}; {told['missing']} more must sign")
    else:
        output.say(f"signed, and in effect: {told['text']}")


def start(
    rounds: Annotated[int, typer.Option(min=1, max=100_000, help="How many may begin.")] = 1,
    everything: Annotated[bool, typer.Option("--all", help="Let all begin that are left.")] = False,
    json: Json = False,
) -> None:
    """Let rounds begin, in a room made with --start-on-request."""
    told = ask_node("start_rounds", rounds=0 if everything else rounds)
    if json:
        output.data_json(told)
    else:
        output.say(
            f"rounds may begin up to round {told['through']}; the room is at {told['round']}"
        )


def _say_others(told: dict[str, Any]) -> None:
    output.say(
        f"other admins must sign before it takes effect: `fedtui room endorse {told['change'][:8]}`"
        " on their machines"
    )


def _may(rights: list[str]) -> str:
    return ", ".join(rights) or "only watch"


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
    """List whom this machine has met and what was decided."""
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
