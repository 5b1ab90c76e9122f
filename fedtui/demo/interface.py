"""The demo with a screen: the room runs in a child process, the interface watches one node."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from fedtui import terminal
from fedtui.cli import output
from fedtui.control.client import ControlClient, NoNode
from fedtui.demo.options import DemoOptions, DemoPaths, open_directory
from fedtui.errors import ExitCode, FedtuiError, UsageError
from fedtui.limits import DEMO_NODE_START_S, DEMO_STOP_S

QUIT_HINT = "Quitting ends the demo and all its nodes. The files stay."
_POLL_S = 0.1


def run_with_interface(options: DemoOptions) -> int:
    """Starts the demo, shows its first node until the user quits, ends the demo."""
    made_here = options.directory is None
    paths = open_directory(options)
    options = replace(options, directory=paths.root)
    with paths.log.open("wb") as log, paths.events.open("wb") as events:
        room = subprocess.Popen(
            _command(options),
            stdin=subprocess.PIPE,
            stdout=events,
            stderr=log,
            start_new_session=True,
        )
    try:
        output.say(f"founding a room in {paths.root} …")
        _wait_for_first_node(room, paths)
        terminal.prepare()
        from fedtui import doctor, settings
        from fedtui.tui.app import run

        profile = paths.profile(0)
        code = run(
            profile.control,
            quit_hint=QUIT_HINT,
            owns_room=True,
            kept=profile.interface,
            examine=lambda: doctor.examine(profile, settings.load(profile)),
        )
    except UsageError:
        if made_here:
            shutil.rmtree(paths.root, ignore_errors=True)
        raise
    finally:
        _end(room)
    _tell(paths)
    return code


def _command(options: DemoOptions) -> list[str]:
    command = [sys.executable, "-P", "-m", "fedtui", "demo", "--json", "--stay", "--with-parent"]
    values: dict[str, Any] = {
        "nodes": options.nodes,
        "rounds": options.rounds,
        "dir": options.directory,
        "seed": options.seed,
        "data": options.data,
        "algorithm": options.algorithm,
        "rule": options.rule,
        "proximal": options.proximal,
        "steps": options.steps,
    }
    for name, value in values.items():
        if value is not None:
            command += [f"--{name}", str(value)]
    for text in options.rule_options:
        command += ["--rule-option", text]
    switches = {"--compare": options.compare, "--quick": options.quick}
    return [*command, *(name for name, on in switches.items() if on)]


def _wait_for_first_node(room: subprocess.Popen[bytes], paths: DemoPaths) -> None:
    async def answers() -> bool:
        async with ControlClient(paths.profile(0).control) as client:
            try:
                await client.view()
            except NoNode:
                return False
            return True

    deadline = time.monotonic() + DEMO_NODE_START_S
    while not asyncio.run(answers()):
        if room.poll() is not None or time.monotonic() > deadline:
            words = paths.log.read_text(errors="replace").splitlines()[-5:]
            if room.returncode == ExitCode.USAGE:
                # Its own error begins with the program's name and is indented like ours.
                text = "\n".join(words).rpartition("fedtui: ")[2]
                raise UsageError(text)
            raise FedtuiError(
                "the demo does not start", "\n       ".join(words), f"its log is {paths.log}"
            )
        time.sleep(_POLL_S)


def _end(room: subprocess.Popen[bytes]) -> None:
    """Ctrl+c to the room; the end of its stdin says the same if that got lost."""
    if room.stdin is not None:
        room.stdin.close()
    if room.poll() is None:
        room.send_signal(signal.SIGINT)
    try:
        room.wait(3 * DEMO_STOP_S)
    except subprocess.TimeoutExpired:
        room.kill()
        room.wait()


def _tell(paths: DemoPaths) -> None:
    with paths.events.open("rb") as events:
        finished = any(b'"type": "demo.finished"' in line for line in events)
    if finished:
        output.say(f"adapter   {paths.adapter}")
        output.say(f"pictures  {paths.sheet}")
    output.say(f"everything{' else' if finished else ''} lies in {paths.root}")
