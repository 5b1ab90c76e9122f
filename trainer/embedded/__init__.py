"""The built-in base model ``tiny-landscapes`` and the pictures it was made for.

Importing this package loads neither torch nor numpy; the submodules that need them do.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import Path

MODEL_NAME = "tiny-landscapes"
WEIGHTS: Path = Path(str(files(__name__).joinpath("weights")))
"""Folder of the model, as ``StableDiffusionPipeline.from_pretrained`` reads it."""

MODEL_SUFFIXES = (".safetensors", ".json")
NOT_MODEL = ("card.json", "classifier.safetensors")
"""Files beside the model that describe or measure it and may change without it."""


def model_files() -> tuple[Path, ...]:
    """The files that make the model what it is, sorted by their name relative to ``WEIGHTS``."""
    found = (path for path in WEIGHTS.rglob("*") if path.suffix in MODEL_SUFFIXES)
    chosen = (path for path in found if path.name not in NOT_MODEL)
    return tuple(sorted(chosen, key=lambda path: path.relative_to(WEIGHTS).as_posix()))


def weights_sha256() -> str:
    """SHA-256 (hex) over names, lengths and bytes of :func:`model_files`.

    Raises:
        FileNotFoundError: the package was installed without its weights.
    """
    paths = model_files()
    if not paths:
        raise FileNotFoundError(f"no model files in {WEIGHTS}")
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        name = path.relative_to(WEIGHTS).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()
