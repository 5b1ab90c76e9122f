"""Invites, newcomers, and joining a room."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli import output
from fedtui.cli.room.place import ask, ask_node, issue, lobby_place, resident, switch, works_for
from fedtui.cli.room.words import (
    Json,
    address,
    ask_at_the_terminal,
    seconds,
    show_invite,
    tell_step,
    until,
    write_private,
)
from fedtui.errors import UsageError

if TYPE_CHECKING:
    from fedtui.rooms import Room


def invite(
    uses: Annotated[int, typer.Option(min=1, max=128, help="How many machines it admits.")] = 1,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long it lives: 90s, 10m, 2h, 1d.")
    ] = "",
    code: Annotated[
        bool, typer.Option("--code", help="A short code to read out, instead of a link.")
    ] = False,
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Admit without asking you.")
    ] = False,
    observe: Annotated[bool, typer.Option("--observe", help="Newcomers only watch.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write it into this file, for `fedtui --daemon --join`."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay, and ask here about everybody who comes.")
    ] = False,
    json: Json = False,
) -> None:
    """Let others in by a link, or by a short code to read out."""
    from fedtui.inviting import InviteChoices

    settings, room, identity = resident()
    choices = InviteChoices(
        uses, seconds(expires), code, auto_approve, "observer" if observe else "participant"
    )
    view = issue(settings, identity, room, choices)
    if out is not None:
        try:
            write_private(out, view.text + "\n")
        except UsageError:
            withdrawn(room, view.id)
            raise
        may = "is let in" if auto_approve else "may ask to be let in"
        output.say(f"written to {out}: whoever has it {may}")
    if json:
        output.data_json(asdict(view))
    else:
        show_invite(view, running=works_for(room))
    if wait:
        ask_at_the_terminal(view.uses)


def invites(json: Json = False) -> None:
    """List the room's invites, and who came by each."""
    settings, room, identity = resident()
    told = ask("invites")
    if told is None:
        from fedtui.inviting import shown
        from p2p.joining.invites import InviteBook

        book = InviteBook(room.paths.root)
        try:
            place = lobby_place(settings, identity, room, book)
            told = {"invites": [asdict(shown(one, place)) for one in book.invites()]}
        finally:
            book.close()
    listed: list[dict[str, Any]] = told["invites"]
    if json:
        output.data_json(listed)
        return
    rows = [
        (
            str(one["id"])[:8],
            one["text"].split("-")[0] + "-…" if one["kind"] == "code" else "link",
            one["state"].replace("_", " "),
            f"{one['used']} of {one['uses']}",
            until(one["expires"]) if one["state"] == "open" else "-",
            ", ".join(guest["name"] for guest in one["guests"]) or "-",
        )
        for one in listed
    ]
    output.data(output.table(("id", "kind", "state", "used", "ends", "came in"), rows))


def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="From `room invites`: its beginning.")],
    json: Json = False,
) -> None:
    """Withdraw an invite."""
    _, room, _ = resident()
    told = withdrawn(room, id_)
    if not told["revoked"]:
        raise UsageError(f"no open invite is called {id_!r}", remedy="see `fedtui room invites`")
    if json:
        output.data_json(told)
    else:
        output.say(f"{len(told['revoked'])} withdrawn")


def withdrawn(room: Room, id_: str) -> dict[str, Any]:
    """What the node, or the room's book where none runs, says of withdrawing these invites."""
    told = ask("revoke", id=id_)
    if told is not None:
        return told
    from p2p.joining.invites import InviteBook

    book = InviteBook(room.paths.root)
    try:
        return {"revoked": [one.id for one in book.revoke(id_)]}
    finally:
        book.close()


def join(
    invite: Annotated[
        str, typer.Argument(help="A link (fedtui:…), a code, a file with one, or - for stdin.")
    ],
    name: Annotated[str, typer.Option("--as", help="Your name in the room.")] = "",
    observe: Annotated[bool, typer.Option("--observe", help="Only watch, never train.")] = False,
    at: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT", help="With a code: where the inviter is, if mDNS does not tell."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Join a room you were invited to.

    Example: fedtui room join 7-river-candy-bronze --as Ada
    """
    from fedtui import paths, settings
    from fedtui.cli import running
    from fedtui.entering import enter, own_name, read_invite

    profile = paths.default_profile()
    chosen = settings.load(profile)
    # Other users of this machine can see a command's arguments, but not what it reads.
    parsed = read_invite(sys.stdin.readline() if invite == "-" else invite)
    addresses = tuple(map(address, at or ()))
    output.say(f"asking to be let in as {own_name(chosen, name)} …")
    entry = running.run(
        enter(profile, chosen, parsed, name=name, observe=observe, at=addresses, on_step=tell_step)
    )
    switched = switch(entry.room)
    if json:
        output.data_json(
            {
                "room": entry.room.id,
                "name": entry.room.name,
                "inviter": entry.inviter,
                "words": list(entry.words),
                "was_member": entry.was_member,
                "node": switched,
            }
        )
        return
    if entry.was_member:
        output.say(f"this machine is a member of {entry.room.name} already, and works for it now")
    else:
        output.say(f"welcome to {entry.room.name}")
    output.data(entry.room.id)
    if not switched:
        output.say("take part with `fedtui --data FOLDER` (with a screen) or add --daemon")


def requests(json: Json = False) -> None:
    """List who waits to be let in."""
    waiting: list[dict[str, Any]] = ask_node("requests")["requests"]
    if json:
        output.data_json(waiting)
        return
    rows = [
        (one["request"], one["name"], " ".join(one["words"]), one["address"],
         "CAREFUL: that name belongs to another key" if one["namesake"] else "")
        for one in waiting
    ]  # fmt: skip
    output.data(output.table(("request", "name", "words on their screen", "from", ""), rows))
    if changes := ask_node("changes")["changes"]:
        output.say(f"{len(changes)} change(s) wait for more admins: see `fedtui room changes`")


def approve(
    request: Annotated[str, typer.Argument(help="Which one, as `room requests` names it.")],
    json: Json = False,
) -> None:
    """Let somebody in who waits."""
    answer(request, yes=True, json=json)


def decline(
    request: Annotated[str, typer.Argument(help="Which one, as `room requests` names it.")],
    json: Json = False,
) -> None:
    """Send somebody away who waits."""
    answer(request, yes=False, json=json)


def answer(request: str, *, yes: bool, json: bool) -> None:
    told = ask_node("answer", id=request, approve=yes)
    if json:
        output.data_json(told)
    else:
        output.say(f"{told['name']} {'is let in' if yes else 'was sent away'}")
