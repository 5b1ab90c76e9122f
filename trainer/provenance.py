"""How a picture was made, written into its PNG: A1111's text and our own JSON."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from trainer import samplers
from trainer.models.base import Drawing

SHORT_HASH = 10
"""Characters of a file's SHA-256 by which galleries look it up (AutoV2)."""
NETWORK = re.compile(r"<\w+:[^<>]*>")
"""An adapter named within a prompt, which no text encoder reads."""
LORA_HASH = 12
"""Characters of a LoRA's content hash (AutoV3)."""


@dataclass(frozen=True)
class Lora:
    """An adapter file that a picture was drawn with.

    ``name`` is that of the file; ``content_sha256`` leaves its header out, so that editing what a
    file says of itself does not change it (kohya's ``sshs_model_hash``, A1111's "Lora hashes").
    """

    name: str
    sha256: str
    content_sha256: str

    @classmethod
    def of(cls, path: Path) -> Lora:
        """Hashes a safetensors file. Raises OSError."""
        with path.open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            file.seek(8 + int.from_bytes(file.read(8), "little"))
            return cls(path.stem, whole, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class Provenance:
    """What a picture's metadata says beside its drawing."""

    model: str
    model_sha256: str
    loras: tuple[Lora, ...]
    note: str


class Made(Protocol):
    """A picture as it was asked for."""

    @property
    def drawing(self) -> Drawing: ...

    @property
    def weights(self) -> tuple[float, ...]: ...

    @property
    def path(self) -> Path: ...


def save(
    image: Image.Image, made: Made, provenance: Provenance, sampler: str, metadata: bool
) -> None:
    """Writes the PNG, complete or not at all; with ``parameters`` and ``fedtui`` in its header.

    ``sampler`` is the model's own, for drawings that name none.
    """
    info = PngInfo()
    if metadata:
        info.add_itxt("parameters", parameters_text(made, provenance, sampler))
        info.add_itxt("fedtui", json.dumps(recipe(made, provenance, sampler), sort_keys=True))
    path = made.path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        image.save(temporary, format="PNG", pnginfo=info)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def prompt_of(path: Path) -> str:
    """What a PNG says it was drawn from, ours or one of A1111's; "" when it does not say."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            texts = dict(image.text)  # type: ignore[attr-defined]  # a PNG's own
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        return str(json.loads(texts["fedtui"])["prompt"])
    words = NETWORK.sub(
        "", re.split(r"\n(?:Negative prompt|Steps): ", texts.get("parameters", ""))[0]
    )
    return " ".join(words.split())


def recipe(made: Made, provenance: Provenance, sampler: str) -> dict[str, object]:
    """All that decided the picture; ``loras`` are (sha256, weight)."""
    loras = [[lora.sha256, w] for lora, w in zip(provenance.loras, made.weights, strict=True)]
    facts = {"model": provenance.model, "model_sha256": provenance.model_sha256}
    note = {"note": provenance.note, "loras": loras}
    return asdict(made.drawing) | facts | note | {"sampler": made.drawing.sampler or sampler}


def parameters_text(made: Made, provenance: Provenance, sampler: str) -> str:
    """The recipe as A1111 writes it, which most galleries and tools can read."""
    drawing = made.drawing
    used = [(lora, w) for lora, w in zip(provenance.loras, made.weights, strict=True) if w]
    words = [" ".join(drawing.prompt.split()), *(f"<lora:{lora.name}:{w:g}>" for lora, w in used)]
    lines = [" ".join(words)]
    if drawing.negative:
        lines.append(f"Negative prompt: {' '.join(drawing.negative.split())}")
    title, schedule = samplers.described(drawing.sampler, sampler)
    hashes = {f"lora:{lora.name}": lora.sha256[:SHORT_HASH] for lora, _ in used}
    contents = ", ".join(f"{lora.name}: {lora.content_sha256[:LORA_HASH]}" for lora, _ in used)
    settings: Sequence[tuple[str, object]] = (
        ("Steps", drawing.steps),
        ("Sampler", title),
        ("Schedule type", schedule),
        ("CFG scale", drawing.guidance),
        ("Seed", drawing.seed),
        ("Size", f"{drawing.width}x{drawing.height}"),
        ("Model hash", provenance.model_sha256[:SHORT_HASH]),
        ("Model", _quoted(provenance.model)),
        ("Lora hashes", _quoted(contents)),
        ("Hashes", json.dumps(hashes) if hashes else ""),
    )
    lines.append(", ".join(f"{name}: {value}" for name, value in settings if value != ""))
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """A1111's way with values that hold its separators."""
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ",:\n") else text
