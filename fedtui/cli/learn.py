"""``fedtui train``: the trainer alone, without any network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import output
from fedtui.errors import UsageError

EMBEDDED_MODEL = "tiny-landscapes"
MODEL_HELP = "tiny-landscapes, a diffusers folder, a .safetensors checkpoint, or OWNER/NAME."
STAGES = {
    "download": "downloading the model, MiB",
    "unpack": "unpacking the model",
    "load": "loading the model",
    "cache": "preparing the pictures",
}
FORMATS = ("kohya", "diffusers", "factors")


def train(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures with captions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The adapter file to write.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = EMBEDDED_MODEL,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Optimiser steps.")] = 200,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA adapter.")] = 8,
    batch: Annotated[int, typer.Option(min=1, max=512, help="Pictures in one step.")] = 8,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--lr", min=0.0)] = 1e-3,
    resolution: Annotated[int, typer.Option(min=0, help="Pixels; 0 takes the model's.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same adapter.")] = 0,
    format: Annotated[str, typer.Option(help="kohya, diffusers or factors.")] = "kohya",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint beside --out.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Trains an adapter on this machine alone. Ctrl+C stops it."""
    from fedtui.cli.trainer import ask
    from trainer.protocol import AdapterSpec, Train

    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", remedy=f"one of {', '.join(FORMATS)}")
    checkpoint = out.absolute().with_name(f".{out.name}.checkpoint")
    if not resume:
        _discard(checkpoint)
    request = Train(
        model=model,
        folder=str(folder.absolute()),
        out=str(writable(out)),
        spec=AdapterSpec(rank, rank),
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        resolution=resolution,
        seed=seed,
        checkpoint=str(checkpoint),
        export=format,  # type: ignore[arg-type]
    )
    line = output.ProgressLine()

    def show(data: dict[str, Any]) -> None:
        line.show(progress_text(data))

    result = ask(request, on_progress=show)
    line.clear()
    _discard(checkpoint)
    if json:
        output.data_json(result)
        return
    for problem in result.get("problems") or ():
        output.say(f"left out {problem.get('file')}: {problem.get('problem')}")
    output.data(
        f"{result['path']}  {result['steps']} steps on {result['samples']} pictures in "
        f"{result['seconds']:.0f} s, loss {result['loss']:.4f}"
    )


def progress_text(data: dict[str, Any]) -> str:
    """How far the trainer is, in words."""
    stage = data.get("stage", "train")
    if stage in STAGES:
        known = int(data.get("steps", 0)) > 1
        return f"{STAGES[stage]} {data['step']} of {data['steps']}" if known else STAGES[stage]
    parts = [f"step {data.get('step', 0)} of {data.get('steps', 0)}"]
    if isinstance(data.get("loss"), float):
        parts.append(f"loss {data['loss']:.4f}")
    if data.get("images_per_s"):
        parts.append(f"{data['images_per_s']:.1f} pictures/s")
    return ", ".join(parts)


def writable(out: Path) -> Path:
    """The absolute path, its folder made. Raises :class:`UsageError` before hours of work."""
    target = out.expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {target.parent}", error.strerror or "") from error
    return target


def _discard(checkpoint: Path) -> None:
    import shutil

    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)
