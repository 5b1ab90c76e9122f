"""What the frozen networks say of pictures and captions, computed once and kept.

Encoding a picture costs more than training on it, so the autoencoder's moments (not one sample of
them) and the text states of each different caption are kept. An entry is named by everything it
depends on: pixels, size, crop, and the networks' own hashes. An edited picture or another model has
another name, so an entry is never stale; a half-written one has none.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch.nn import functional

from trainer import dataset, tensor_file
from trainer.config import CACHE_BYTES
from trainer.dataset import PLAIN, Contents
from trainer.errors import TrainerError
from trainer.job import Job
from trainer.models.base import Digests, LoadedModel
from trainer.selection import Entry, Selection, View
from trainer.supply import Supply

log = logging.getLogger("trainer")

VERSION = 2
"""Raised whenever the same inputs would give other values."""
MAPPED_BYTES = 256 << 10
"""Of a kept tensor from which on its file is mapped instead of read."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Examples:
    """A data set in memory.

    ``moments`` is (N, C or 2C, h, w), ``states`` (M, tokens, width) of the M different captions,
    ``captions`` (N,) says which of ``texts`` belongs to which picture; ``names`` are pixel hashes.
    """

    moments: torch.Tensor
    states: torch.Tensor
    captions: torch.Tensor
    names: tuple[str, ...]
    texts: tuple[str, ...]

    def spoken_by(self, model: LoadedModel) -> Examples:
        """The same with what the text encoders say now, for instance with an adapter."""
        return replace(self, states=torch.stack([_states(model, text) for text in self.texts]))

    def __len__(self) -> int:
        return len(self.names)


class Cache:
    """A folder of small files, or nothing at all when ``folder`` is None.

    ``limit`` bounds its size in bytes; :meth:`trim` keeps it. What it gives out is memory that the
    system can take back where it is large: the states of one caption of Flux have 8 MB.
    """

    def __init__(self, folder: Path | None, limit: int = CACHE_BYTES) -> None:
        self._folder = folder
        self._limit = limit

    def recall(self, compute: Callable[[], torch.Tensor], *key: str) -> torch.Tensor:
        """The float32 tensor that belongs to ``key``, computed if it is not there or damaged.

        Raises :class:`TrainerError` when the disk does not take a new one.
        """
        if self._folder is None:
            return compute()
        name = hashlib.sha256("\0".join((str(VERSION), *key)).encode()).hexdigest()
        path = self._folder / name[:2] / f"{name}.safetensors"
        kept = _read(path)
        if kept is not None:
            return kept
        fresh = compute()
        array = fresh.numpy()
        try:
            tensor_file.write(path, {"value": array}, {"sha256": _digest(array)})
        except OSError as error:
            raise _not_written(path, error) from error
        if array.nbytes < MAPPED_BYTES:
            return fresh
        kept = _read(path)
        return fresh if kept is None else kept

    def trim(self) -> None:
        """Removes the entries longest unused until the folder is within its limit."""
        if self._folder is None or not self._folder.is_dir():
            return
        entries = []
        for path in self._folder.glob("*/*.safetensors*"):
            try:
                stat = path.stat()
            except OSError:
                continue
            entries.append((stat.st_mtime, stat.st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._limit:
                return
            with suppress(PermissionError):  # of a system that keeps what somebody looks at
                path.unlink(missing_ok=True)
            total -= size


def _contents(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if path.stat().st_size >= MAPPED_BYTES:
        with suppress(OSError):  # the system maps no more; Linux stops at 65,530 of a process
            return tensor_file.mapped(path)
    return tensor_file.read_all(path)


def _read(path: Path) -> torch.Tensor | None:
    """A whole and undamaged entry, marked as used; None if there is none."""
    try:
        arrays, metadata = _contents(path)
        value = arrays["value"]
        if metadata.get("sha256") != _digest(value):
            log.warning("the cache entry %s is damaged", path)
            return None
        os.utime(path)
        return torch.from_numpy(value if isinstance(value, np.memmap) else value.copy())
    except FileNotFoundError:
        return None
    except (OSError, KeyError, tensor_file.FormatError) as error:
        log.warning("the cache entry %s cannot be read: %s", path, error)
        return None


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _not_written(path: Path, error: OSError) -> TrainerError:
    if error.errno in _FULL:
        free = shutil.disk_usage(path.parent).free >> 20 if path.parent.is_dir() else 0
        return TrainerError(
            "The disk is full",
            f"Encoded pictures are kept in {path.parent.parent}, where {free} MB are left.",
            "Make room there and start again; what is encoded already is kept.",
        )
    return TrainerError(
        "Encoded pictures cannot be kept",
        f"{path.parent.parent}: {error.strerror or error}.",
        "Give yourself the right to write there, or set FEDTUI_HOME to another place.",
    )


def encode(
    contents: Contents,
    resolution: int,
    model: LoadedModel,
    digests: Digests,
    cache: Cache,
    job: Job,
) -> Examples:
    """A folder just as it lies, for measuring: the middle squares and the first captions.

    Reports ``{"stage": "cache", "step", "steps"}``.
    """
    found = supply(Selection.of(contents, PLAIN, resolution), model, digests, cache, job)
    texts = [entry.wordings[0] for entry in found.selection.entries]
    return Examples(
        torch.stack([views[0] for views in found.moments]),
        torch.stack(found.states),
        torch.tensor([found.rows[text] for text in texts]),
        tuple(entry.picture.sha256 for entry in found.selection.entries),
        found.selection.wordings,
    )


def supply(
    selection: Selection, model: LoadedModel, digests: Digests, cache: Cache, job: Job
) -> Supply:
    """All that training may meet, encoded one at a time so that each is independent.

    What is done is kept, so a cancelled or killed run goes on where it was. Reports
    ``{"stage": "cache", "step", "steps"}``. Raises :class:`TrainerError` when a picture changes
    meanwhile or the disk is full.
    """
    texts = selection.wordings
    steps = len(texts) + sum(len(entry.views) for entry in selection.entries)
    done = 0

    def advance() -> None:
        nonlocal done
        job.check()
        job.report({"stage": "cache", "step": done, "steps": steps})
        done += 1

    states = []
    for text in texts:
        advance()
        states.append(cache.recall(lambda t=text: _states(model, t), "text", digests.text, text))  # type: ignore[misc]
    moments, masks = [], []
    for entry in selection.entries:
        views = []
        source = _Source(selection, entry)
        for view in entry.views:
            advance()
            key = ("moments", digests.pictures, entry.picture.sha256, *view.key)
            views.append(
                cache.recall(lambda v=view, s=source: _moments(model, s.pixels(v)), *key)  # type: ignore[misc]
            )
        moments.append(tuple(views))
        masks.append(tuple(source.mask(v, m) for v, m in zip(entry.views, views, strict=True)))
    cache.trim()
    rows: Mapping[str, int] = {text: number for number, text in enumerate(texts)}
    return Supply(selection, tuple(moments), tuple(masks), tuple(states), rows)


class _Source:
    """One picture, decoded when the first view of it is missing, and its mask."""

    def __init__(self, selection: Selection, entry: Entry) -> None:
        self._folder, self._options = selection.folder, selection.options
        self._picture = entry.picture
        self._image: Image | None = None
        self._mask: Image | None = None
        self._looked = False

    def pixels(self, view: View) -> torch.Tensor:
        """(1, 3, H, W) in -1..1."""
        if self._image is None:
            self._image = dataset.load(self._picture, self._folder)
        values = torch.from_numpy(np.asarray(view.of(self._image), dtype=np.uint8).copy())
        return values.permute(2, 0, 1)[None].float() / 127.5 - 1.0

    def mask(self, view: View, moments: torch.Tensor) -> torch.Tensor | None:
        """(1, h, w): the weight of each latent, the mean of the mask over its pixels."""
        if self._options.masks == "off":
            return None
        if not self._looked:
            self._mask = dataset.load_mask(self._picture, self._folder, self._options)
            self._looked = True
        if self._mask is None:
            return None
        values = torch.from_numpy(np.asarray(view.of(self._mask), dtype=np.uint8).copy())
        height, width = moments.shape[-2:]
        small = functional.adaptive_avg_pool2d(values[None].float() / 255.0, (height, width))
        least = self._options.unmasked
        return least + (1.0 - least) * small


def _states(model: LoadedModel, caption: str) -> torch.Tensor:
    return model.text_states(caption).float().cpu()


def _moments(model: LoadedModel, pixels: torch.Tensor) -> torch.Tensor:
    return model.moments(pixels)[0].float().cpu().contiguous()
