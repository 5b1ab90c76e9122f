"""``fedtui evaluate``: is an adapter better, do its pictures look right, does it tell too much?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.cli.learn import EMBEDDED_MODEL
from fedtui.errors import UsageError

BASE = "base model"
HELD_OUT, DRAWN = "held_out", "drawn"
NEAREST_SHOWN = 5
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
    clip: Annotated[
        str,
        typer.Option(help="A CLIP's folder or hub name: do pictures show what captions say?"),
    ] = "",
    draws: Annotated[
        int, typer.Option(min=1, max=256, help="Draws of noise for each picture.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise and of the resampling.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure adapters on pictures none of them was trained on.

    The denoising loss, with the same noise for all; lower is better.

    With --clip also how well the pictures of FOLDER, and those of --pictures, fit their captions;
    with --pictures how far drawn pictures are from those of FOLDER; with --leak whether an
    adapter gives away what it was trained on; with both also which pictures trained on the drawn
    ones look like.
    """
    from trainer.protocol import (
        DrawnPicture,
        Evaluate,
        JudgeScenes,
        MeasureClip,
        MeasureSet,
        ProbeLeak,
    )

    adapters = [str(places.file(path)) for path in lora or ()]
    held_out = str(places.folder(folder))
    if leak is not None and len(adapters) != 1:
        raise UsageError("--leak needs exactly one --lora", "it asks about one adapter")
    chosen = extractor or ("scenes" if model == EMBEDDED_MODEL else "efficientnet-lite0")
    requests: dict[str, Any] = {}
    if leak is not None:
        # First, because it refuses folders that share pictures before anything is computed.
        requests["leak"] = ProbeLeak(
            model,
            adapters[0],
            str(places.folder(leak)),
            held_out,
            pictures=_drawn(pictures),
            extractor=chosen,
            draws=draws,
            seed=seed,
        )
    if clip:
        folders = {HELD_OUT: held_out} | ({DRAWN: str(places.folder(pictures))} if pictures else {})
        for name, place in folders.items():
            requests[name] = MeasureClip(place, _clip(clip), seed=seed)
    requests["loss"] = Evaluate(
        model, held_out, ("", *adapters), draws=draws, seed=seed, by_picture=True
    )
    if pictures is not None:
        requests["pictures"] = MeasureSet(str(places.folder(pictures)), held_out, chosen, seed=seed)
        if model == EMBEDDED_MODEL:
            drawings = tuple(DrawnPicture(path, "") for path in _drawn(pictures))
            requests["scenes"] = JudgeScenes(drawings, seed)
    results = _ask_all(requests)
    scores = {name: results.pop(name) for name in (HELD_OUT, DRAWN) if name in results}
    if scores:
        results["clip"] = scores
    if json:
        output.data_json(results)
        return
    _tell_losses(results["loss"], adapters)
    if "pictures" in results:
        _tell_pictures(results["pictures"])
    if "scenes" in results:
        _tell_scenes(results["scenes"])
    if scores:
        _tell_clip(scores)
    if "leak" in results:
        _tell_leak(results["leak"])


def _drawn(folder: Path | None) -> tuple[str, ...]:
    """The pictures of a folder, by absolute path."""
    if folder is None:
        return ()
    paths = sorted(places.folder(folder).iterdir())
    return tuple(str(path) for path in paths if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


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


def _tell_scenes(result: dict[str, Any]) -> None:
    asked = [
        (name, result[key])
        for name, key in (("large attributes", "large"), ("objects", "objects"))
        if result[key] is not None
    ]
    rows = [
        [name, f"{100 * value:.1f} %"] for name, value in (*asked, ("painterly", result["style"]))
    ]
    judge = result["classifier"]
    output.data("")
    output.data(output.table(["shown of what was asked for", ""], rows))
    output.data(
        f"{result['pictures']} pictures, read by a classifier that is right about "
        f"{100 * judge['mean']:.1f} % of the attributes of fresh drawings and "
        f"{100 * judge['style']:.1f} % of their styles"
    )
    if not asked:
        output.data("no picture says what was asked for: --no-metadata leaves prompts out")


def _clip(name: str) -> str:
    """A CLIP's folder by its whole path; anything else as it is."""
    place = Path(name).expanduser()
    return str(place.resolve()) if place.exists() else name


def _tell_clip(scores: dict[str, Any]) -> None:
    rows = [
        [
            name.replace("_", " "),
            f"{found['mean']:.2f} ({found['low']:.2f}-{found['high']:.2f})",
            f"{found['deviation']:.2f}",
            str(found["pictures"]),
        ]
        for name, found in scores.items()
    ]
    made_with = next(iter(scores.values()))["clip"]
    output.data("")
    output.data(output.table(["CLIP score", "mean (95 %)", "of a picture ±", "pictures"], rows))
    output.data(
        f"100 times the cosine of picture and caption, by {made_with['name']} "
        f"({made_with['sha256'][:12]}…), {made_with['side']} pixels, {made_with['resize']}, "
        f"{made_with['value_range']}"
    )
    if cut := sum(found["truncated"] for found in scores.values()):
        output.data(f"{cut} captions are longer than it reads: their ends do not count")


def _tell_leak(result: dict[str, Any]) -> None:
    rows = [
        [
            name,
            f"{found['auc']:.3f} ({found['low']:.3f}-{found['high']:.3f})",
            "" if found["base"] is None else f"{found['base']:.3f}",
            f"{100 * found['true_positives']:.1f} %",
        ]
        for name, found in result["attacks"].items()
    ]
    members, others = result["members"], result["others"]
    allowed = next(iter(result["attacks"].values()))["allowed"]
    header = ["attack", "AUC (95 %), 0.5 is guessing", "on the base model", "found at 1 %"]
    output.data("")
    output.data(output.table(header, rows))
    output.data(
        f"{members} pictures it was trained on, {others} it was not: 1 % false alarms are "
        f"{allowed} of them, and rates below 1/{others} cannot be told from zero"
    )
    output.data(
        "the base model was trained on neither: what is found there is a difference between the "
        "folders; hold out pictures of the same kinds, or a kind that was learnt is found as well"
    )
    if min(members, others) < LEAK_PICTURES:
        output.data("so few pictures prove little: give more held-out ones")
    if "nearest" in result:
        _tell_nearest(result["nearest"])


def _tell_nearest(nearest: dict[str, Any]) -> None:
    """The drawn pictures that look most like one trained on."""
    closest = sorted(nearest["pictures"], key=lambda each: -each["cosine"])[:NEAREST_SHOWN]
    rows = [
        [Path(each["path"]).name, Path(each["training"]).name, f"{each['cosine']:.4f}"]
        for each in closest
    ]
    output.data("")
    output.data(output.table(["drawn picture", "nearest it was trained on", "cosine"], rows))
    above = sum(each["cosine"] > nearest["others_most"] for each in nearest["pictures"])
    output.data(
        f"held-out pictures come as near as {nearest['others_median']:.4f} in the middle and "
        f"{nearest['others_most']:.4f} at most (features of {nearest['extractor']['name']}); "
        f"{above} of {len(nearest['pictures'])} drawn ones are nearer than that"
    )
