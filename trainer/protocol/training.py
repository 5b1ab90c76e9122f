"""Training: what is trained, how, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from trainer.protocol.conversation import Request
from trainer.protocol.data import DataOptions

DENSE = "dense"
"""The mode in which rooms train whole weights instead of an adapter."""

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""Layers of a denoiser that get an adapter when nothing else is said."""
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "proj_in", "proj_out")
"""Those beside them that textures of a style live in."""
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")
"""Layers of CLIP text encoders, where those are adapted."""


@dataclass(frozen=True)
class AdapterSpec:
    """Which layers get a LoRA adapter, of what size, and how strongly it acts while it trains.

    Files always hold factors of scale 1, so members of different ``scale`` could still be averaged.
    ``dropout`` leaves out so many of the adapter's inputs at each step. ``targets`` are of the
    denoiser, ``text_targets`` of the text encoders. A layer whose name contains one of ``personal``
    is trained but belongs to its member alone: it is in no contribution and no room's adapter.
    """

    rank: int = 8
    alpha: int = 8
    targets: tuple[str, ...] = ATTENTION
    personal: tuple[str, ...] = ()
    text_targets: tuple[str, ...] = ()
    dropout: float = 0.0
    rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """alpha / r, or alpha / sqrt(r) when stabilised (Kalajdzievski, arXiv 2312.03732)."""
        return float(self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank))


@dataclass(frozen=True)
class Tuning:
    """How to train, beyond steps, batch and learning rate.

    The rate grows over ``warmup`` steps, then follows ``schedule``. A step adds up the gradients of
    ``accumulate`` batches; ``clip`` bounds their norm (0: not). ``noise_offset`` adds one number
    per channel to the noise; ``dora`` also trains the length of every row of an adapted weight.
    ``ema`` is the decay of a moving average that is written instead of the last weights (0: none).
    Pictures in the folder ``prior`` are trained on as well, ``prior_weight`` times; those in
    ``held_out`` only measured, every ``validate_every`` steps and at the end. ``checkpointing``
    computes activations twice instead of keeping them, "auto" where they would not fit.
    """

    optimizer: Literal["adamw", "adamw8bit", "prodigy", "lion"] = "adamw"
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    accumulate: int = 1
    weight_decay: float = 0.01
    clip: float = 1.0
    noise_offset: float = 0.0
    dora: bool = False
    ema: float = 0.0
    prior: str = ""
    prior_weight: float = 1.0
    held_out: str = ""
    validate_every: int = 0
    checkpointing: Literal["auto", "on", "off"] = "auto"
    compile: bool = False


@dataclass(frozen=True)
class Samples:
    """Pictures to draw while training runs: every ``every`` steps (0: only when wished for).

    They go to ``out``/step-NNNNNN/.
    """

    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    out: str = ""
    every: int = 0
    steps: int = 20
    guidance: float = 3.0


@dataclass(frozen=True)
class InitAdapter(Request):
    """Writes the adapter every member starts from: A from ``seed``, B zero. Arithmetic.

    Needs the model's configuration only, not its weights; mode ``dense`` starts from these.
    Result: ``{"path", "sha256", "bytes"}``.
    """

    kind: ClassVar[str] = "init_adapter"
    model: str
    spec: AdapterSpec
    seed: int
    out: str
    mode: str = "fedex"


@dataclass(frozen=True)
class Train(Request):
    """Trains the adapter at ``initial`` on a folder and writes the trained factors to ``out``.

    ``mode`` decides which factors are trained; a room's frozen branch takes part untouched.
    ``proximal`` is FedProx's μ: μ/2 ‖x - x_0‖² over the trained factors is added to the loss. The
    personal layers of ``spec`` are kept at ``personal``, where they are found again next time.
    In mode ``dense`` it trains every weight of the denoiser instead, from those at ``initial`` or
    the model's own; ``diffusers`` then exports a whole model folder.
    Progress: ``{"stage": "load"|"cache"|"train", "step", "steps", "loss", "images_per_s"}``, and
    ``{"stage": "validate", "step", "loss"}`` for pictures held out; and ``{"stage": "note",
    "text"}`` for what its owner should know beforehand.
    Result: ``{"path", "sha256", "bytes", "samples", "steps", "loss", "seconds", "problems",
    "learning_rate", "batch", "precision", "checkpointing", "fallbacks": [sentence...],
    "held_out": [[step, loss]...]}``.
    A ``batch`` of 0 takes what fits into memory, a ``learning_rate`` of 0 what suits the model,
    what is trained of it, and the optimiser.
    Randomness is a pure function of (``seed``, ``round``, ``node``, step). ``resolution`` 0 means
    the model's own; ``min_snr`` is the gamma of min-SNR weighting, 0 for none. ``data`` says what
    is made of the folder; the prior's pictures and those held out are taken as they lie. With a
    ``checkpoint`` file, the same request resumes where a killed or cancelled one stopped; one of
    other settings, or beyond ``steps``, is not used, and an error if ``resume`` insists on it.
    """

    kind: ClassVar[str] = "train"
    model: str
    folder: str
    out: str
    spec: AdapterSpec
    steps: int
    initial: str = ""
    batch: int = 8
    learning_rate: float = 1e-3
    resolution: int = 0
    seed: int = 0
    round: int = 0
    node: str = ""
    cache: str = ""
    checkpoint: str = ""
    resume: bool = False
    min_snr: float = 0.0
    mode: str = "fedex"
    proximal: float = 0.0
    personal: str = ""
    tuning: Tuning = Tuning()
    samples: Samples = Samples()
    data: DataOptions = field(default_factory=DataOptions)
    export: Literal["factors", "kohya", "diffusers"] = "factors"
