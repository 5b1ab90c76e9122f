"""``fedtui doctor`` and ``fedtui support``: is this machine fit, and what to send if it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedtui import terminal, terminal_query
from fedtui.cli import output
from fedtui.errors import ExitCode

MARKS = {"ok": "ok     ", "warning": "WARNING", "failed": "FAILED "}


def doctor(
    trainer: Annotated[
        bool, typer.Option("--trainer/--no-trainer", help="Also start a trainer process.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Check whether this machine is fit to take part.

    Exit code 1 when something keeps it from that.
    """
    from fedtui.cli import running

    failed = running.run(_doctor(trainer, json))
    if failed:
        raise typer.Exit(ExitCode.FAILED)


def support(
    out: Annotated[Path, typer.Argument(help="The .zip to write; it must not exist.")] = Path(
        "fedtui-support.zip"
    ),
    trainer: Annotated[
        bool, typer.Option("--trainer/--no-trainer", help="Also start a trainer process.")
    ] = True,
    json: Annotated[bool, typer.Option("--json", help="Print what is in it as JSON.")] = False,
) -> None:
    """Write a file to send along with a question.

    No names, addresses, paths or pictures are in it.
    """
    from fedtui import paths, settings
    from fedtui import support as supporting
    from fedtui.cli import running

    profile = paths.default_profile()
    files = running.run(
        supporting.write(profile, settings.load(profile), out.absolute(), trainer=trainer)
    )
    if json:
        output.data_json({"path": str(out.absolute()), "files": files})
        return
    output.data(f"{out}: {', '.join(files)}")
    output.say("read it before you send it; it should hold nothing private")


async def _doctor(trainer: bool, as_json: bool) -> int:
    from dataclasses import asdict

    from fedtui import doctor as doctoring
    from fedtui import paths, settings

    profile = paths.default_profile()
    chosen = settings.load(profile)
    pixels, failed = _ask_terminal(chosen.color), 0
    async for check in doctoring.examine(profile, chosen, trainer=trainer, pixels=pixels):
        failed += check.grade == "failed"
        if as_json:
            output.data_json(asdict(check))
            continue
        output.data(f"{MARKS[check.grade]}  {check.name:<10} {check.said}")
        if check.remedy:
            output.data(f"{'':<20} {check.remedy}")
    return failed


def _ask_terminal(color: terminal.Choice) -> str:
    """Finds out about colours as the interface does; returns what draws pixels here, if any."""
    if not terminal.interactive():
        return ""
    answers = terminal_query.ask(pixels=True)
    terminal.prepare(color, deep=lambda: answers.deep)
    return "kitty" if answers.kitty else "sixel" if answers.sixel else ""
