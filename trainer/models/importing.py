"""Making ordinary model folders out of single files and hub names, once."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import (
    DIFFUSERS_DEFAULT_PIPELINE_PATHS,
    infer_diffusers_model_type,
)

from trainer import disk, embedded, models, tensor_file
from trainer.config import MAX_MODEL_HEADER
from trainer.errors import MISUSE, NO_USABLE, TrainerError
from trainer.job import Job
from trainer.models import fetching, flux_file, hub, prediction, store
from trainer.models.base import PREDICTIONS, BaseModel, Digests, read_config
from trainer.models.stable_diffusion import StableDiffusion2
from trainer.tensor_file import FormatError, Header

log = logging.getLogger("trainer")

DTYPES = {
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.bfloat16,
    "F8_E5M2": torch.bfloat16,
}
"""What networks are kept in, by what most of a file is stored in; bfloat16 holds 8 bits exactly."""


def obtain(model: str, job: Job) -> BaseModel:
    """The model of this name, imported first if need be.

    Reports ``{"stage": "download"|"check"|"unpack", "step", "steps"}``. Raises
    :class:`TrainerError`.
    """
    path = Path(model).expanduser()
    if model != embedded.MODEL_NAME and store.is_hub_name(model):
        return fetching.obtain(model, job)
    if model != embedded.MODEL_NAME and path.is_file() and store.record(store.place(model)) is None:
        _import(model, job)
    return models.resolve(model)


def correct(model: str, predicted: str) -> BaseModel:
    """Makes an imported model predict something else than its settings say. It is another model
    then, with another hash. Raises :class:`TrainerError` for a folder of the user's own."""
    base = models.resolve(model)
    kept = store.record(base.folder)
    if kept is None or base.folder != store.place(model).resolve():
        raise TrainerError(
            "What this model predicts is not ours to change",
            f"{base.folder} is your own folder.",
            "Change prediction_type in its scheduler/scheduler_config.json.",
            MISUSE,
        )
    if base.prediction == "flow":
        raise TrainerError(
            "This model predicts neither noise nor velocity",
            f"{base.name} is a rectified flow.",
            "Leave --prediction out.",
            MISUSE,
        )
    if base.prediction != predicted:
        (base.folder / store.RECORD).unlink()  # half corrected, it would have an old hash
        prediction.write(base.folder, predicted)
        sha256 = Digests.of(base).model
        store.write_record(base.folder, store.Record(kept.source, kept.revision, sha256))
    return base


def _import(model: str, job: Job) -> None:
    folder = store.place(model)
    folder.parent.mkdir(parents=True, exist_ok=True)
    revision = _unpack(Path(model).expanduser().resolve(), folder, job)
    base = models.described(folder.name, folder)
    store.write_record(folder, store.Record(model, revision, Digests.of(base).model))


def _unpack(path: Path, folder: Path, job: Job) -> str:
    """Writes a single file's model as a folder; returns the file's SHA-256."""
    job.check()
    job.report({"stage": "unpack", "step": 0, "steps": 1})
    try:
        with path.open("rb") as file:
            header = tensor_file.read_header(file, MAX_MODEL_HEADER)
            file.seek(0)
            revision = hashlib.file_digest(file, "sha256").hexdigest()
    except FormatError as error:
        raise _unusable(path, f"{error}") from error
    settings = _settings(path, header)
    kind = str(read_config(settings / "model_index.json").get("_class_name"))
    draft = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        pipe = _read(kind, path, settings, header)
        said = prediction.said_by(header.tensors)
        if said:
            pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, **said)
        job.check()
        with disk.errors():
            pipe.save_pretrained(draft, safe_serialization=True)
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    _tell_prediction(models.described(path.stem, folder), path, settings, job, known=bool(said))
    return revision


def _tell_prediction(base: BaseModel, path: Path, settings: Path, job: Job, *, known: bool) -> None:
    """Tells what was assumed of a file that may be the one or the other and does not say so."""
    if base.family.name == StableDiffusion2.name and not known:
        other = next(each for each in PREDICTIONS if each != base.prediction)
        text = (
            f"{path.name} is taken to predict {PREDICTIONS.get(base.prediction, base.prediction)}, "
            f"as the settings in {settings} say; if its pictures are noise, run: "
            f"fedtui model import {path} --prediction {other}"
        )
        job.announce({"stage": "note", "text": text})


def _read(kind: str, path: Path, settings: Path, header: Header) -> Any:
    reader = getattr(getattr(diffusers, kind, None), "from_single_file", None)
    if reader is None:
        raise _unusable(path, f"a {kind[:80]} is never stored in one file")
    index = read_config(settings / "model_index.json")
    unused = ("safety_checker", "feature_extractor", "image_encoder")
    given: dict[str, Any] = {name: None for name in unused if name in index}
    try:
        if kind == flux_file.PIPELINE:
            given |= flux_file.networks(path, header.tensors, settings, _dtype(header))
        pipe = reader(
            path,
            config=str(settings),
            torch_dtype=_dtype(header),
            local_files_only=True,
            **given,
        )
    except TrainerError:
        raise
    except Exception as error:  # whatever a reader of foreign weights stumbles over
        first = str(error).strip().split("\n")[0]
        raise _unusable(path, f"it does not fit the settings in {settings}: {first}") from error
    _complete(pipe, path)
    return pipe


def _complete(pipe: Any, path: Path) -> None:
    """Ties what is stored once and used twice, as a T5's words are, and refuses to go on without
    any of the weights."""
    for component, network in pipe.components.items():
        if not isinstance(network, torch.nn.Module):
            continue
        if callable(tie := getattr(network, "tie_weights", None)):
            tie()
        missing = [name for name, value in network.named_parameters() if value.is_meta]
        if missing:
            raise _unusable(path, f"it lacks {len(missing)} weights of {component}: {missing[0]}")


@dataclass(frozen=True)
class _Shape:
    """As much of a tensor as telling models apart needs."""

    shape: tuple[int, ...]


def _settings(path: Path, header: Header) -> Path:
    """A folder with the model's settings: beside the file, or kept from the hub.

    A single file holds weights only. How many heads a layer has and what a tokenizer's words are
    stands elsewhere.
    """
    beside = path.with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    shapes = {name: _Shape(shape) for name, shape in header.shapes.items()}
    name = _public_model(shapes)
    for known in (store.root() / "hub").glob(f"{name.replace('/', '--')}*"):
        if (known / "model_index.json").is_file():
            return known
    kept = store.root() / "settings" / name.replace("/", "--")
    if not (kept / "model_index.json").is_file():
        try:
            hub.download_settings(name, kept)
        except TrainerError as error:
            raise TrainerError(
                "The settings of the model are missing",
                f"{path.name} holds the weights of a model like {name}, but not its settings and "
                f"the words of its tokenizer. {error.cause}",
                f"Put a folder with them (that of {name} without its weights) at {beside}, or go "
                "online once.",
                NO_USABLE,
            ) from error
    return kept


def _public_model(shapes: Mapping[str, _Shape]) -> str:
    kind = infer_diffusers_model_type(dict(shapes))
    return str(DIFFUSERS_DEFAULT_PIPELINE_PATHS[kind]["pretrained_model_name_or_path"])


def _dtype(header: Header) -> torch.dtype:
    """That of most of the file's bytes."""
    sizes: dict[str, int] = {}
    for tensor in header.tensors.values():
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.end - tensor.start
    most = max(sizes, key=lambda name: sizes[name])
    return DTYPES.get(most, torch.float32)


def _unusable(path: Path, cause: str) -> TrainerError:
    return TrainerError(
        "The model file cannot be used",
        f"{path}: {cause}.",
        "Give a whole checkpoint in safetensors format, or a diffusers folder.",
        NO_USABLE,
    )
