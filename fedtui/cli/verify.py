"""``fedtui verify``: recomputes what a room decided, offline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedtui.cli import output, places
from fedtui.errors import UsageError

if TYPE_CHECKING:
    from fedtui.training import TrainerProcess
    from fedtui.verifying import FileVerdict, RoundVerdict

WORDS = {
    "equal": "recomputed, equal byte for byte",
    "kept": "certificate holds; its inputs are no longer here",
    "skipped": "certificate holds; nothing was combined",
    "missing": "certificate holds; its files are not here",
}


def verify(
    file: Annotated[
        Path | None, typer.Argument(help="An adapter that `fedtui export` wrote.")
    ] = None,
    round: Annotated[
        int | None, typer.Option("--round", min=1, help="Only this round of the ledger.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Recompute the room's rounds, or check an exported adapter.

    Hashes, signatures, quorum certificates, membership and the result's bytes; exit code 4 when
    anything does not hold.
    """
    from fedtui.cli import running
    from fedtui.training import TrainerProcess

    arithmetic = TrainerProcess("arithmetic")
    if file is None:
        running.run(_room(arithmetic, round, as_json=json))
        return
    if round is not None:
        raise UsageError("a file is of one round", "--round is for this machine's own ledger")
    found = running.run(_file(arithmetic, places.file(file)))
    if json:
        output.data_json(asdict(found))
        return
    output.data(f"{file}  round {found.round} of room {found.room[:8]}, every commit certified")
    if found.exact:
        output.data(f"it holds the committed adapter {found.committed[:12]}… exactly")
    else:
        how = f"cut to rank {found.rank} with error {found.error}" if found.rank else "an average"
        output.data(f"it is {how}, as {found.exporter[:8]}… says")


async def _room(arithmetic: TrainerProcess, only: int | None, *, as_json: bool) -> None:
    from fedtui import paths, rooms
    from fedtui.verifying import verify_room

    room = rooms.current(paths.default_profile())

    def tell(verdict: RoundVerdict) -> None:
        if not as_json:
            output.data(
                f"round {verdict.round}  {verdict.inputs} contributions, {verdict.signers} "
                f"signatures: {WORDS[verdict.outcome]}"
            )

    try:
        verdicts = await verify_room(room, arithmetic, only, tell)
    finally:
        await arithmetic.stop()
    if as_json:
        output.data_json([asdict(verdict) for verdict in verdicts])
    if not verdicts:
        if only:
            raise UsageError(f"round {only} is not in the ledger", remedy="see `fedtui rounds`")
        raise UsageError(
            "no round has been committed yet",
            remedy="`fedtui status` tells what the room waits for",
        )


async def _file(arithmetic: TrainerProcess, file: Path) -> FileVerdict:
    from fedtui.verifying import verify_file

    try:
        return await verify_file(file, arithmetic)
    finally:
        await arithmetic.stop()
