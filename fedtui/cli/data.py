"""``fedtui data``: folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output
from fedtui.errors import ExitCode

SHOWN_PROBLEMS = 20

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures with captions.")],
    resolution: Annotated[int, typer.Option(help="Pixels of the shorter side in training.")] = 64,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """What a folder contains, what is wrong with it, what will be trained."""
    from fedtui.cli.trainer import ask
    from trainer.protocol import CheckData

    report = ask(CheckData(str(folder.absolute()), resolution), role="arithmetic")
    if json:
        output.data_json(report)
    else:
        output.data(_readable(folder, report))
    if not report.get("usable"):
        raise typer.Exit(ExitCode.DEVICE)


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many pictures.")] = 20,
    style: Annotated[str, typer.Option(help="plain or van_gogh.")] = "plain",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Writes generated captioned landscapes to try things with."""
    from fedtui.cli.trainer import ask
    from trainer.protocol import SampleData

    request = SampleData(str(folder.absolute()), count, style, seed)
    result = ask(request, role="arithmetic")
    if json:
        output.data_json({"folder": str(folder), **result})
    else:
        output.data(f"{result['written']} pictures with captions in {folder}")


def _readable(folder: Path, report: dict[str, Any]) -> str:
    usable = report.get("usable", 0)
    lines = [f"{folder}: {usable} pictures can be trained on"]
    if not usable:
        lines.append(
            "  put PNG, JPEG or WebP files there, each with its caption in a .txt beside it"
        )
    counts = report.get("captions") or {}
    if counts:
        lines.append("  captions: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    problems = report.get("problems") or []
    for problem in problems[:SHOWN_PROBLEMS]:
        mark = "error  " if problem.get("fatal") else "warning"
        place = problem.get("file") or folder.name
        lines.append(f"  {mark} {place}: {problem.get('problem')}")
        if problem.get("remedy"):
            lines.append(f"          {problem['remedy']}")
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  and {len(problems) - SHOWN_PROBLEMS} more; --json lists them all")
    return "\n".join(lines)
