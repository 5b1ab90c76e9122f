"""``fedtui evaluate``: is an adapter better, do its pictures look right, does it tell too much?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.cli.learn import EMBEDDED_MODEL
from fedtui.errors import UsageError

BASE = "base model"
LEAK_PICTURES = 24
"""Pictures a side below which a rate of false positives of a few per cent cannot be seen."""


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="Captioned pictures that no adapter was trained on.")
    ],
    lora: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="An adapter; several times for several."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(help="A folder of drawn pictures to compare with FOLDER.")
    ] = None,
    leak: Annotated[
        Path | None,
        typer.Option(help="The folder that the one --lora was trained on: can it be told?"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="tiny-landscapes, or a diffusers folder or file.")
    ] = EMBEDDED_MODEL,
    extractor: Annotated[
        str,
        typer.Option(help="scenes, efficientnet-lite0, inception or dinov2, for --pictures."),
    ] = "",
    draws: Annotated[
        int, typer.Option(min=1, max=256, help="Draws of noise for each picture.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise and of the resampling.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure adapters on pictures none of them was trained on.

    The denoising loss, with the same noise for all; lower is better.

    With --pictures also how far drawn pictures are from those of FOLDER; with --leak whether an
    adapter gives away what it was trained on.
    """
    from trainer.protocol import Evaluate, MeasureSet, ProbeLeak

    adapters = [str(places.file(path)) for path in lora or ()]
    held_out = str(places.folder(folder))
    if leak is not None and len(adapters) != 1:
        raise UsageError("--leak needs exactly one --lora", "it asks about one adapter")
    chosen = extractor or ("scenes" if model == EMBEDDED_MODEL else "efficientnet-lite0")
    requests: dict[str, Any] = {
        "loss": Evaluate(model, held_out, ("", *adapters), draws=draws, seed=seed, by_picture=True)
    }
    if pictures is not None:
        requests["pictures"] = MeasureSet(str(places.folder(pictures)), held_out, chosen, seed=seed)
    if leak is not None:
        requests["leak"] = ProbeLeak(
            model, adapters[0], str(places.folder(leak)), held_out, draws=draws, seed=seed
        )
    results = _ask_all(requests)
    if json:
        output.data_json(results)
        return
    _tell_losses(results["loss"], adapters)
    if "pictures" in results:
        _tell_pictures(results["pictures"])
    if "leak" in results:
        _tell_leak(results["leak"])


def _ask_all(requests: dict[str, Any]) -> dict[str, Any]:
    from fedtui.cli.trainer import ask_all

    line = output.ProgressLine()

    def show(data: dict[str, Any]) -> None:
        if "steps" in data:
            line.show(f"{data.get('stage', 'working')} {data.get('step', 0)} of {data['steps']}")

    try:
        return dict(zip(requests, ask_all(list(requests.values()), on_progress=show), strict=True))
    finally:
        line.clear()


def _tell_losses(result: dict[str, Any], adapters: list[str]) -> None:
    from fedtui.experiment.rows import paired_ratio

    by_picture = result["by_picture"]
    rows = [[BASE, f"{result['losses']['']:.4f}", ""]]
    for path in adapters:
        ratio, low, high = paired_ratio(by_picture[path], by_picture[""])
        name = Path(path).name
        rows.append([name, f"{result['losses'][path]:.4f}", f"{ratio:.3f} ({low:.3f}-{high:.3f})"])
    output.data(output.table(["adapter", "loss", "of the base model's (95 %)"], rows))
    output.data(f"on {result['pictures']} pictures, {result['draws']} draws each")


def _tell_pictures(result: dict[str, Any]) -> None:
    kid, frechet = result["kid"], result["frechet"]
    count = min(result["pictures"], result["reference"])
    biased = f" (biased, N={count})" if frechet["biased"] else f" (N={count})"
    made_with = result["extractor"]
    rows = [
        ["KID", f"{kid['value']:.5f} ({kid['low']:.5f} to {kid['high']:.5f})"],
        [frechet["name"] + biased, f"{frechet['value']:.2f}"],
        *([name, f"{result[name]:.3f}"] for name in ("precision", "recall", "density", "coverage")),
    ]
    output.data("")
    output.data(output.table(["drawn against held-out", ""], rows))
    output.data(
        f"{result['pictures']} against {result['reference']} pictures, features of "
        f"{made_with['name']} ({made_with['sha256'][:12]}…), {made_with['side']} pixels, "
        f"{made_with['resize']}, {made_with['value_range']}"
    )


def _tell_leak(result: dict[str, Any]) -> None:
    rows = [
        [name, f"{found['auc']:.3f}", f"{100 * found['true_positives']:.1f} %"]
        for name, found in result.items()
        if isinstance(found, dict)
    ]
    output.data("")
    output.data(
        output.table(["attack", "AUC (0.5 is guessing)", "found at 1 % false alarms"], rows)
    )
    output.data(
        f"{result['members']} pictures it was trained on, {result['others']} it was not; rates "
        f"below 1/{result['others']} cannot be told from zero"
    )
    if min(result["members"], result["others"]) < LEAK_PICTURES:
        output.data("so few pictures prove little: give more held-out ones")
