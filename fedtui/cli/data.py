"""``fedtui data``: folders of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import data_options as words
from fedtui.cli import output, places
from fedtui.cli.learn import EMBEDDED_MODEL
from fedtui.errors import ExitCode
from fedtui.picture_sides import smaller

SHOWN_PROBLEMS = 20
SHOWN_TAGS = 12
SHOWN_SIZES = 8

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures with captions.")],
    model: Annotated[
        str, typer.Option(help="What will be trained: decides the resolution and possible sizes.")
    ] = EMBEDDED_MODEL,
    resolution: Annotated[
        int, typer.Option(min=0, help="Pixels of the shorter side in training; 0 is the model's.")
    ] = 0,
    preview: Annotated[
        Path | None, typer.Option(help="A PNG to draw the first batches of training into.")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, max=64, help="Pictures in a batch of the preview.")
    ] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the training that is previewed.")] = 0,
    name_captions: words.NameCaptions = False,
    caption_lines: words.CaptionLines = False,
    trigger: words.Trigger = "",
    caption_dropout: words.CaptionDropout = 0.0,
    shuffle_tags: words.ShuffleTags = False,
    keep_tags: words.KeepTags = 0,
    repeats: words.Repeats = 1,
    folder_repeats: words.FolderRepeats = False,
    buckets: words.Buckets = False,
    bucket_step: words.BucketStep = 0,
    crops: words.Crops = 1,
    flip: words.Flip = False,
    masks: words.Masks = "off",
    unmasked: words.Unmasked = 0.1,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what a folder contains and what will be trained of it.

    Example: fedtui data check ~/Pictures/cats --preview batches.png
    """
    from fedtui.cli.trainer import ask
    from trainer.protocol import CheckData, PreviewData

    options = words.chosen(
        masks,
        name_captions=name_captions,
        caption_lines=caption_lines,
        trigger=trigger,
        dropout=caption_dropout,
        shuffle=shuffle_tags,
        keep=keep_tags,
        repeats=repeats,
        folder_repeats=folder_repeats,
        buckets=buckets,
        bucket_step=bucket_step,
        crops=crops,
        flip=flip,
        unmasked=unmasked,
    )
    place, line = str(places.folder(folder)), output.ProgressLine()

    def show(data: dict[str, Any]) -> None:
        if data.get("stage") == "scan":
            line.show(f"looking at file {data['step'] + 1}")

    request = CheckData(place, resolution, options, model)
    report = ask(request, role="arithmetic", on_progress=show)
    line.clear()
    if preview is not None and report["usable"]:
        out = str(preview.expanduser().absolute())
        drawing = PreviewData(place, out, resolution, options, batch, seed=seed, model=model)
        report["preview"] = ask(drawing)
    if json:
        output.data_json(report)
    else:
        output.data(_readable(folder, report))
    if not report.get("usable"):
        raise typer.Exit(ExitCode.DEVICE)


@app.command()
def exclude(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures with captions.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Pictures inside of it.")],
    back: Annotated[bool, typer.Option("--back", help="Let them in again.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Keep pictures out of training; their files stay.

    Every training that reads the folder from then on respects it.

    Example: fedtui data exclude ~/Pictures/cats neighbour.jpg
    """
    from fedtui.excluding import exclude as change

    place = Path(places.folder(folder))
    results = [change(place, file, excluded=not back) for file in files]
    if json:
        output.data_json({"folder": str(place), "left_out": results[-1]["count"]})
        return
    done = "in again" if back else "left out"
    output.data(f"{', '.join(files)}: {done}; {results[-1]['count']} left out in {folder}")


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if missing.")],
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many pictures.")] = 20,
    style: Annotated[str, typer.Option(help="Their style: plain or van_gogh.")] = "plain",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same pictures.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write generated captioned landscapes to try things with."""
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
    if left_out := report.get("left_out_count"):
        lines.append(
            f"  left out by you: {left_out} (fedtui data exclude --back lets one in again)"
        )
    if not usable:
        lines.append(
            "  put PNG, JPEG or WebP files there, each with its caption in a .txt beside it"
        )
    counts = report.get("captions") or {}
    if counts:
        lines.append("  captions: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    lines += _facts(report)
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


def _facts(report: dict[str, Any]) -> list[str]:
    """Sizes, buckets, tags, and what a pass over the data is."""
    lines = [
        f"  {title}: {_listed(report[key])}"
        for title, key in (("sizes", "sizes"), ("trained as", "buckets"))
        if report.get(key)
    ]
    if told := smaller(report):
        lines.append(f"  of them {told}")
    if report.get("tags"):
        shown = ", ".join(f"{tag} {count}" for tag, count in report["tags"][:SHOWN_TAGS])
        lines.append(f"  tags: {shown}")
    if report.get("usable"):
        encoded = report["encoded"]
        lines.append(
            f"  one pass: {report['pass']} pictures; to encode once: {encoded['views']} views, "
            f"{encoded['wordings']} captions"
        )
    for number, choices in enumerate((report.get("preview") or {}).get("batches", ()), 1):
        lines.append(f"  step {number}: {choices[0]['size']}")
        lines += [f"    {c['file']}  {c['caption'] or '(no caption)'}" for c in choices]
    if report.get("preview"):
        lines.append(f"  {report['preview']['path']}  these batches as a picture")
    return lines


def _listed(counts: dict[str, int]) -> str:
    shown = [f"{count} of {size}" for size, count in list(counts.items())[:SHOWN_SIZES]]
    more = len(counts) - SHOWN_SIZES
    return ", ".join(shown) + (f" and {more} more sizes" if more > 0 else "")
