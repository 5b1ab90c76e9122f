"""``fedtui train``: the trainer alone, without any network."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fedtui.cli import data_options, output, places, tuning_options
from fedtui.errors import UsageError

EMBEDDED_MODEL = "tiny-landscapes"
MODEL_HELP = "tiny-landscapes, a diffusers folder, a .safetensors checkpoint, or OWNER/NAME."
STAGES = {
    "download": "downloading the model, MiB",
    "wait": "another program on this machine downloads the model; waiting for it",
    "check": "all has come; computing the model's hash",
    "unpack": "unpacking the model",
    "load": "loading the model",
    "scan": "looking at the pictures",
    "cache": "preparing the pictures",
    "paused": "paused (r goes on) at step",
    "resumed": "goes on at step",
    "saved": "checkpoint written at step",
}
FORMATS = ("kohya", "diffusers", "factors")
METHODS = ("lora", "full")


def train(
    folder: Annotated[Path, typer.Argument(help="A folder of pictures with captions.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The adapter file to write.")],
    model: Annotated[str, typer.Option(help=MODEL_HELP)] = EMBEDDED_MODEL,
    steps: Annotated[int, typer.Option(min=1, max=1_000_000, help="Optimiser steps.")] = 200,
    method: Annotated[
        str, typer.Option(help="lora for an adapter, full for every weight of the denoiser.")
    ] = "lora",
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA adapter.")] = 8,
    alpha: tuning_options.Alpha = 0,
    convolutions: Annotated[
        bool, typer.Option("--convolutions", help="Adapt convolutions beside attention.")
    ] = False,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder", help="Adapt the CLIP text encoders as well.")
    ] = False,
    batch: Annotated[
        int, typer.Option(min=0, max=512, help="Pictures in one step; 0 takes what fits.")
    ] = 8,
    learning_rate: Annotated[
        float,
        typer.Option(
            "--learning-rate", "--lr", min=0.0, help="Size of a training step; 0 suits the model."
        ),
    ] = 0.0,
    resolution: Annotated[int, typer.Option(min=0, help="Pixels; 0 takes the model's.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same adapter.")] = 0,
    optimizer: tuning_options.Optimizer = "adamw",
    schedule: tuning_options.Schedule = "constant",
    warmup: tuning_options.Warmup = 0,
    accumulate: tuning_options.Accumulate = 1,
    weight_decay: tuning_options.WeightDecay = 0.01,
    clip: tuning_options.Clip = 1.0,
    min_snr: tuning_options.MinSnr = 0.0,
    noise_offset: tuning_options.NoiseOffset = 0.0,
    dropout: tuning_options.Dropout = 0.0,
    rslora: tuning_options.RsLora = False,
    dora: tuning_options.Dora = False,
    ema: tuning_options.Ema = None,
    prior: tuning_options.Prior = None,
    prior_weight: tuning_options.PriorWeight = 1.0,
    held_out: tuning_options.HeldOut = None,
    validate_every: tuning_options.ValidateEvery = 0,
    checkpointing: tuning_options.Checkpointing = "auto",
    compile: tuning_options.Compile = False,
    name_captions: data_options.NameCaptions = False,
    caption_lines: data_options.CaptionLines = False,
    trigger: data_options.Trigger = "",
    caption_dropout: data_options.CaptionDropout = 0.0,
    shuffle_tags: data_options.ShuffleTags = False,
    keep_tags: data_options.KeepTags = 0,
    repeats: data_options.Repeats = 1,
    folder_repeats: data_options.FolderRepeats = False,
    buckets: data_options.Buckets = False,
    bucket_step: data_options.BucketStep = 0,
    crops: data_options.Crops = 1,
    flip: data_options.Flip = False,
    masks: data_options.Masks = "off",
    unmasked: data_options.Unmasked = 0.1,
    sample: Annotated[
        list[str] | None,
        typer.Option(metavar="PROMPT", help="Draw this meanwhile; several times for several."),
    ] = None,
    sample_every: Annotated[
        int, typer.Option(min=0, help="Steps between samples; 0 when you press s.")
    ] = 0,
    format: Annotated[
        str, typer.Option(help="kohya, diffusers or factors; full writes a diffusers folder.")
    ] = "",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the checkpoint beside --out."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train an adapter, or a whole model, on this machine alone.

    Ctrl+C stops it. In a terminal p pauses and r goes on, c writes a checkpoint, s draws the
    samples; SIGUSR1 and SIGUSR2 ask for a checkpoint and for samples.
    """
    from fedtui.cli.steering import TRAINING_KEYS
    from fedtui.cli.trainer import ask
    from trainer.protocol import (
        ATTENTION,
        CONVOLUTIONS,
        TEXT_ATTENTION,
        AdapterSpec,
        Samples,
        Train,
    )

    place = places.folder(folder)
    if method not in METHODS:
        raise UsageError(f"there is no method {method!r}", remedy=f"one of {', '.join(METHODS)}")
    format = format or ("kohya" if method == "lora" else "diffusers")
    if format not in FORMATS:
        raise UsageError(f"there is no format {format!r}", remedy=f"one of {', '.join(FORMATS)}")
    tuning = tuning_options.chosen(
        method=method, ema=ema, prior=prior, held_out=held_out, optimizer=optimizer,
        schedule=schedule, warmup=warmup, accumulate=accumulate, weight_decay=weight_decay,
        clip=clip, noise_offset=noise_offset, dora=dora,
        prior_weight=prior_weight, validate_every=validate_every, checkpointing=checkpointing,
        compile=compile,
    )  # fmt: skip
    data = data_options.chosen(
        masks=masks, name_captions=name_captions, caption_lines=caption_lines, trigger=trigger,
        dropout=caption_dropout, shuffle=shuffle_tags, keep=keep_tags, repeats=repeats,
        folder_repeats=folder_repeats, buckets=buckets, bucket_step=bucket_step, crops=crops,
        flip=flip, unmasked=unmasked,
    )  # fmt: skip
    targets = ATTENTION + (CONVOLUTIONS if convolutions else ())
    checkpoint = out.absolute().with_name(f".{out.name}.checkpoint")
    if not resume:
        _set_aside(checkpoint, out)
    elif not checkpoint.exists():
        output.say(f"there is no checkpoint beside {out}: the training begins anew")
    request = Train(
        model=model,
        folder=str(place),
        out=str(writable(out)),
        spec=AdapterSpec(
            rank,
            alpha or rank,
            targets,
            text_targets=TEXT_ATTENTION if text_encoder else (),
            dropout=dropout,
            rank_stabilised=rslora,
        ),
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        resolution=resolution,
        seed=seed,
        checkpoint=str(checkpoint),
        resume=resume,
        min_snr=min_snr,
        mode="dense" if method == "full" else "fedex",
        tuning=tuning,
        samples=Samples(
            tuple(sample or ()), out=str(out.absolute()) + ".samples", every=sample_every
        ),
        data=data,
        cache=_cache(place),
        export=format,  # type: ignore[arg-type]
    )
    line = output.ProgressLine()

    def show(data: dict[str, Any]) -> None:
        if data.get("stage") == "sample":
            line.clear()
            output.say(f"after step {data['step']}: {data['path']}")
        elif data.get("stage") == "note":
            line.clear()
            output.say(data["text"])
        else:
            line.show(progress_text(data))

    try:
        result = ask(request, on_progress=show, keys=TRAINING_KEYS)
    except typer.Exit:
        line.clear()
        if checkpoint.exists():
            output.say("stopped; the same command with --resume goes on from here")
        raise
    finally:
        line.clear()
    _discard(checkpoint)
    if json:
        output.data_json(result)
        return
    for problem in result.get("problems") or ():
        if problem["fatal"]:
            output.say(f"left out {problem['file']}: {problem['problem']}")
    for sentence in result.get("fallbacks") or ():
        output.say(sentence)
    for step, loss in result.get("held_out") or ():
        output.say(f"loss on held-out pictures after step {step}: {loss:.4f}")
    output.data(
        f"{result['path']}  {result['steps']} steps of {result['batch']} on {result['samples']} "
        f"pictures in {result['seconds']:.0f} s at a rate of {result['learning_rate']:g}, "
        f"loss {result['loss']:.4f}, {result['precision']}"
    )


def _cache(folder: Path) -> str:
    """Where what was computed from a folder is kept between runs."""
    from fedtui import paths

    profile = paths.default_profile()
    paths.make_private(profile.root)
    return str(profile.cache(str(folder)))


def progress_text(data: dict[str, Any]) -> str:
    """How far the trainer is, in words."""
    stage = data.get("stage", "train")
    if stage in STAGES:
        known = int(data.get("steps", 0)) > 1
        return f"{STAGES[stage]} {data['step']} of {data['steps']}" if known else STAGES[stage]
    if stage not in ("train", "validate"):
        return str(stage)
    if stage == "validate":
        return f"step {data['step']} of {data['steps']}, held out {data['loss']:.4f}"
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
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"cannot write to {target.parent}", "you have no right to")
    return target


def _set_aside(checkpoint: Path, out: Path) -> None:
    """Keeps what an earlier training left: hours of work may be in it. Nobody is asked, so that
    scripts go on. Raises :class:`UsageError` when it cannot be moved."""
    try:
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(checkpoint.lstat().st_mtime))
        kept = checkpoint.with_name(f"{out.name}.checkpoint-{stamp}")
        for number in itertools.count(2):
            if not os.path.lexists(kept):
                break
            kept = kept.with_name(f"{out.name}.checkpoint-{stamp}-{number}")
        checkpoint.rename(kept)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"the checkpoint of an earlier training cannot be set aside: {checkpoint}",
            error.strerror or "",
            "say --resume to go on from it, or move it away",
        ) from error
    output.say(
        f"this training begins anew. The checkpoint of an earlier one is kept as {kept}; delete it,"
        f" or move it back to {checkpoint} and say --resume to go on from it"
    )


def _discard(checkpoint: Path) -> None:
    import shutil

    if checkpoint.is_dir():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)
