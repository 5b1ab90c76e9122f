"""Requests about base models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from trainer.protocol.conversation import Request


@dataclass(frozen=True)
class Load(Request):
    """Loads a base model and keeps it. ``model`` is ``tiny-landscapes``, a diffusers folder, a
    single ``.safetensors`` checkpoint or a hub name ``owner/name[@revision]``.

    Result: ``{"model", "sha256", "device", "parameters", "resolution"}``.
    """

    kind: ClassVar[str] = "load"
    model: str


@dataclass(frozen=True)
class ImportModel(Request):
    """Makes a folder of a single file or hub name, once; other requests do so when they need it.

    Progress: that of :class:`FetchModel`, or ``{"stage": "unpack", "step", "steps"}``. Result:
    ``{"model", "folder", "sha256", "revision", "family", "resolution", "prediction"}``; the
    revision is the hub's commit or the file's SHA-256. ``prediction`` ("epsilon" or
    "v_prediction") says what the model predicts where its scheduler is wrong; the result has what
    counts.
    """

    kind: ClassVar[str] = "import_model"
    model: str
    prediction: str = ""


@dataclass(frozen=True)
class MeasureDownload(Request):
    """Asks the hub how large a model is, and fetches nothing. Arithmetic.

    ``present`` of its ``total`` bytes are here, whole or in drafts; ``ready``: it is here and
    recorded, nothing was asked. Result: ``{"model", "total", "present", "free", "ready"}``.
    """

    kind: ClassVar[str] = "measure_download"
    model: str


@dataclass(frozen=True)
class FetchModel(Request):
    """Downloads a hub name, once; goes on where an earlier attempt ended. Arithmetic.

    Progress: ``{"stage": "download", "bytes", "total", "step", "steps"}``, the last two in MiB,
    ``{"stage": "wait"}`` while another process fetches the same, ``{"stage": "check"}`` while the
    model's hash is computed. Result: ``{"model", "folder", "sha256"}``.
    """

    kind: ClassVar[str] = "fetch_model"
    model: str


@dataclass(frozen=True)
class Describe(Request):
    """Names a base model by its content, without loading it. Arithmetic.

    ``prompts`` suit the built-in experiment; other models have none. ``algorithms`` and ``rules``
    are the modes and weight rules that :class:`Combine` knows, the default first. Result:
    ``{"model", "sha256", "resolution", "prompts", "algorithms", "rules"}``.
    """

    kind: ClassVar[str] = "describe"
    model: str


@dataclass(frozen=True)
class ListModels(Request):
    """The base models on this machine: the built-in one, those of the store, and the folders
    ``also``. Arithmetic.

    A model whose download or unpacking never ended is ``unfinished``. What is not recorded is not
    computed: a folder's ``sha256`` is empty. Result: ``{"store", "models": [{"name", "source",
    "family", "resolution", "sha256", "bytes", "folder", "unfinished"}...]}``; ``source`` is what
    other requests call the model.
    """

    kind: ClassVar[str] = "list_models"
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class NewModel(Request):
    """Writes an unconditional diffusion model with random weights, to be trained from scratch.

    Result: ``{"parameters"}``.
    """

    kind: ClassVar[str] = "new_model"
    folder: str
    side: int
    seed: int = 0


@dataclass(frozen=True)
class InitWhole(Request):
    """Writes a model's own weights as the state that a room of mode ``dense`` starts from.

    Result: ``{"path", "sha256", "bytes"}``.
    """

    kind: ClassVar[str] = "init_whole"
    model: str
    out: str


@dataclass(frozen=True)
class ExportWhole(Request):
    """Writes a model folder whose denoiser has the weights of a state of mode ``dense``, or their
    moving averages where it keeps them. ``folder`` is new. Result: ``{"path", "sha256"}``.
    """

    kind: ClassVar[str] = "export_whole"
    model: str
    weights: str
    folder: str


@dataclass(frozen=True)
class GraftWhole(Request):
    """Writes the weights at ``path`` with those of ``scion`` in place of every one whose name
    contains one of ``words``, its moving average too: layers that stay with a participant.

    Result: ``{"path", "sha256", "bytes", "grafted"}``.
    """

    kind: ClassVar[str] = "graft_whole"
    path: str
    scion: str
    words: tuple[str, ...]
    out: str
