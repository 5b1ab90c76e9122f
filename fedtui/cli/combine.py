"""``fedtui combine``: the rooms' arithmetic on files, without any room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.cli.rule_options import RuleOptions
from fedtui.errors import UsageError

FORMATS = ("kohya", "diffusers")


def combine(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE:SAMPLES...", help="LoRA files and their numbers of pictures."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    mode: Annotated[str, typer.Option(help="fedex, fedavg or stack.")] = "fedex",
    rule: Annotated[str, typer.Option(help="How much each file counts.")] = "n_k",
    rule_option: RuleOptions = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="The adapter that all of them began with.")
    ] = None,
    model: Annotated[str, typer.Option(help="The base model they belong to.")] = "tiny-landscapes",
    format: Annotated[str, typer.Option(help="kohya (ComfyUI, A1111) or diffusers.")] = "kohya",
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Combines adapters of any dialect, rank and alpha into one exact LoRA file."""
    from fedtui.cli.trainer import ask
    from fedtui.rule_choice import RuleChoice, with_options
    from trainer.protocol import CombineAdapters, WeightedFile

    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", remedy=f"one of {', '.join(FORMATS)}")
    named = [_named(text) for text in files]
    request = CombineAdapters(
        inputs=tuple(
            # The number keeps the order of the command line among files of one name.
            WeightedFile(f"{number:05d} {path.name}", str(places.file(path)), samples)
            for number, (path, samples) in enumerate(named)
        ),
        model=model,
        mode=mode,
        out=str(out.expanduser().absolute()),
        rule=with_options(mode, RuleChoice(rule, tuple(rule_option or ()))).spec,
        base=str(places.file(base)) if base else "",
        format=format,  # type: ignore[arg-type]
    )
    result = ask(request, role="arithmetic")
    if json:
        output.data_json(result)
        return
    _show(result)


def _named(text: str) -> tuple[Path, int]:
    """``FILE:SAMPLES``; without a number a file counts one."""
    name, colon, samples = text.rpartition(":")
    if not colon or not samples.lstrip("-").isdigit():
        return Path(text), 1
    return Path(name), int(samples)


def _show(result: dict[str, Any]) -> None:
    told = result["statistics"]
    output.data(f"{'file':<32} {'samples':>8} {'weight':>7} {'norm':>10} {'cosine':>7}")
    for each in told["participants"]:
        line = (
            f"{each['id'].partition(' ')[2][:32]:<32} {each['samples']:>8} {each['weight']:>7.3f} "
            f"{each['norm']:>10.4g} {each['cosine']:>7.3f}"
        )
        notes = [each["excluded"]] if each["excluded"] else []
        notes += [f"shortened to {each['clipped']:.0%}"] if each["clipped"] < 1 else []
        output.data(f"{line}  {', '.join(notes)}".rstrip())
    output.data(f"averaging A and B alone would lose {told['residual_share']:.2%} of the product")
    output.data(f"{result['path']}  rank {result['rank']}, {result['modules']} modules")
