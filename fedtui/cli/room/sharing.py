"""``fedtui room share``: the pictures that a room agreed to train on beside everybody's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli import output, places
from fedtui.cli.room.words import Json
from fedtui.errors import UsageError


def share(
    folder: Annotated[
        Path | None, typer.Argument(help="Where the agreed pictures lie on this machine.")
    ] = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Train on them no more from the next round on.")
    ] = False,
    json: Json = False,
) -> None:
    """Train on the room's shared pictures too, once you have them.

    Their publisher hands the files round; fedtui sends no picture. Without a folder this prints
    what the room agreed on.
    """
    from fedtui import paths, rooms, shared
    from fedtui.cli import running
    from fedtui.training import TrainerProcess

    room = rooms.current(paths.default_profile())
    agreed = room.task.shared
    if agreed is None:
        raise UsageError(
            f"{room.name} shares no pictures",
            "its founder named none",
            "`fedtui room create NAME --shared DIR` founds a room that does",
        )
    if folder is not None and stop:
        raise UsageError("a folder and --stop contradict each other", remedy="say one of them")

    async def checked(place: Path) -> None:
        arithmetic = TrainerProcess("arithmetic")
        try:
            await shared.check(arithmetic, place, agreed)
        finally:
            await arithmetic.stop()

    if folder is not None:
        place = places.folder(folder, "say where the files lie that you were given")
        running.run(checked(place))
        shared.choose(room.paths, place)
    elif stop:
        shared.choose(room.paths, None)
    if json:
        output.data_json({**agreed.model_dump(), "folder": shared.chosen(room.paths)})
    else:
        output.data(shared.told(room.task, room.paths))
