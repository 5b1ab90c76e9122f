"""The node of this machine: without a screen, with the interface, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtui import terminal
from fedtui.cli import output, places, running
from fedtui.errors import FedtuiError, UsageError
from fedtui.paths import HOME_VARIABLE, Profile

if TYPE_CHECKING:
    from fedtui.doctor import Check
    from fedtui.view import NodeView

START_WAIT_S = 30.0
PREFIX = "FEDTUI_"
QUIT_HINT = "The node goes on without this window; `fedtui` opens it again."


def run_daemon(*, log_json: bool, with_parent: bool) -> int:
    """``fedtui --daemon``: a node until SIGTERM, SIGINT or ``fedtui stop``."""
    from fedtui.daemon import serve

    return serve(log_json=log_json, debug=output.settings.debug, with_parent=with_parent)


def train_on(folder: Path) -> None:
    """``--data``: the folder for this run, whatever config.toml says. Raises UsageError."""
    os.environ[f"{PREFIX}DATA"] = str(places.folder(folder))


def join_once(invite: str) -> None:
    """``--daemon --join``: joins unless this machine is a member already, so that a service can
    say it at every start."""
    from fedtui import paths, settings
    from fedtui.entering import enter, read_invite

    profile = paths.default_profile()
    entry = running.run(
        enter(profile, settings.load(profile), read_invite(invite), ask_again=False)
    )
    output.say(f"{'a member of' if entry.was_member else 'joined'} {entry.room.name}")


def open_interface(data: Path | None = None, **shown: Any) -> int:
    """``fedtui``: attaches to this profile's node, starting one if none runs; ``shown`` goes to
    :func:`fedtui.tui.app.run`. Raises UsageError when a node runs that trains on another folder
    than ``data``."""
    terminal.require_terminal()
    from fedtui import paths
    from fedtui.control import address

    profile = paths.default_profile()
    if address.listens(profile.control):
        if data is not None:
            _require_folder(profile.control, data)
        return _show(profile, **shown)
    from fedtui import rooms

    if not rooms.is_chosen(profile):
        from fedtui.cli.welcome import first_room

        code = first_room(profile)
        if code is not None:
            return code
    rooms.current(profile)
    if _view(profile.control) is None:
        output.say("starting a node …")
        _start(profile)
    return _show(profile, **shown)


def attach() -> int:
    """The interface of a node that runs already."""
    terminal.require_terminal()
    from fedtui import paths
    from fedtui.control import address

    profile = paths.default_profile()
    if not address.listens(profile.control):
        from fedtui.control.client import NoNode

        raise NoNode(profile.control)
    return _show(profile)


def _show(profile: Profile, **shown: Any) -> int:
    """Opens the interface. Nothing slow is imported here: the first paint waits for it."""
    terminal.prepare(terminal.chosen_color(profile.config))
    from fedtui.tui.app import run

    def examine() -> AsyncIterator[Check]:
        from fedtui import doctor, settings

        return doctor.examine(profile, settings.load(profile))

    return run(
        profile.control,
        quit_hint=QUIT_HINT,
        owns_room=False,
        kept=profile.interface,
        examine=examine,
        **shown,
    )


def stop() -> None:
    """Stop this profile's node cleanly."""
    from fedtui import paths
    from fedtui.control.client import ControlClient

    async def main() -> None:
        async with ControlClient(paths.default_profile().control) as client:
            await client.stop()

    running.run(main())
    output.say("the node is stopping")


def _require_folder(control: Path, folder: Path) -> None:
    """Raises UsageError unless the running node trains on the folder, or does not answer."""
    view = _view(control)
    wanted = places.folder(folder)
    if view is None or (view.dataset and Path(view.dataset).resolve() == wanted.resolve()):
        return
    raise UsageError(
        f"the node that runs trains on {view.dataset or 'no folder'}",
        f"--data {folder} is for a node that this starts",
        "leave --data out and choose the folder in the interface (key 5), or `fedtui stop` first",
    )


def _view(control: Path) -> NodeView | None:
    """What the running node shows; None when none answers."""
    import asyncio

    from fedtui.control.client import ControlClient, NoNode

    async def main() -> NodeView | None:
        async with ControlClient(control) as client:
            try:
                return await client.view()
            except NoNode:
                return None

    return asyncio.run(main())


def _start(profile: Profile) -> None:
    """Starts a node that outlives this terminal, and waits until it answers."""
    profile.create()
    with profile.log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "fedtui", "--daemon"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
            env={**os.environ, HOME_VARIABLE: str(profile.root)},
        )
    deadline = time.monotonic() + START_WAIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            words = profile.log.read_text(errors="replace").splitlines()[-5:]
            raise FedtuiError("the node does not start", "\n       ".join(words))
        if _view(profile.control) is not None:
            return
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    raise FedtuiError(
        "the node does not answer", f"it had {START_WAIT_S:.0f} s", f"look at {profile.log}"
    )
