"""Recording a room, and looking at a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli import output


def record(
    file: Annotated[Path, typer.Argument(help="The recording; pictures go to a folder beside it.")],
) -> None:
    """Record what this machine's node shows, for `fedtui replay`.

    Until ctrl+c, or until the node ends.
    """
    from fedtui import paths
    from fedtui.cli import running
    from fedtui.tape import record as record_node

    def told(views: int) -> None:
        if views == 1:
            output.say(f"recording to {file}; ctrl+c ends it")

    running.run(record_node(paths.default_profile().control, file, told))
    output.say("the node has ended, and with it the recording")


def replay(
    file: Annotated[Path, typer.Argument(help="A recording made by `fedtui record`.")],
    speed: Annotated[
        float, typer.Option(min=0.25, max=512, help="Recorded seconds per second.")
    ] = 10.0,
    wall: Annotated[bool, typer.Option("--wall", help="Show it large, for a projector.")] = False,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="Use ASCII characters only.")] = False,
) -> None:
    """Play a recording in the interface. P pauses, + and - change the speed, < and > skip."""
    import os
    from dataclasses import replace

    from fedtui import paths, terminal
    from fedtui.tape import Player, load

    tape = load(file)
    terminal.require_terminal()
    terminal.prepare()
    from fedtui.tui.app import FedtuiApp, finish
    from fedtui.tui.graphics import chosen
    from fedtui.tui.look import read

    look = read(paths.default_profile().interface)
    app = FedtuiApp(
        Player(tape, speed),
        look=replace(look, characters="ascii") if ascii_only else look,
        graphics="" if ascii_only else chosen("", look.pictures, os.environ),
        wall=wall,
        observe=True,
    )
    raise typer.Exit(finish(app))
