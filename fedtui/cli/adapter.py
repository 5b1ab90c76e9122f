"""``fedtui adapter``: LoRA files of this and other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.errors import ExitCode, UsageError

FORMATS = ("kohya", "diffusers")
SHOWN_METADATA = ("ss_base_model_version", "ss_sd_model_name", "modelspec.title", "fedtui.round")
NO_ALPHA = "not given, taken as rank"

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A LoRA file in safetensors format.")],
    model: Annotated[
        str, typer.Option(help="Compare with this model; with well-known ones if unset.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Show an adapter's dialect, rank, alpha, modules and SHA-256.

    And how many of the modules a model has.
    """
    from fedtui.cli.trainer import ask
    from fedtui.paths import sha256_of
    from trainer.protocol import InspectAdapter

    path = places.file(file)
    report = ask(InspectAdapter(str(path), model), role="arithmetic")
    report["sha256"] = sha256_of(path)
    if json:
        output.data_json({"file": str(file), **report})
    else:
        output.data(_readable(file, report))
    if model and not report["matching"]:
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="A LoRA file of any dialect.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[str, typer.Option(help="kohya (ComfyUI, A1111) or diffusers.")] = "kohya",
    model: Annotated[
        str, typer.Option(help="The model it is for; unset, it must fit a well-known one.")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write an adapter anew, in a form that no reader gets wrong.

    Its strength is folded in.
    """
    from fedtui.cli.trainer import ask
    from trainer.protocol import ExportAdapter

    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", remedy=f"one of {', '.join(FORMATS)}")
    request = ExportAdapter(
        path=str(places.file(file)),
        out=str(out.absolute()),
        model=model,
        format=format,  # type: ignore[arg-type]
    )
    result = ask(request, role="arithmetic")
    if json:
        output.data_json(result)
    else:
        output.data(f"{result['path']}  {result['modules']} modules, {format}")


def _readable(file: Path, report: dict[str, Any]) -> str:
    modules, matching = report["modules"], report["matching"]
    lines = [
        f"{file}: {report['title']} ({report['dialect']})",
        f"  modules  {modules}",
        f"  rank     {_counted(report['ranks'], modules)}",
        f"  alpha    {_counted(report['alphas'], modules).replace('none', NO_ALPHA)}",
        f"  values   {_counted(report['dtypes'], modules)}, {report['bytes']:,} bytes",
        f"  sha256   {report['sha256']}",
    ]
    if report["model"]:
        lines.append(f"  fits     {matching} of {modules} modules are in {report['model']}")
    else:
        lines.append("  fits     no well-known base; compare it with a model by --model")
    if report["ignored"]:
        lines.append(f"  besides  {', '.join(report['ignored'])} (no LoRA, left out)")
    shown = {key: value for key, value in report["metadata"].items() if key in SHOWN_METADATA}
    lines += [f"  {key}: {value}" for key, value in shown.items()]
    return "\n".join(lines)


def _counted(counts: dict[str, int], whole: int) -> str:
    """``4``, or ``4 (100 modules), 8 (44 modules)``."""
    if len(counts) == 1 and next(iter(counts.values())) == whole:
        return next(iter(counts))
    return ", ".join(f"{value} ({count} modules)" for value, count in counts.items())
