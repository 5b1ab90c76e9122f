"""The first run of ``fedtui``: from no room to one, or to a demo, or out again."""

from __future__ import annotations

import getpass
from contextlib import suppress
from typing import TYPE_CHECKING

from fedtui import settings, terminal
from fedtui.cli import output, running
from fedtui.errors import ExitCode, FedtuiError
from fedtui.limits import NEARBY_S
from fedtui.paths import Profile
from fedtui.tui.look import read

if TYPE_CHECKING:
    from fedtui.tui.welcome import Choice


def first_room(profile: Profile) -> int | None:
    """Asks until there is a room; None then, else the exit code of what was done instead."""
    chosen = settings.load(profile)
    terminal.prepare(chosen.color)
    from fedtui.doctor import check_trainer
    from fedtui.room_plan import RoomPlan
    from fedtui.tui.welcome import WelcomeApp

    name, trouble, plan = chosen.name, "", RoomPlan()
    if not name:
        with suppress(OSError, KeyError):
            name = getpass.getuser()
    while True:
        app = WelcomeApp(
            name,
            lambda: check_trainer(chosen),
            trouble,
            theme=read(profile.interface).theme,
            nearby=lambda: _rooms_nearby(chosen.interfaces),
            plan=plan,
        )
        choice: Choice | None = app.run()
        if choice is None:
            return app.return_code or ExitCode.OK
        name, plan = choice.name, choice.plan
        if choice.way == "demo":
            from fedtui.demo.interface import run_with_interface
            from fedtui.demo.options import DemoOptions

            return run_with_interface(DemoOptions())
        try:
            _enter(profile, chosen, choice)
        except FedtuiError as error:
            trouble = " ".join(part for part in (error.title, error.cause, error.remedy) if part)
            continue
        return None


async def _rooms_nearby(interfaces: tuple[str, ...]) -> int:
    """Imported when it is wanted: the first paint does not wait for it."""
    from p2p.nearby import rooms_nearby

    return await rooms_nearby(NEARBY_S, interfaces or None)


def _enter(profile: Profile, chosen: settings.Settings, choice: Choice) -> None:
    """Joins with an invite, or makes a room. Raises :class:`FedtuiError`."""
    profile.create()
    name = choice.name
    if choice.way == "join":
        from fedtui.entering import enter, read_invite

        invite = read_invite(choice.text)
        output.say(f"asking to be let in as {name}; the room's admin must say yes …")
        entry = running.run(enter(profile, chosen, invite, name=name, on_step=_tell))
        output.say(f"welcome to {entry.room.name}")
        return
    from fedtui.entering import own_name
    from fedtui.founding import found_planned

    output.say("making the room …")
    running.run(found_planned(profile, own_name(chosen, name), choice.text, choice.plan))


def _tell(step: str, words: tuple[str, ...]) -> None:
    """What happens at the door; the words are compared with those on the admin's screen."""
    if words:
        output.say(f"{step}: the admin sees these words too: {' '.join(words)}")
    else:
        output.say(step)
