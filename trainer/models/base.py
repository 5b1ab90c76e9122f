"""What a family of base models has to offer, and how a model on disk is described without torch.

A family is one small file: which pipelines it recognises, what its layers are called, how it is
loaded. Everything else works through the two interfaces here.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trainer import tensor_file
from trainer.config import MAX_MODEL_HEADER
from trainer.errors import NO_USABLE, TrainerError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import nn

Shape = tuple[int, ...]
Layers = Mapping[str, Shape]
"""Module names and the shapes of their weights: (out, in), or (out, in, k, k) of a convolution."""


@dataclass(frozen=True)
class Drawing:
    """What to draw. ``width`` and ``height`` are pixels."""

    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int


class LoadedModel(Protocol):
    """A base model in memory, frozen, in evaluation mode.

    ``schedule`` is a diffusers scheduler with ``add_noise`` and ``get_velocity``; B below is the
    batch size.
    """

    device: torch.device
    schedule: Any

    @property
    def parameters(self) -> int:
        """Parameters of all networks, adapters left out."""

    @property
    def sampler(self) -> str:
        """Name of the scheduler that draws pictures."""

    @property
    def components(self) -> Mapping[str, nn.Module]:
        """Networks that adapters may attach to, by component."""

    def moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the autoencoder says of (B, 3, H, W) pixels in -1..1; worth keeping."""

    def latents(self, moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) from moments and standard normal noise of that shape."""

    def latent_shape(self, moments: torch.Tensor) -> Shape:
        """(B, C, h, w) of the latents that belong to these moments."""

    def text_states(self, caption: str) -> torch.Tensor:
        """(tokens, width) of one caption."""

    def predict(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """The denoiser's float32 output, shaped like ``noisy``."""

    def draw(self, drawing: Drawing, on_step: Callable[[int], None]) -> Image:
        """One picture, a function of ``drawing`` and the adapters attached at the time.

        ``on_step`` is told the number of finished steps and may raise to end it.
        """


class Family(ABC):
    """A kind of base model; stateless."""

    name: str
    pipelines: frozenset[str]
    """Values of ``_class_name`` in ``model_index.json`` that this family reads."""
    adapted: str
    """The component that a room trains."""
    networks: Sequence[str]
    """Components with weights, the adapted one and those a foreign adapter may change."""
    settings: Sequence[str]
    """Components that are only files: tokenizers, schedulers."""
    architecture: str
    """``modelspec.architecture`` and, before the slash, what interfaces call the base."""
    base_version: str
    """``ss_base_model_version`` in kohya's metadata."""

    @abstractmethod
    def resolution(self, folder: Path) -> int:
        """Pixels along one side of a picture the model was made for."""

    @abstractmethod
    def load(self, model: BaseModel, device: torch.device) -> LoadedModel:
        """Brings the model into memory. Raises :class:`TrainerError`."""


@dataclass(frozen=True)
class BaseModel:
    """A model folder as diffusers writes it, and the family it belongs to."""

    name: str
    folder: Path
    family: Family

    @property
    def resolution(self) -> int:
        return self.family.resolution(self.folder)

    def layers(self, component: str) -> dict[str, Shape]:
        """Every linear and convolutional layer of a network, read from headers alone.

        Raises :class:`TrainerError` when the weights are missing or not safetensors.
        """
        shapes: dict[str, Shape] = {}
        for path in weight_files(self.folder / component):
            with path.open("rb") as file:
                try:
                    header = tensor_file.read_header(file, MAX_MODEL_HEADER)
                except tensor_file.FormatError as error:
                    raise _unusable(self.folder, f"{path.name} cannot be read: {error}") from error
            shapes |= header.shapes
        return {
            name.removesuffix(".weight"): shape
            for name, shape in sorted(shapes.items())
            if name.endswith(".weight") and len(shape) in (2, 4)
        }

    def files(self, component: str) -> list[Path]:
        """The files of a component that decide what it computes, sorted."""
        folder = self.folder / component
        found = [path for path in folder.glob("*") if path.suffix in (".json", ".txt")]
        if component in self.family.networks:
            found = [folder / "config.json", *weight_files(folder)]
        return sorted(found)

    def component_sha256(self, component: str) -> str:
        """Names one component by its content."""
        digest = hashlib.sha256()
        for path in self.files(component):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name}\0{content}\n".encode())
        return digest.hexdigest()

    def fingerprint(self) -> tuple[tuple[str, int, int], ...]:
        """Changes when a file changes; cheap, for noticing edits and never for naming content."""
        paths = [p for c in (*self.family.networks, *self.family.settings) for p in self.files(c)]
        return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)


@dataclass(frozen=True)
class Digests:
    """SHA-256 of a model's components and of the model as a whole."""

    components: Mapping[str, str]

    @classmethod
    def of(cls, model: BaseModel) -> Digests:
        names = (*model.family.networks, *model.family.settings)
        return cls({name: model.component_sha256(name) for name in names})

    @property
    def model(self) -> str:
        text = "".join(f"{name}\0{value}\n" for name, value in sorted(self.components.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def of_parts(self, *names: str) -> str:
        """Names some components together."""
        return hashlib.sha256("".join(self.components[name] for name in names).encode()).hexdigest()


def read_config(path: Path) -> dict[str, Any]:
    """A component's JSON. Raises :class:`TrainerError`."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unusable(path.parent.parent, f"{path.name} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise _unusable(path.parent.parent, f"{path.name} holds no settings")
    return data


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one network: an index's shards, the plain file or its fp16 variant.

    Raises :class:`TrainerError` when there are none.
    """
    for index in sorted(folder.glob("*.safetensors.index.json")):
        names = sorted(set(read_config(index).get("weight_map", {}).values()))
        return [folder / Path(name).name for name in names]
    for stem in ("diffusion_pytorch_model", "model"):
        for suffix in (".safetensors", ".fp16.safetensors"):
            path = folder / (stem + suffix)
            if path.is_file():
                return [path]
    raise _unusable(folder.parent, f"{folder.name}/ has no weights in safetensors format")


def _unusable(folder: Path, cause: str) -> TrainerError:
    return TrainerError(
        "The model cannot be used",
        f"{folder}: {cause}.",
        "Give a folder that diffusers wrote with save_pretrained, or tiny-landscapes.",
        NO_USABLE,
    )
