"""Base models by name, folder or file.

A new family is a file beside this one and a line in FAMILIES.
"""

from __future__ import annotations

from pathlib import Path

from trainer import embedded
from trainer.buckets import SIDE_STEP
from trainer.errors import MISUSE, NO_USABLE, TrainerError
from trainer.models import store
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


def sides(model: str, resolution: int) -> tuple[int, int]:
    """The resolution to train at, where 0 means the model's own, and what sides of pictures are
    multiples of. Without a model any resolution is as good as given."""
    if not model:
        return resolution, SIDE_STEP
    base = resolve(model)
    return resolution or base.resolution, base.side_step


def resolve(model: str) -> BaseModel:
    """Finds a base model that is ready to be read: ``tiny-landscapes``, a diffusers folder, or a
    single file or hub name that was imported before.

    Raises :class:`TrainerError`: with code 2 when there is nothing of this name, with code 5 for
    what is there and no model.
    """
    if model == embedded.MODEL_NAME:
        return described(model, embedded.WEIGHTS)
    path = Path(model).expanduser()
    if path.is_file():
        return described(path.stem, store.found(model))
    if store.is_hub_name(model):
        return described(model.split("/")[1], store.found(model))
    return described(path.name, path)


def described(name: str, folder: Path) -> BaseModel:
    """The model of a folder, as the family that recognises it reads it."""
    index = folder / "model_index.json"
    if not folder.exists():
        raise TrainerError(
            "There is no such model",
            f"{folder} does not exist.",
            f"Give a diffusers folder, a .safetensors checkpoint, a hub name, or "
            f"{embedded.MODEL_NAME}.",
            MISUSE,
        )
    if not index.is_file():
        raise TrainerError(
            "There is no model here",
            f"{folder} contains no model_index.json.",
            "Give a diffusers folder, a .safetensors checkpoint, a hub name, or "
            f"{embedded.MODEL_NAME}.",
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
