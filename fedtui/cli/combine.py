"""``fedtui combine``: the rooms' arithmetic on files, without any room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.cli.rule_options import RuleName, RuleOptions
from fedtui.errors import UsageError

FORMATS = ("kohya", "diffusers")
ALGORITHMS = ("fedex", "fedavg", "stack")


def combine(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE:SAMPLES...", help="LoRA files and their numbers of pictures."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    algorithm: Annotated[
        str, typer.Option(help=f"How they are combined: {', '.join(ALGORITHMS)}.")
    ] = "fedex",
    rule: RuleName = "n_k",
    rule_option: RuleOptions = None,
    base: Annotated[
        Path | None, typer.Option("--base", help="The adapter that all of them began with.")
    ] = None,
    model: Annotated[str, typer.Option(help="The base model they belong to.")] = "tiny-landscapes",
    format: Annotated[str, typer.Option(help="kohya (ComfyUI, A1111) or diffusers.")] = "kohya",
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Combine adapters of any dialect into one exact LoRA file.

    Their ranks and alphas may differ; the numbers behind the files weigh them.

    Example: fedtui combine a.safetensors:20 b.safetensors:40 --out both.safetensors
    """
    from fedtui.cli.trainer import ask
    from fedtui.rule_choice import RuleChoice, with_options
    from trainer.protocol import CombineAdapters, WeightedFile

    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", remedy=f"one of {', '.join(FORMATS)}")
    if algorithm not in ALGORITHMS:
        raise UsageError(
            f"files cannot be combined by {algorithm!r}",
            "other algorithms need to know how members trained",
            f"one of {', '.join(ALGORITHMS)}",
        )
    named = [_named(text) for text in files]
    request = CombineAdapters(
        inputs=tuple(
            # The number keeps the order of the command line among files of one name.
            WeightedFile(f"{number:05d} {path.name}", str(places.file(path)), samples)
            for number, (path, samples) in enumerate(named)
        ),
        model=model,
        mode=algorithm,
        out=str(out.expanduser().absolute()),
        rule=with_options(algorithm, RuleChoice(rule, tuple(rule_option or ()))).spec,
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
