"""Rooms: making one, letting others in, joining, and who belongs to it."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fedtui.cli import output
from fedtui.errors import ExitCode, FedtuiError, TrustError, UsageError

if TYPE_CHECKING:
    from fedtui.inviting import InviteChoices, InviteView, Place
    from fedtui.paths import Profile
    from fedtui.rooms import Room
    from fedtui.settings import Settings
    from p2p.identity import Identity

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Peer = Annotated[str, typer.Argument(help="A member's name, or the beginning of its id.")]
SWITCH_S = 40.0
MINUTE = 60.0
UNITS = {"s": 1.0, "m": MINUTE, "h": 60 * MINUTE, "d": 24 * 60 * MINUTE}
QR_ERROR_CORRECTION = "l"
"""The least: a screen is clean, and fewer dots fit more terminals."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the room is called.")],
    model: Annotated[str, typer.Option(help="Base model: a name or a folder.")] = "tiny-landscapes",
    algorithm: Annotated[str, typer.Option(help="How contributions are combined.")] = "fedex",
    rule: Annotated[str, typer.Option(help="How much each contribution counts.")] = "n_k",
    byzantine: Annotated[
        int, typer.Option(min=0, max=63, help="Liars that --rule multi_krum tolerates.")
    ] = 1,
    personal: Annotated[
        list[str] | None,
        typer.Option(help="Layers whose names contain this stay with each member; repeatable."),
    ] = None,
    proximal: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="FedProx: pull towards the room's adapter.")
    ] = 0.0,
    rounds: Annotated[int, typer.Option(min=1, max=100_000)] = 3,
    min_contributions: Annotated[
        int, typer.Option(min=1, max=128, help="A round waits for this many participants.")
    ] = 2,
    ask: Annotated[
        int, typer.Option(min=0, max=128, help="Participants asked in each round; 0: everybody.")
    ] = 0,
    deadline: Annotated[
        int, typer.Option(min=1, max=604_800, help="Seconds one round may take at most.")
    ] = 900,
    steps: Annotated[int, typer.Option(min=1, help="Training steps per round.")] = 40,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA adapter.")] = 8,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", "--lr", min=1e-6, help="What suits the model if left out."),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Draw previews of this; several times for more.")
    ] = None,
    quorum: Annotated[
        Literal["majority", "two_thirds"],
        typer.Option(help="majority among friends, two_thirds among strangers."),
    ] = "majority",
    as_name: Annotated[str, typer.Option("--as", help="Your name in the room.")] = "",
    uses: Annotated[int, typer.Option(min=1, max=128, help="Machines its invite admits.")] = 1,
    expires: Annotated[str, typer.Option(help="How long its invite lives: 90s, 10m, 2h, 1d.")] = "",
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Its invite admits without asking you.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new room on this machine; prints its id and an invite for others."""
    from fedtui.founding import RoomChoices, found_room
    from fedtui.inviting import InviteChoices

    profile, settings, identity = _owner()
    choices = RoomChoices(
        name=name,
        model=model,
        algorithm=algorithm,
        rule=rule,
        byzantine=byzantine,
        personal=tuple(personal or ()),
        proximal=proximal,
        rounds=rounds,
        min_contributions=min_contributions,
        ask=ask or None,
        deadline_s=deadline,
        steps=steps,
        rank=rank,
        learning_rate=learning_rate,
        prompts=tuple(prompt or ()),
        quorum=quorum,
    )
    invite_choices = InviteChoices(uses, _seconds(expires), auto_approve=auto_approve)
    from fedtui.cli import running
    from fedtui.entering import own_name
    from fedtui.trust import TrustBook

    me = own_name(settings, as_name)
    room = running.run(found_room(profile, identity, me, choices))
    TrustBook(profile.trust).note("created", identity.peer_id, me, room=room.id)
    _switch(room)
    invite = _issue(profile, settings, identity, room, invite_choices)
    if json:
        output.data_json({"room": room.id, "name": room.name, "invite": asdict(invite)})
        return
    output.say(f"the room {room.name} is made; you are its admin, as {me}")
    output.data(room.id)
    _show_invite(invite, running=_works_for(room))


@app.command("list")
def list_(json: Json = False) -> None:
    """The rooms of this machine; * marks the one it works for."""
    from fedtui import paths, rooms

    profile = paths.default_profile()
    active = rooms.current(profile).id if rooms.is_chosen(profile) else ""
    found = rooms.listed(profile)
    if json:
        output.data_json(
            [
                {"room": room.id, "name": room.name, "active": room.id == active,
                 "model": room.task.model, "rounds": room.genesis.plan.rounds}
                for room in found
            ]
        )  # fmt: skip
        return
    rows = [
        ("*" if room.id == active else "", room.name, room.id[:12], room.task.model)
        for room in found
    ]
    output.data(output.table(("", "name", "id", "model"), rows))


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="A room's name, or the beginning of its id.")],
    json: Json = False,
) -> None:
    """Work for another of this machine's rooms."""
    from fedtui import paths, rooms

    profile = paths.default_profile()
    room = rooms.named(profile, name)
    rooms.use(profile, room)
    switched = _switch(room)
    if json:
        output.data_json({"room": room.id, "name": room.name, "node": switched})
    else:
        output.say(f"this machine works for {room.name} now")


@app.command()
def invite(
    uses: Annotated[int, typer.Option(min=1, max=128, help="How many machines it admits.")] = 1,
    expires: Annotated[str, typer.Option(help="How long it lives: 90s, 10m, 2h, 1d.")] = "",
    code: Annotated[
        bool, typer.Option("--code", help="A short code to read out, instead of a link.")
    ] = False,
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Admit without asking you.")
    ] = False,
    observer: Annotated[bool, typer.Option("--observer", help="Newcomers only watch.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Also write it into this file, for `fedtui --daemon --join`."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay, and ask here about everybody who comes.")
    ] = False,
    json: Json = False,
) -> None:
    """Let others in: prints a link (and its picture), or a short code."""
    from fedtui import rooms
    from fedtui.inviting import InviteChoices

    profile, settings, identity = _owner()
    room = rooms.current(profile)
    choices = InviteChoices(
        uses, _seconds(expires), code, auto_approve, "observer" if observer else "participant"
    )
    view = _issue(profile, settings, identity, room, choices)
    if out is not None:
        _write_private(out, view.text + "\n")
        output.say(f"written to {out}: whoever has it is let in")
    if json:
        output.data_json(asdict(view))
    else:
        _show_invite(view, running=_works_for(room))
    if wait:
        _ask_at_the_terminal(view.uses)


@app.command()
def invites(json: Json = False) -> None:
    """Every invite of the room: what is left of it and who came by it."""
    from fedtui import rooms

    profile, settings, identity = _owner()
    room = rooms.current(profile)
    told = _do("invites")
    if told is None:
        from fedtui.inviting import shown
        from p2p.joining.invites import InviteBook

        book = InviteBook(room.paths.root)
        try:
            place = _place(settings, identity, room, book)
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
            _until(one["expires"]) if one["state"] == "open" else "-",
            ", ".join(guest["name"] for guest in one["guests"]) or "-",
        )
        for one in listed
    ]
    output.data(output.table(("id", "kind", "state", "used", "ends", "came in"), rows))


@app.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="From `room invites`: its beginning.")],
    json: Json = False,
) -> None:
    """Withdraw an invite."""
    from fedtui import rooms

    profile, _, _ = _owner()
    room = rooms.current(profile)
    told = _do("revoke", id=id_)
    if told is None:
        from p2p.joining.invites import InviteBook

        book = InviteBook(room.paths.root)
        try:
            told = {"revoked": [one.id for one in book.revoke(id_)]}
        finally:
            book.close()
    if not told["revoked"]:
        raise UsageError(f"no open invite is called {id_!r}", remedy="see `fedtui room invites`")
    if json:
        output.data_json(told)
    else:
        output.say(f"{len(told['revoked'])} withdrawn")


@app.command()
def join(
    invite: Annotated[
        str, typer.Argument(help="A link (fedtui:…), a code, a file with one, or - for stdin.")
    ],
    name: Annotated[str, typer.Option("--as", help="Your name in the room.")] = "",
    observe: Annotated[bool, typer.Option("--observe", help="Only watch, never train.")] = False,
    at: Annotated[
        list[str] | None,
        typer.Option(help="With a code: where the inviter is, HOST:PORT, if mDNS does not tell."),
    ] = None,
    json: Json = False,
) -> None:
    """Join a room you were invited to."""
    from fedtui import paths, settings
    from fedtui.cli import running
    from fedtui.entering import enter, own_name, read_invite

    profile = paths.default_profile()
    chosen = settings.load(profile)
    # Other users of this machine can see a command's arguments, but not what it reads.
    parsed = read_invite(sys.stdin.readline() if invite == "-" else invite)
    addresses = tuple(map(_address, at or ()))
    output.say(f"asking to be let in as {own_name(chosen, name)} …")
    entry = running.run(
        enter(profile, chosen, parsed, name=name, observe=observe, at=addresses, on_step=_tell_step)
    )
    switched = _switch(entry.room)
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


@app.command()
def requests(json: Json = False) -> None:
    """Who waits to be let in."""
    waiting: list[dict[str, Any]] = _need("requests")["requests"]
    if json:
        output.data_json(waiting)
        return
    rows = [
        (one["request"], one["name"], " ".join(one["words"]), one["address"],
         "CAREFUL: that name belongs to another key" if one["namesake"] else "")
        for one in waiting
    ]  # fmt: skip
    output.data(output.table(("request", "name", "words on their screen", "from", ""), rows))


@app.command()
def approve(
    request: Annotated[str, typer.Argument(help="From `room requests`.")], json: Json = False
) -> None:
    """Let somebody in who waits."""
    _answer(request, yes=True, json=json)


@app.command()
def decline(
    request: Annotated[str, typer.Argument(help="From `room requests`.")], json: Json = False
) -> None:
    """Send somebody away who waits."""
    _answer(request, yes=False, json=json)


@app.command()
def members(json: Json = False) -> None:
    """Who belongs to the room, with the words to compare by voice."""
    listed: list[dict[str, Any]] = _need("members")["members"]
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


@app.command()
def remove(
    peer: Peer,
    reason: Annotated[str, typer.Option(help="Told to the room.")] = "",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if too few voters are left to go on.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove a member for good: its key never comes back."""
    told = _need("remove", peer=peer, reason=reason, anyway=anyway)
    if json:
        output.data_json(told)
    elif told["state"] == "removed":
        output.say(f"{told['name']} is no member any more")
    else:
        output.say(f"other admins must also remove {told['name']} before it takes effect")


@app.command()
def promote(
    peer: Peer,
    undo: Annotated[bool, typer.Option("--undo", help="Take the right back.")] = False,
    json: Json = False,
) -> None:
    """Make a member an admin, who can invite and remove others."""
    told = _need("promote", peer=peer, admin=not undo)
    if json:
        output.data_json(told)
    elif told["needs_others"]:
        output.say("other admins must do the same before it takes effect")
    else:
        output.say(f"the room has {len(told['admins'])} admin(s) now")


@app.command()
def verify(
    peer: Peer,
    undo: Annotated[bool, typer.Option("--undo", help="Take the mark back.")] = False,
    json: Json = False,
) -> None:
    """Mark a member whose words you have compared with them."""
    told = _need("verify", peer=peer, verified=not undo)
    if json:
        output.data_json(told)
    else:
        words = " ".join(told["words"])
        output.say(f"{told['name']} ({words}) is {'no longer ' if undo else ''}marked as verified")


@app.command()
def recover(
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Although the room has its quorum.")
    ] = False,
    uses: Annotated[int, typer.Option(min=1, max=128, help="Machines its invite admits.")] = 8,
    json: Json = False,
) -> None:
    """The last resort when too many members are gone for good: fork the room with those here.

    The fork goes on from the last common adapter. Whoever is away stays in the old room; everybody
    else joins the new one with the invite that this prints.
    """
    from fedtui import rooms
    from fedtui.inviting import InviteChoices

    profile, settings, identity = _owner()
    told = _need("recover", anyway=anyway)
    room = rooms.load(profile, told["room"])
    _await_room(room)
    invite = _issue(profile, settings, identity, room, InviteChoices(uses))
    if json:
        output.data_json({**told, "invite": asdict(invite)})
        return
    output.say(f"{room.name} goes on after round {told['after_round']} as another room")
    output.say(f"its members: {', '.join(told['members'])}; they join it without a question")
    if told["left_out"]:
        output.say(f"left behind: {', '.join(told['left_out'])}; you are asked if they join")
    output.data(room.id)
    _show_invite(invite, running=True)


@app.command()
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


@app.command()
def leave(
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Without telling the others: also as its last admin.")
    ] = False,
    json: Json = False,
) -> None:
    """Leave the room; the others go on. What was trained here stays on this disk."""
    from fedtui import paths, rooms
    from fedtui.cli import running
    from fedtui.control.client import ControlClient

    profile = paths.default_profile()
    room = rooms.current(profile)
    is_running = _works_for(room)
    told = is_running and not anyway and _do("leave") is not None
    rooms.use(profile, None)

    async def stop() -> None:
        async with ControlClient(profile.control) as client:
            await client.stop()

    if is_running:
        running.run(stop())
    if json:
        output.data_json({"room": room.id, "name": room.name, "told": told})
        return
    output.say(
        f"this machine works for no room any more; {room.name} stays below {room.paths.root}"
    )
    if not told:
        output.say("the others have not been told: they see it as away, and can remove it")


# --- with a node or without one ------------------------------------------------------------------
def _owner() -> tuple[Profile, Settings, Identity]:
    """This machine's profile, settings and key, made if there is none yet."""
    from fedtui import paths, settings
    from p2p.identity import Identity

    profile = paths.default_profile()
    chosen = settings.load(profile)
    profile.create()
    return profile, chosen, Identity.load_or_create(profile.identity)


def _do(name: str, **arguments: Any) -> dict[str, Any] | None:
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


def _need(name: str, **arguments: Any) -> dict[str, Any]:
    """Asks the running node. Raises :class:`FedtuiError` when none runs."""
    from fedtui import paths, rooms

    rooms.current(paths.default_profile())
    told = _do(name, **arguments)
    if told is None:
        raise FedtuiError(
            "no node is running on this profile",
            "only a running node knows, or can change, who belongs to the room",
            "start one with `fedtui` or `fedtui --daemon`, then try again",
            code=ExitCode.NETWORK,
        )
    return told


def _works_for(room: Room) -> bool:
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


def _switch(room: Room) -> bool:
    """Has a running node work for the room, and waits until it does; whether there is one."""
    told = _do("switch", room=room.id)
    if told is None:
        return False
    if told["switching"]:
        _await_room(room)
    return True


def _await_room(room: Room) -> None:
    """Waits until the node works for the room. Raises :class:`FedtuiError` when it does not."""
    end = time.monotonic() + SWITCH_S
    while not _works_for(room):
        if time.monotonic() > end:
            raise FedtuiError(
                f"the node does not begin to work for {room.name}",
                f"it had {SWITCH_S:.0f} s",
                "look at its log (`fedtui locate`)",
            )
        time.sleep(0.1)


def _issue(
    profile: Profile, settings: Settings, identity: Identity, room: Room, choices: InviteChoices
) -> InviteView:
    """A new invite, made by the node or, when none runs, in its place."""
    from fedtui.inviting import InviteView, issue, shown
    from fedtui.view import from_json
    from p2p.joining.invites import InviteBook

    if _works_for(room) and (told := _do("invite", **asdict(choices))) is not None:
        return from_json(InviteView, told)
    if identity.peer_id not in room.genesis.admins:
        raise TrustError(
            "only an admin's machine can invite",
            f"no node is running, and this machine did not found {room.name}",
            "start the node with `fedtui --daemon` and try again, or ask an admin",
        )
    book = InviteBook(room.paths.root)
    try:
        return shown(issue(book, choices), _place(settings, identity, room, book))
    finally:
        book.close()


def _place(settings: Settings, identity: Identity, room: Room, book: Any) -> Place:
    """Where the lobby will be. Without a node only the genesis is sure to be history."""
    from fedtui.inviting import Place, lobby_addresses, reserved_port

    addresses = lobby_addresses(settings, reserved_port(book, settings.host))
    return Place(room.id, identity.peer_id, addresses, 0, room.id)


# --- showing and asking --------------------------------------------------------------------------
def _show_invite(invite: InviteView, *, running: bool) -> None:
    """The link or code alone on stdout; everything around it on stderr."""
    if invite.kind == "link":
        _show_picture(invite.text)
    output.data(invite.text)
    what = "code" if invite.kind == "code" else "link"
    machines = "one machine" if invite.uses == 1 else f"{invite.uses} machines"
    asks = "without asking you" if invite.auto_approve else "after you say yes"
    output.say(f"this {what} admits {machines}, {asks}, {_until(invite.expires)}")
    if invite.kind == "code":
        output.say(f"they type: fedtui room join {invite.text}")
    else:
        output.say("they type: fedtui room join, and paste the link behind it")
    if not invite.addresses:
        output.say("but this machine is on no network now: nobody can reach it")
    if not running:
        output.say("it works while a node runs here: start `fedtui` or `fedtui --daemon` now")


def _show_picture(text: str) -> None:
    """The QR code, where somebody looks at a terminal that can draw it."""
    import io

    if not sys.stderr.isatty():
        return
    import segno

    picture = io.StringIO()
    segno.make(text, error=QR_ERROR_CORRECTION, boost_error=False).terminal(picture, compact=True)
    output.say(picture.getvalue())


def _until(expires: float) -> str:
    left = max(0.0, expires - time.time())
    for unit, name in (("d", "day"), ("h", "hour"), ("m", "minute")):
        if left >= UNITS[unit]:
            count = round(left / UNITS[unit])
            return f"for {count} {name}{'s' if count != 1 else ''}"
    return f"for {left:.0f} seconds"


def _tell_step(step: str, words: tuple[str, ...]) -> None:
    if step == "looking":
        output.say("looking for the room …")
    elif step == "proved":
        output.say(f"the inviter sees these words now; compare them: {' '.join(words)}")
        output.say("waiting to be let in …")


def _ask_at_the_terminal(uses: int) -> None:
    """Puts every request as a question until as many came in as the invite admits."""
    import asyncio

    from fedtui import paths
    from fedtui.cli import running
    from fedtui.control.client import ControlClient

    async def main() -> None:
        left = uses
        async with ControlClient(paths.default_profile().control) as client:
            output.say("waiting for newcomers; ctrl+c ends the waiting, not the invite")
            async for event in client.events(follow=True):
                if event["type"] == "member.added":
                    output.say(f"{event['name']} is a member now")
                    left -= 1
                elif event["type"] == "join.requested":
                    await ask(client, event)
                if left <= 0:
                    return

    async def ask(client: ControlClient, event: dict[str, Any]) -> None:
        waiting = (await client.do("requests"))["requests"]
        if event["request"] not in {one["request"] for one in waiting}:
            return
        output.say(f"{event['name']} asks to be let in, from {event['address']}")
        output.say(f"  the words on their screen must be: {' '.join(event['words'])}")
        if event["namesake"]:
            output.say("  CAREFUL: somebody else of that name is known here. Is it really them?")
        question = f"let {event['name']} in? y/N "
        yes = (await asyncio.to_thread(_read_answer, question)).lower() in {"y", "yes"}
        try:
            await client.do("answer", id=event["request"], approve=yes)
        except FedtuiError as gone:
            output.say(gone.title)

    running.run(main())


def _read_answer(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def _answer(request: str, *, yes: bool, json: bool) -> None:
    told = _need("answer", id=request, approve=yes)
    if json:
        output.data_json(told)
    else:
        output.say(f"{told['name']} {'is let in' if yes else 'was sent away'}")


def _seconds(text: str) -> float | None:
    """``90s``, ``10m``, ``2h`` or ``1d``; empty is None. Raises :class:`UsageError`."""
    if not text:
        return None
    try:
        return float(text[:-1]) * UNITS[text[-1].lower()]
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{text!r} is no duration", remedy="say for example 90s, 10m, 2h or 1d"
        ) from error


def _address(text: str) -> Any:
    from p2p.addresses import Address
    from p2p.errors import ProtocolError

    try:
        return Address.parse(text)
    except ProtocolError as error:
        raise UsageError(f"{text!r} is no address", error.cause) from error


def _write_private(path: Path, text: str) -> None:
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}", error.strerror or str(error)) from error
