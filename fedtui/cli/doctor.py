"""``fedtui doctor``: is this machine fit to take part?"""

from __future__ import annotations

from typing import Annotated

import typer

from fedtui.cli import output
from fedtui.errors import ExitCode

MARKS = {"ok": "ok     ", "warning": "WARNING", "failed": "FAILED "}


def doctor(
    trainer: Annotated[
        bool, typer.Option("--trainer/--no-trainer", help="Also start a trainer process.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Checks what could keep this machine from taking part; exit code 1 when something does."""
    from fedtui.cli import running

    failed = running.run(_doctor(trainer, json))
    if failed:
        raise typer.Exit(ExitCode.FAILED)


async def _doctor(trainer: bool, as_json: bool) -> int:
    from dataclasses import asdict

    from fedtui import doctor as doctoring
    from fedtui import paths, settings

    profile = paths.default_profile()
    failed = 0
    async for check in doctoring.examine(profile, settings.load(profile), trainer=trainer):
        failed += check.grade == "failed"
        if as_json:
            output.data_json(asdict(check))
            continue
        output.data(f"{MARKS[check.grade]}  {check.name:<10} {check.said}")
        if check.remedy:
            output.data(f"{'':<20} {check.remedy}")
    return failed
