"""Makes the embedded model from nothing: ``python -m trainer.embedded.pretrain --out DIR``.

Stages, each usable alone: ``vae``, ``decoder``, ``unet``, ``classifier``, ``card``
(assembles the pipeline, measures it, writes the card) and ``sheet`` (pictures for the docs).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from trainer.embedded.assemble import assemble, load_pipeline
from trainer.embedded.autoencoder import train_autoencoder, train_decoder
from trainer.embedded.card import write_card
from trainer.embedded.classifier import load_classifier, train_classifier
from trainer.embedded.denoiser import train_denoiser
from trainer.embedded.figures import measure
from trainer.embedded.pace import Pace
from trainer.embedded.sheet import model_sheet, style_sheet

STAGES = ("vae", "decoder", "unet", "classifier", "card", "sheet")
DEFAULT_STEPS = {"vae": 3451, "decoder": 3248, "unet": 4416, "classifier": 1200}
"""What the committed weights took; more is better."""
SHARES = {"vae": 0.10, "decoder": 0.05, "unet": 0.81, "classifier": 0.04}
"""How ``--minutes`` is divided when all stages run."""
SCENES = 48_000
CARD_PICTURES = 512


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m trainer.embedded.pretrain",
        description="Train the embedded base model from drawn landscapes.",
    )
    result.add_argument("--out", type=Path, required=True, help="folder for checkpoints and model")
    result.add_argument("--stage", choices=(*STAGES, "all"), default="all")
    limit = result.add_mutually_exclusive_group()
    limit.add_argument("--steps", type=int, help="steps of the chosen stage (repeatable)")
    limit.add_argument("--minutes", type=float, help="wall time; the learning rate follows it")
    result.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    result.add_argument("--seed", type=int, default=1)
    result.add_argument("--scenes", type=int, default=SCENES, help="scenes the denoiser learns")
    result.add_argument("--pictures", type=int, default=CARD_PICTURES, help="pictures to measure")
    result.add_argument(
        "--workers", type=int, help="processes for the denoiser (default: 2 on a CPU, else 1)"
    )
    result.add_argument(
        "--note", action="append", default=[], help="a sentence for the model card; repeatable"
    )
    result.add_argument("--resume", action="store_true", help="continue from checkpoints in --out")
    result.add_argument(
        "--docs", type=Path, default=Path("docs/pictures"), help="for --stage sheet"
    )
    return result


def chosen_device(name: str) -> torch.device:
    """``auto`` takes a CUDA device where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def log(text: str) -> None:
    """One line with the time, at once."""
    print(time.strftime("%H:%M:%S"), text, flush=True)


def pace_of(stage: str, arguments: argparse.Namespace) -> Pace:
    """The limit of a stage: its steps, or its share of the minutes."""
    if arguments.minutes is not None:
        share = SHARES[stage] if arguments.stage == "all" else 1.0
        return Pace(None, arguments.minutes * share)
    steps = arguments.steps if arguments.steps is not None else DEFAULT_STEPS[stage]
    return Pace(steps, None)


def remember(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Keeps a stage's report for the card."""
    (folder / f"{name}.report.json").write_text(json.dumps(content, indent=2) + "\n")


def recall(folder: Path, name: str) -> dict[str, Any]:
    """A stage's report.

    Raises:
        SystemExit: the stage has not run in this folder.
    """
    path = folder / f"{name}.report.json"
    if not path.exists():
        raise SystemExit(f"stage {name} has not finished in {folder}; run it first")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def stage_vae(arguments: argparse.Namespace, device: torch.device) -> None:
    pace = pace_of("vae", arguments)
    report = train_autoencoder(arguments.out, pace, arguments.seed, device, log, arguments.resume)
    remember(arguments.out, "vae", asdict(report))


def stage_decoder(arguments: argparse.Namespace, device: torch.device) -> None:
    pace = pace_of("decoder", arguments)
    report = train_decoder(arguments.out, pace, arguments.seed, device, log)
    remember(arguments.out, "decoder", asdict(report))


def stage_unet(arguments: argparse.Namespace, device: torch.device) -> None:
    report = train_denoiser(
        arguments.out,
        pace_of("unet", arguments),
        arguments.seed,
        arguments.scenes,
        device,
        log,
        arguments.resume,
        arguments.workers or (2 if device.type == "cpu" else 1),
    )
    remember(arguments.out, "unet", asdict(report))


def stage_classifier(arguments: argparse.Namespace, device: torch.device) -> None:
    train_classifier(arguments.out, pace_of("classifier", arguments), arguments.seed, device, log)


def stage_card(arguments: argparse.Namespace, device: torch.device) -> None:
    destination = arguments.out / "model"
    training = {
        "seed": arguments.seed,
        "device": device_name(device),
        "torch": torch.__version__,
        "notes": arguments.note,
        "vae": recall(arguments.out, "vae"),
        "decoder": recall(arguments.out, "decoder"),
        "unet": recall(arguments.out, "unet"),
    }
    assemble(arguments.out, destination, arguments.seed)
    content = (arguments.out / "classifier.safetensors").read_bytes()
    (destination / "classifier.safetensors").write_bytes(content)
    log(f"assembled in {destination}")
    model = load_classifier(destination / "classifier.safetensors")
    figures = measure(load_pipeline(destination), model, arguments.pictures)
    write_card(destination, training, figures)
    log(json.dumps(figures))


def stage_sheet(arguments: argparse.Namespace, device: torch.device) -> None:
    model_sheet(load_pipeline(arguments.out / "model"), arguments.docs / "embedded-model.png")
    style_sheet(arguments.docs / "styles.png")


def device_name(device: torch.device) -> str:
    """What a reader should know of the machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()})"


STAGE_FUNCTIONS: dict[str, Callable[[argparse.Namespace, torch.device], None]] = {
    "vae": stage_vae,
    "decoder": stage_decoder,
    "unet": stage_unet,
    "classifier": stage_classifier,
    "card": stage_card,
    "sheet": stage_sheet,
}


def main(words: list[str] | None = None) -> None:
    """Runs the chosen stages."""
    arguments = parser().parse_args(words)
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = chosen_device(arguments.device)
    stages = STAGES[:-1] if arguments.stage == "all" else (arguments.stage,)
    for stage in stages:
        STAGE_FUNCTIONS[stage](arguments, device)


if __name__ == "__main__":
    main()
