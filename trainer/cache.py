"""What the frozen networks say of pictures and captions, computed once and kept.

Encoding a picture costs more than training on it, so the autoencoder's moments (not one sample of
them) and the text states of each different caption are kept. An entry is named by everything it
depends on: pixels, resolution, crop, and the networks' own hashes. An edited picture or another
model has another name, so an entry is never stale.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from trainer import dataset, tensor_file
from trainer.dataset import Contents, Picture
from trainer.job import Job
from trainer.models.base import Digests, LoadedModel

log = logging.getLogger("trainer")

VERSION = 1
"""Raised whenever the same inputs would give other values."""
CROP = "centre"


@dataclass(frozen=True)
class Examples:
    """A data set in memory.

    ``moments`` is (N, C or 2C, h, w), ``states`` (M, tokens, width) of the M different captions,
    ``captions`` (N,) says which caption belongs to which picture; ``names`` are pixel hashes.
    """

    moments: torch.Tensor
    states: torch.Tensor
    captions: torch.Tensor
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


class Cache:
    """A folder of small files, or nothing at all when ``folder`` is None."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def recall(self, compute: Callable[[], torch.Tensor], *key: str) -> torch.Tensor:
        """The float32 tensor that belongs to ``key``, computed if it is not there or damaged."""
        if self._folder is None:
            return compute()
        name = hashlib.sha256("\0".join((str(VERSION), *key)).encode()).hexdigest()
        path = self._folder / name[:2] / f"{name}.safetensors"
        try:
            arrays, metadata = tensor_file.read_all(path)
            value = arrays["value"]
            if metadata.get("sha256") == _digest(value):
                return torch.from_numpy(value.copy())
            log.warning("the cache entry %s is damaged", path)
        except FileNotFoundError:
            pass
        except (OSError, KeyError, tensor_file.FormatError) as error:
            log.warning("the cache entry %s cannot be read: %s", path, error)
        fresh = compute()
        array = fresh.numpy()
        tensor_file.write(path, {"value": array}, {"sha256": _digest(array)})
        return fresh


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def encode(
    contents: Contents,
    resolution: int,
    model: LoadedModel,
    digests: Digests,
    cache: Cache,
    job: Job,
) -> Examples:
    """All pictures and captions of a folder, encoded one at a time so that each is independent.

    Reports ``{"stage": "cache", "step", "steps"}``.
    """
    captions = sorted({picture.caption.text for picture in contents.pictures})
    steps = len(captions) + len(contents.pictures)
    text_key = digests.text
    states: list[torch.Tensor] = []
    for caption in captions:
        job.check()
        job.report({"stage": "cache", "step": len(states), "steps": steps})
        states.append(
            cache.recall(lambda c=caption: _states(model, c), "text", text_key, caption)  # type: ignore[misc]
        )
    vae_key = digests.pictures
    moments: list[torch.Tensor] = []
    for picture in contents.pictures:
        job.check()
        job.report({"stage": "cache", "step": len(states) + len(moments), "steps": steps})
        moments.append(
            cache.recall(
                lambda p=picture: _moments(model, p, contents.folder, resolution),  # type: ignore[misc]
                "moments",
                vae_key,
                picture.sha256,
                str(resolution),
                CROP,
            )
        )
    order = {caption: number for number, caption in enumerate(captions)}
    return Examples(
        torch.stack(moments),
        torch.stack(states),
        torch.tensor([order[picture.caption.text] for picture in contents.pictures]),
        tuple(picture.sha256 for picture in contents.pictures),
    )


def _states(model: LoadedModel, caption: str) -> torch.Tensor:
    return model.text_states(caption).float().cpu()


def _moments(model: LoadedModel, picture: Picture, folder: Path, resolution: int) -> torch.Tensor:
    image = dataset.squared(dataset.load(picture, folder), resolution)
    pixels = torch.from_numpy(np.asarray(image, dtype=np.uint8).copy())
    scaled = pixels.permute(2, 0, 1)[None].float() / 127.5 - 1.0
    return model.moments(scaled)[0].float().cpu().contiguous()
