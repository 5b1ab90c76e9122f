"""``fedtui export``: the room's adapter as a file other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtui.cli import output
from fedtui.errors import UsageError

FORMATS = ("kohya", "diffusers")


def take_home(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A copy here; it lies with the room anyway.")
    ] = None,
    no_names: Annotated[
        bool, typer.Option("--no-names", help="Number the members; leave out what names them.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Pack adapter, pictures and contributors to take home.

    One archive (.zip) of the room as it is after its last committed round. A node must run.
    """
    import shutil

    from fedtui.cli import look
    from fedtui.limits import TAKE_HOME_S

    made = look.with_node(
        lambda client: client.do("take_home", within_s=TAKE_HOME_S, names=not no_names)
    )
    if out is not None:
        try:
            made["path"] = str(shutil.copyfile(made["path"], out.absolute()))
        except (OSError, shutil.SameFileError) as error:
            raise UsageError(
                f"cannot write {out}",
                getattr(error, "strerror", "") or str(error),
                f"it lies at {made['path']}",
            ) from error
    if json:
        output.data_json(made)
        return
    size = f"{made['bytes'] / 1e6:.1f} MB"
    output.data(f"{made['path']}  round {made['round']}, {len(made['files'])} files, {size}")
    if not no_names:
        output.say("it names the members: ask them before you publish it, or use --no-names")


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    round: Annotated[
        int | None, typer.Option("--round", min=1, help="A committed round; the last one if unset.")
    ] = None,
    format: Annotated[str, typer.Option(help="kohya (ComfyUI, A1111) or diffusers.")] = "kohya",
    rank: Annotated[
        int, typer.Option(min=0, max=4096, help="Cut to this rank; 0 writes it exactly.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the room's adapter for other programs, and its proof.

    ComfyUI, A1111 and diffusers read it; `fedtui verify` checks the record beside it.
    """
    from fedtui import paths, provenance, rooms
    from fedtui.cli.trainer import ask
    from fedtui.keys import identity_in
    from trainer.protocol import ExportAdapter

    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", remedy=f"one of {', '.join(FORMATS)}")
    profile = paths.default_profile()
    room = rooms.current(profile)
    committed = rooms.committed_adapters(room.paths)
    if not committed:
        raise UsageError(
            "there is no adapter yet",
            "no round of the room has been committed",
            "`fedtui status` tells what the room waits for",
        )
    number = max(committed) if round is None else round
    if number not in committed:
        kept = ", ".join(map(str, sorted(committed)))
        raise UsageError(
            f"round {number} has no adapter here", f"kept are {kept}", "choose a round that is kept"
        )
    request = ExportAdapter(
        path=str(committed[number]),
        out=str(out.absolute()),
        model=room.task.model,
        format=format,  # type: ignore[arg-type]
        metadata=rooms.export_metadata(room, number),
        rank=rank,
    )
    result = ask(request, role="arithmetic")
    error = float(result["error"])
    identity = identity_in(profile, room.paths)
    record = provenance.write(room, identity, number, Path(result["path"]), rank, error)
    if json:
        output.data_json({"round": number, **result, "record": str(record)})
        return
    output.data(
        f"{result['path']}  round {number}, {result['modules']} modules of rank {result['rank']}"
    )
    if rank:
        output.data(f"cut to rank {rank}: {error:.2%} of the adapter is lost")
    output.data(f"{record}  its proof, for `fedtui verify {out}`")
