"""Reading what people type about rooms, and showing them invites and questions."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli import output
from fedtui.errors import FedtuiError, UsageError

if TYPE_CHECKING:
    from fedtui.inviting import InviteView

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MINUTE = 60.0
UNITS = {"s": 1.0, "m": MINUTE, "h": 60 * MINUTE, "d": 24 * 60 * MINUTE}


def show_invite(invite: InviteView, *, running: bool) -> None:
    """The link or code alone on stdout; everything around it on stderr."""
    if invite.kind == "link":
        output.show_qr(invite.text)
    output.data(invite.text)
    what = "code" if invite.kind == "code" else "link"
    machines = "one machine" if invite.uses == 1 else f"{invite.uses} machines"
    asks = "without asking you" if invite.auto_approve else "after you say yes"
    output.say(f"this {what} admits {machines}, {asks}, {until(invite.expires)}")
    if invite.kind == "code":
        output.say(f"they type: fedtui room join {invite.text}")
    else:
        output.say("they type: fedtui room join, and paste the link behind it")
    if not invite.addresses:
        output.say("but this machine is on no network now: nobody can reach it")
    if not running:
        output.say("it works while a node runs here: start `fedtui` or `fedtui --daemon` now")


def until(expires: float) -> str:
    left = max(0.0, expires - time.time())
    for unit, name in (("d", "day"), ("h", "hour"), ("m", "minute")):
        if left >= UNITS[unit]:
            count = round(left / UNITS[unit])
            return f"for {count} {name}{'s' if count != 1 else ''}"
    return f"for {left:.0f} seconds"


def tell_step(step: str, words: tuple[str, ...]) -> None:
    if step == "looking":
        output.say("looking for the room …")
    elif step == "proved":
        output.say(f"the inviter sees these words now; compare them: {' '.join(words)}")
        output.say("waiting to be let in …")


def ask_at_the_terminal(uses: int) -> None:
    """Puts every request as a question until as many came in as the invite admits."""
    import asyncio

    from fedtui import paths
    from fedtui.cli import running
    from fedtui.control.client import ControlClient

    async def main() -> None:
        left = uses
        async with ControlClient(paths.default_profile().control) as client:
            output.say("waiting for newcomers; ctrl+c ends the waiting, not the invite")
            # Who asked earlier may still wait; who came in earlier came by another invite.
            past = max([event["seq"] async for event in client.events()], default=0)
            async for event in client.events(follow=True):
                if event["type"] == "member.added" and event["seq"] > past:
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
        yes = (await asyncio.to_thread(read_answer, question)).lower() in {"y", "yes"}
        try:
            await client.do("answer", id=event["request"], approve=yes)
        except FedtuiError as gone:
            output.say(gone.title)

    running.run(main())


def read_answer(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()


def seconds(text: str) -> float | None:
    """``90s``, ``10m``, ``2h`` or ``1d``; empty is None. Raises :class:`UsageError`."""
    if not text:
        return None
    try:
        return float(text[:-1]) * UNITS[text[-1].lower()]
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"{text!r} is no duration", remedy="say for example 90s, 10m, 2h or 1d"
        ) from error


def address(text: str) -> Any:
    from p2p.addresses import Address
    from p2p.errors import ProtocolError

    try:
        return Address.parse(text)
    except ProtocolError as error:
        raise UsageError(f"{text!r} is no address", error.cause) from error


def write_private(path: Path, text: str) -> None:
    import os

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}", error.strerror or str(error), "name a file that can be written"
        ) from error
