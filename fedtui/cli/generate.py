"""``fedtui generate``: pictures and grids of pictures, without any network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtui.cli import output, places
from fedtui.cli.learn import EMBEDDED_MODEL, MODEL_HELP, STAGES, progress_text, writable
from fedtui.errors import UsageError

if TYPE_CHECKING:
    from fedtui.grid import Grid
    from trainer.protocol import Generate, LoraFile

SAMPLERS = (
    "ddim, ddpm, euler, euler_a, heun, dpm2, dpm2_a, dpmpp_2m, dpmpp_2m_karras, dpmpp_2m_sde, unipc"
)


def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A .png, or a folder; seeds are added to names.")
    ],
    negative: Annotated[str, typer.Option(help="What to keep out.")] = "",
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = EMBEDDED_MODEL,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:WEIGHT]", help="An adapter; several times for several."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the first picture; the others count on.")
    ] = 0,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Sampling steps.")] = 20,
    cfg: Annotated[float, typer.Option(min=0.0, help="Guidance scale.")] = 3.0,
    sampler: Annotated[
        str, typer.Option(help=f"The model's own when empty, or one of {SAMPLERS}.")
    ] = "",
    size: Annotated[
        str, typer.Option(metavar="WxH", help="512x512, say; else the model's own.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, max=1000, help="How many pictures.")] = 1,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Pictures drawn at once.")] = 1,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUES",
            help="An axis of a grid: seed=1,2,3, lora=0:1:5, cfg=2:8:4, prompt=A|B, round=0:3.",
        ),
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(help="A PNG that shows the picture while it is drawn.")
    ] = None,
    metadata: Annotated[bool, typer.Option(help="Whether the PNGs say how they were made.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Draw pictures with a model and any number of adapters. Ctrl+C stops it.

    Example: fedtui generate "a house" --lora a.safetensors:0.8 --out house.png
    """
    from fedtui.cli.trainer import ask
    from trainer.protocol import Generate

    if out.suffix and out.suffix.lower() != ".png":
        raise UsageError("--out must end in .png or be a folder", f"{out.name} does not")
    if grid and count > 1:
        raise UsageError("--count and --grid exclude each other", remedy="use --grid seed=…")
    width, height = _size(size)
    loras = tuple(_lora(text) for text in lora or ())
    request = Generate(
        model=model,
        prompts=(prompt,),
        seeds=tuple(range(seed, seed + count)),
        out=str(writable(out)),
        loras=loras,
        negative=negative,
        steps=steps,
        guidance=cfg,
        width=width,
        height=height,
        sampler=sampler,
        batch=batch,
        preview=str(writable(preview)) if preview else "",
        metadata=metadata,
    )
    plan = None
    if grid:
        request, plan = _grid(grid, request)
    line = output.ProgressLine()

    def show(data: dict[str, Any]) -> None:
        if data.get("stage") in STAGES:
            line.show(progress_text(data))
        elif data.get("stage") == "note":
            line.clear()
            output.say(data["text"])
        elif "step" in data:
            where = f"picture {data['picture'] + 1} of {data['pictures']}, "
            line.show(f"drawing {where}step {data['step']} of {data['steps']}")

    result = ask(request, on_progress=show)
    line.clear()
    if plan is not None:
        result["sheet"] = _sheet(out, plan, [str(p["path"]) for p in result["pictures"]])
    if json:
        output.data_json(result)
        return
    for picture in result["pictures"]:
        output.data(str(picture["path"]))
    if plan is not None:
        output.data(f"{result['sheet']}  all of them on one sheet")


def _grid(texts: list[str], request: Generate) -> tuple[Generate, Grid]:
    """The request with a shot for every picture of the grid, and how they are laid out."""
    from dataclasses import replace

    from fedtui import grid
    from trainer.protocol import Shot

    axes = [grid.parsed(text, len(request.loras)) for text in texts]
    adapters = _of_rounds(grid.asked_rounds(axes))
    first = len(request.loras)
    rounds = {number: first + place for place, number in enumerate(adapters)}
    base = Shot(
        request.prompts[0],
        request.seeds[0],
        request.negative,
        (*(lora.weight for lora in request.loras), *(0.0 for _ in adapters)),
        request.steps,
        request.guidance,
        request.sampler,
    )
    plan = grid.laid_out(base, axes, rounds)
    loras = (*request.loras, *adapters.values())
    return replace(request, loras=loras, shots=plan.shots), plan


def _of_rounds(numbers: Sequence[int]) -> dict[int, LoraFile]:
    """The adapters of these rounds of this machine's room, by round."""
    from fedtui import paths, rooms
    from trainer.protocol import LoraFile

    if not numbers:
        return {}
    kept = rooms.committed_adapters(rooms.current(paths.default_profile()).paths)
    missing = next((number for number in numbers if number not in kept), None)
    if missing is not None:
        known = ", ".join(map(str, sorted(kept))) or "none"
        raise UsageError(
            f"round {missing} has no adapter here",
            f"kept are {known}",
            "choose rounds that are kept" if kept else "wait for the room's first round",
        )
    return {number: LoraFile(str(kept[number])) for number in numbers}


def _sheet(out: Path, plan: Grid, pictures: list[str]) -> str:
    """Lays the grid out on one sheet beside its pictures."""
    from fedtui.cli.trainer import ask
    from trainer.protocol import ContactSheet, SheetRow

    target = out.absolute()
    is_file = bool(out.suffix)
    place = target.with_name(f"{out.stem}-grid.png") if is_file else target / "grid.png"
    width = len(plan.columns)
    rows = tuple(
        SheetRow(label, tuple(pictures[number * width : (number + 1) * width]))
        for number, label in enumerate(plan.rows)
    )
    return str(ask(ContactSheet(str(place), plan.columns, rows), role="arithmetic")["path"])


def _lora(text: str) -> LoraFile:
    """``FILE`` or ``FILE:WEIGHT``; a colon in the path itself (Windows) is no weight."""
    from trainer.protocol import LoraFile

    path, weight = text, 1.0
    head, colon, tail = text.rpartition(":")
    if colon and head:
        try:
            path, weight = head, float(tail)
        except ValueError:
            path = text
    return LoraFile(str(places.file(Path(path))), weight)


def _size(text: str) -> tuple[int, int]:
    if not text:
        return 0, 0
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise UsageError(f"{text!r} is no size", remedy="write it as 512x512")
    return int(width), int(height)
