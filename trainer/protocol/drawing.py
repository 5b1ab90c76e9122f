"""Drawing pictures and laying them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.protocol.conversation import Request


@dataclass(frozen=True)
class LoraFile:
    """An adapter file and how strongly to apply it."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Shot:
    """One picture of a grid, with everything that may differ from its neighbours.

    ``weights`` has one number per adapter of the request, or none to take theirs. ``sampler`` is a
    name of :mod:`trainer.samplers`, empty for the model's own.
    """

    prompt: str
    seed: int
    negative: str = ""
    weights: tuple[float, ...] = ()
    steps: int = 20
    guidance: float = 3.0
    sampler: str = ""


@dataclass(frozen=True)
class Generate(Request):
    """Draws pictures: every prompt with every seed, or exactly ``shots`` where there are any.

    ``out`` is a folder, or a ``.png``; several pictures with a ``.png`` get its name with their
    seed: ``out-0.png``, ``out-1.png``. ``shots`` take their place of ``prompts``, ``seeds``,
    ``negative``, ``steps``, ``guidance`` and ``sampler``; the adapters stay attached between them
    and only change their weights. ``batch`` pictures are drawn at once, where neighbours agree in
    everything but words and seed. With ``preview``, the path of a PNG, a small picture of what
    emerges is put there at most twice a second.

    Progress: ``{"prompt", "seed", "path", "picture"}`` per finished picture (``picture`` counts
    from 0); between them ``{"step", "steps", "picture", "pictures"}`` over all pictures, with
    ``"preview"``, its path, when that shows something new.
    Result: ``{"pictures": [{"prompt", "seed", "path", "picture"}]}``.
    """

    kind: ClassVar[str] = "generate"
    model: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    out: str
    loras: tuple[LoraFile, ...] = ()
    negative: str = ""
    steps: int = 20
    guidance: float = 3.0
    width: int = 0
    height: int = 0
    note: str = ""
    """Written into the PNG's metadata, for instance the round and the adapter's hash."""
    shots: tuple[Shot, ...] = ()
    sampler: str = ""
    batch: int = 1
    preview: str = ""
    metadata: bool = True
    """Whether the PNGs say how they were made."""


@dataclass(frozen=True)
class SheetRow:
    """One row of a contact sheet; an empty path leaves its place free."""

    label: str
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class ContactSheet(Request):
    """Lays pictures out in titled columns and labelled rows. Arithmetic. Result: ``{"path"}``."""

    kind: ClassVar[str] = "contact_sheet"
    out: str
    columns: tuple[str, ...]
    rows: tuple[SheetRow, ...]
