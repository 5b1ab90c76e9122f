"""Adapter files of this and other programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from trainer.protocol.conversation import Request


@dataclass(frozen=True)
class ExportAdapter(Request):
    """Writes an adapter of any dialect, or a room's, for other programs. Arithmetic.

    Without ``model`` the adapter must fit a well-known base, whose weights need not be here. A
    room's adapter is written exactly, its branch as further ranks; ``rank`` other than 0 keeps at
    most so many of the largest singular values per layer. Result: ``{"path", "sha256", "modules",
    "rank", "error"}``; ``error`` is ‖what was cut off‖ / ‖adapter‖.
    """

    kind: ClassVar[str] = "export_adapter"
    path: str
    out: str
    model: str
    format: Literal["kohya", "diffusers"] = "kohya"
    metadata: dict[str, str] = field(default_factory=dict)
    rank: int = 0


@dataclass(frozen=True)
class RestoreAdapter(Request):
    """Turns an exact export back into the room's own file, byte for byte. Arithmetic.

    ``rank`` is that of the room's factors, 0 for a room of whole weights; what is beyond it was
    the frozen branch. Result: ``{"path", "sha256", "bytes"}``.
    """

    kind: ClassVar[str] = "restore_adapter"
    path: str
    model: str
    rank: int
    out: str


@dataclass(frozen=True)
class InspectAdapter(Request):
    """Says what a LoRA file of any dialect is, without loading it. Arithmetic.

    ``whole`` reads every value, too, as drawing with it on ``model`` would: a file of another base,
    or one with a value that is no number, fails.

    ``matching`` of its ``modules`` are in ``model``; without one, in the well-known base it fits.
    ``ranks``, ``alphas`` and ``dtypes`` count layers; the alpha ``none`` means alpha = rank.
    ``ignored`` are tensors that are no LoRA. Result: ``{"dialect", "title", "modules", "ranks":
    {rank: count}, "alphas", "dtypes", "bytes", "ignored": [...], "metadata": {...}, "model",
    "matching"}``.
    """

    kind: ClassVar[str] = "inspect_adapter"
    path: str
    model: str = ""
    whole: bool = False
