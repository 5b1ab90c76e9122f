"""What a family of base models has to offer, and how a model on disk is described without torch.

A family is one small file: which pipelines it recognises, what its layers are called, how it is
loaded. Everything else works through the two interfaces here.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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
PLAIN_INDEX, VARIANT_INDEX = "*.safetensors.index.json", "*.safetensors.index.fp16.json"
"""Lists of the parts of a network's weights, and of those of its fp16 variant."""
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
    sampler: str = ""
    """A name of :mod:`trainer.samplers`; empty for the model's own."""


class Watcher(Protocol):
    """Hears of drawing."""

    def __call__(self, step: int, latents: torch.Tensor) -> None:
        """``step`` steps are finished; ``latents`` (B, C, h, w) are what there is so far.

        May raise to end the drawing.
        """


class LoadedModel(Protocol):
    """A base model in memory, frozen, in evaluation mode; B below is the batch size.

    ``schedule`` says how noise grows over ``config.num_train_timesteps`` levels: a diffusers
    scheduler with ``add_noise``, ``config.prediction_type`` and ``get_velocity`` where that is v,
    or :class:`trainer.models.flow.FlowSchedule`.
    """

    device: torch.device
    schedule: Any
    compute: torch.dtype
    """What the denoiser computes in; weights may be wider."""

    @property
    def parameters(self) -> int:
        """Parameters of all networks, adapters left out."""

    @property
    def sampler(self) -> str:
        """Name of the scheduler that draws pictures."""

    @property
    def components(self) -> Mapping[str, nn.Module]:
        """Networks that adapters may attach to, by component."""

    @property
    def family(self) -> Family:
        """What kind of model it is."""

    def save(self, folder: Path) -> None:
        """Writes the model as it is now, as a diffusers folder."""

    def moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the autoencoder says of (B, 3, H, W) pixels in -1..1; worth keeping."""

    def latents(self, moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, C, h, w) from moments and standard normal noise of that shape."""

    def pixels(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) pixels in -1..1 of scaled latents."""

    def latent_shape(self, moments: torch.Tensor) -> Shape:
        """(B, C, h, w) of the latents that belong to these moments."""

    def text_states(self, caption: str) -> torch.Tensor:
        """Everything ``predict`` wants to know of one caption; opaque, of one shape per model."""

    def spoken(self, captions: Sequence[str]) -> torch.Tensor:
        """(B, ...) states of captions as the text encoders are now, with gradients to them."""

    def tokens_lost(self, caption: str) -> int:
        """Tokens at the end of a caption that no text encoder reads."""

    def predict(
        self, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """The denoiser's float32 output, shaped like ``noisy``; ``states`` are (B, ...)."""

    def draw(self, drawings: Sequence[Drawing], watch: Watcher) -> list[Image]:
        """Pictures, each a function of its drawing and the adapters attached at the time.

        Drawings made together must agree in all but words and seeds.
        """


PREDICTIONS = {"epsilon": "noise", "v_prediction": "velocity"}
"""What a scheduler's ``prediction_type`` means, where weights do not tell."""


class Family(ABC):
    """A kind of base model; stateless. ``pipe`` below is a loaded diffusers pipeline."""

    name: str
    pipelines: frozenset[str]
    """Values of ``_class_name`` in ``model_index.json`` that this family reads."""
    adapted: str
    """The component that a room trains."""
    networks: Sequence[str]
    """Components with weights, the adapted one and those a foreign adapter may change."""
    settings: Sequence[str]
    """Components that are only files: tokenizers, schedulers."""
    text_parts: Sequence[str] = ()
    """Components that decide a caption's states."""
    picture_parts: Sequence[str] = ("vae",)
    """Components that decide a picture's moments."""
    architecture: str
    """``modelspec.architecture`` and, before the slash, what interfaces call the base."""
    base_version: str
    """``ss_base_model_version`` in kohya's metadata."""
    targets: Sequence[str] = ("to_q", "to_k", "to_v", "to_out.0")
    """Layers of the adapted component that get an adapter when nothing else is said."""
    tables: frozenset[str] = frozenset()
    """Tensors in the adapted component's files that are computed and never trained."""
    rate: float = 1e-4
    """Learning rate of AdamW that adapters of published models are commonly trained with."""
    whole_rate: float = 1e-5
    """The same for every weight."""
    side_step: int = 8
    """What :meth:`sides` says where it is the same for all models of the family."""
    large_text: bool = False
    """Whether the text encoders are too large to keep in float32 where bfloat16 is native."""

    def recognises(self, folder: Path, pipeline: str) -> bool:
        """Whether a folder whose index names ``pipeline`` belongs to this family."""
        del folder
        return pipeline in self.pipelines

    @abstractmethod
    def resolution(self, folder: Path) -> int:
        """Pixels along one side of a picture the model was made for."""

    def prediction(self, folder: Path) -> str:
        """``prediction_type`` of the scheduler, or "flow"."""
        config = read_config(folder / "scheduler" / "scheduler_config.json")
        if str(config.get("_class_name")).startswith("FlowMatch"):
            return "flow"
        return str(config.get("prediction_type", "epsilon"))

    def names(self, folder: Path) -> tuple[str, str]:
        """``architecture`` and ``base_version`` of this very model."""
        del folder
        return self.architecture, self.base_version

    def sides(self, folder: Path) -> int:
        """Pixels; sides of pictures are multiples of it."""
        del folder
        return self.side_step

    @abstractmethod
    def text_states(self, pipe: Any, caption: str) -> torch.Tensor:
        """See :meth:`LoadedModel.text_states`."""

    @abstractmethod
    def predict(
        self, pipe: Any, noisy: torch.Tensor, timesteps: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """See :meth:`LoadedModel.predict`; the caller takes care of precision."""

    def tokens_read(self, pipe: Any, tokenizer: str) -> int:
        """How many tokens of a caption are asked for by :meth:`text_states`; the rest is cut."""
        return int(getattr(pipe, tokenizer).model_max_length)

    def denoiser_channels(self, pipe: Any) -> int:
        """Channels of the latents that the denoiser takes."""
        return int(getattr(pipe, self.adapted).config.in_channels)

    def latent_channels(self, pipe: Any) -> int:
        """Channels of the latents that the autoencoder makes."""
        return int(pipe.vae.config.latent_channels)

    def schedule(self, pipe: Any) -> Any:
        """The noise of training, from the scheduler that draws; see :class:`LoadedModel`.

        Raises :class:`TrainerError` for one that says no betas, as those of EDM: to assume some
        would silently train another model.
        """
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

        config = pipe.scheduler.config
        if "beta_schedule" not in config:
            kind = type(pipe.scheduler).__name__
            raise TrainerError(
                "This kind of model is not supported",
                f"The noise that its {kind} takes away does not grow by betas, nor in a flow.",
                "Choose a model with another scheduler; one of EDM's kind cannot be trained.",
                NO_USABLE,
            )
        return DDPMScheduler.from_config(config)

    def draw(self, pipe: Any, drawings: Sequence[Drawing], watch: Watcher) -> list[Image]:
        """See :meth:`LoadedModel.draw`."""

        def after_step(_: Any, step: int, __: Any, values: dict[str, Any]) -> dict[str, Any]:
            watch(step + 1, self.spread(pipe, values["latents"], drawings[0]))
            return values

        return self.call(pipe, drawings, callback_on_step_end=after_step)

    def call(self, pipe: Any, drawings: Sequence[Drawing], **more: Any) -> list[Image]:
        """Runs the pipeline, a generator for each drawing."""
        first = drawings[0]
        images: list[Image] = pipe(
            **self.wording(drawings),
            width=first.width,
            height=first.height,
            num_inference_steps=first.steps,
            guidance_scale=first.guidance,
            generator=noises(drawings),
            **more,
        ).images
        return images

    def wording(self, drawings: Sequence[Drawing]) -> dict[str, Any]:
        """The pipeline's arguments for what to draw and what not."""
        negative = [drawing.negative for drawing in drawings]
        return {
            "prompt": [drawing.prompt for drawing in drawings],
            "negative_prompt": negative if any(negative) else None,
        }

    def spread(self, pipe: Any, latents: torch.Tensor, drawing: Drawing) -> torch.Tensor:
        """The pipeline's latents as (B, C, h, w)."""
        del pipe, drawing
        return latents

    def load(self, model: BaseModel, device: torch.device) -> LoadedModel:
        """Brings the model into memory, which imports torch and diffusers; takes seconds.

        Raises :class:`TrainerError`.
        """
        from trainer.models.loaded import LoadedPipeline

        return LoadedPipeline.load(self, model.folder, device)


@dataclass(frozen=True)
class BaseModel:
    """A model folder as diffusers writes it, and the family it belongs to."""

    name: str
    folder: Path
    family: Family

    @property
    def resolution(self) -> int:
        return self.family.resolution(self.folder)

    @property
    def side_step(self) -> int:
        return self.family.sides(self.folder)

    @property
    def prediction(self) -> str:
        return self.family.prediction(self.folder)

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

    def has(self, component: str) -> bool:
        """Whether the folder holds this component; large text encoders may be left out."""
        return (self.folder / component).is_dir()

    def files(self, component: str) -> list[Path]:
        """The files of a component that decide what it computes, sorted."""
        folder = self.folder / component
        found = [path for path in folder.glob("*") if path.suffix in (".json", ".txt", ".model")]
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
        names = (*self.family.networks, *self.family.settings)
        paths = [path for name in names if self.has(name) for path in self.files(name)]
        return tuple((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in paths)


@dataclass(frozen=True)
class Digests:
    """SHA-256 of a model's components and of the model as a whole.

    ``pipeline`` is the class that reads captions: of two with the same text encoder one may take
    more tokens, as PixArt-Σ does beside PixArt-α.
    """

    pipeline: str
    components: Mapping[str, str]
    text_parts: Sequence[str]
    picture_parts: Sequence[str]

    @classmethod
    def of(cls, model: BaseModel) -> Digests:
        family = model.family
        names = [name for name in (*family.networks, *family.settings) if model.has(name)]
        return cls(
            str(read_config(model.folder / "model_index.json").get("_class_name")),
            {name: model.component_sha256(name) for name in names},
            family.text_parts,
            family.picture_parts,
        )

    @property
    def model(self) -> str:
        text = "".join(f"{name}\0{value}\n" for name, value in sorted(self.components.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def text(self) -> str:
        """Names everything that decides a caption's states."""
        return self._of(self.text_parts, self.pipeline)

    @property
    def pictures(self) -> str:
        """Names the components that decide a picture's moments."""
        return self._of(self.picture_parts)

    def _of(self, names: Sequence[str], reader: str = "") -> str:
        known = reader + "".join(self.components[name] for name in names if name in self.components)
        return hashlib.sha256(known.encode()).hexdigest()


def noises(drawings: Sequence[Drawing]) -> list[torch.Generator]:
    """A generator for each picture, on the CPU so that every device draws the same numbers."""
    import torch

    return [torch.Generator("cpu").manual_seed(drawing.seed) for drawing in drawings]


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
    for index in (*folder.glob(PLAIN_INDEX), *folder.glob(VARIANT_INDEX)):
        names = sorted(set(read_config(index).get("weight_map", {}).values()))
        return [folder / Path(name).name for name in names]
    for stem in ("diffusion_pytorch_model", "model"):
        for suffix in (".safetensors", ".fp16.safetensors"):
            path = folder / (stem + suffix)
            if path.is_file():
                return [path]
    raise _unusable(folder.parent, f"{folder.name}/ has no weights in safetensors format")


def latent_side(folder: Path, denoiser: str) -> int:
    """The denoiser's sample size times the autoencoder's factor: pixels along one side."""
    side = read_config(folder / denoiser / "config.json")["sample_size"]
    vae = read_config(folder / "vae" / "config.json")
    blocks = vae.get("block_out_channels") or vae["decoder_block_out_channels"]
    return int(side) * int(2 ** (len(blocks) - 1))


def has_plain_weights(folder: Path) -> bool:
    """Whether a network's weights lie there under their plain name, not as an fp16 variant."""
    plain = (*folder.glob("*model.safetensors"), *folder.glob(PLAIN_INDEX))
    return bool(plain)


def _unusable(folder: Path, cause: str) -> TrainerError:
    return TrainerError(
        "The model cannot be used",
        f"{folder}: {cause}.",
        "Give a folder that diffusers wrote with save_pretrained, or tiny-landscapes.",
        NO_USABLE,
    )
