"""Base models by name or folder. A new family is a file beside this one and a line in FAMILIES."""

from __future__ import annotations

from pathlib import Path

from trainer import embedded
from trainer.errors import NO_USABLE, TrainerError
from trainer.models.base import BaseModel, Family, read_config
from trainer.models.flux import Flux
from trainer.models.pixart import PixArt
from trainer.models.stable_diffusion import StableDiffusion, StableDiffusion2
from trainer.models.stable_diffusion_3 import StableDiffusion3
from trainer.models.stable_diffusion_xl import StableDiffusionXL
from trainer.models.unconditional import Unconditional

FAMILIES: tuple[Family, ...] = (
    StableDiffusion2(),
    StableDiffusion(),
    StableDiffusionXL(),
    StableDiffusion3(),
    Flux(),
    PixArt(),
    Unconditional(),
)
"""The first that recognises a folder reads it."""


def resolve(model: str) -> BaseModel:
    """Finds a base model: ``tiny-landscapes`` or a diffusers folder.

    Raises :class:`TrainerError` with code 5 for anything else.
    """
    if model == embedded.MODEL_NAME:
        return _described(model, embedded.WEIGHTS)
    folder = Path(model).expanduser()
    if folder.is_file():
        raise TrainerError(
            "The model is a single file",
            f"{folder} is not a diffusers folder.",
            "Convert it: StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER).",
            NO_USABLE,
        )
    return _described(folder.name, folder)


def _described(name: str, folder: Path) -> BaseModel:
    index = folder / "model_index.json"
    if not index.is_file():
        raise TrainerError(
            "There is no model here",
            f"{folder} contains no model_index.json.",
            f"Give a diffusers folder, or {embedded.MODEL_NAME}.",
            NO_USABLE,
        )
    pipeline = str(read_config(index).get("_class_name"))
    for family in FAMILIES:
        if family.recognises(folder, pipeline):
            return BaseModel(name, folder.resolve(), family)
    known = ", ".join(sorted(name for family in FAMILIES for name in family.pipelines))
    raise TrainerError(
        "This kind of model is not supported",
        f"{folder} is a {pipeline[:80]}.",
        f"Supported pipelines: {known}.",
        NO_USABLE,
    )
