"""What goes over the pipes of a trainer process: bounded JSON lines, nothing else.

A parent writes requests and commands to the worker's stdin and reads messages from its stdout, one
JSON object a line. Large things pass as file paths. Every request ends in exactly one
:class:`Done` or :class:`Failed`; between them come :class:`Progress` messages. stderr is a log.

Two roles share this protocol. ``python -m trainer`` loads torch and takes every request;
``python -m trainer --role arithmetic`` never imports torch, runs under a memory limit and takes
only the requests marked *arithmetic*: it reads files that strangers made.

This module imports nothing but the standard library.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

MAX_LINE = 1 << 20
"""Bytes in one line; a longer one ends the conversation."""

VERSION = 1

DENSE = "dense"
"""The mode in which rooms train whole weights instead of an adapter."""


Wish = Literal["pause", "resume", "save", "sample"]
"""What may be wished of a running training."""


class WireError(ValueError):
    """A line that is no message of this protocol.

    ``request`` is the id of the request that the line was meant to be, where it has one.
    """

    request: int | None = None


@dataclass(frozen=True)
class AdapterSpec:
    """Which layers get a LoRA adapter and of what size. ``alpha`` = ``rank`` means scale 1.

    A layer whose name contains one of ``personal`` is trained but belongs to its member alone: it
    is in no contribution and no room's adapter.
    """

    rank: int = 8
    alpha: int = 8
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    personal: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleSpec:
    """How much each contribution counts: a weight rule by name, and the settings of all rules.

    Thousandths throughout, because signed plans hold integers only. ``cap_milli`` bounds a
    member's share in units of the equal share (0: no bound), ``clip_milli`` a norm in units of
    the median norm; ``byzantine`` is how many liars ``multi_krum`` tolerates; ``threshold_milli``
    is the least agreement for ``threshold``; ``max_staleness`` counts rounds. The last three are
    for mode ``dense``: decay of the moving average (0: none), rate and momentum of the outer step.
    """

    name: str = "n_k"
    cap_milli: int = 2_000
    clip_milli: int = 2_000
    byzantine: int = 1
    threshold_milli: int = 0
    max_staleness: int = 4
    ema_milli: int = 0
    outer_rate_milli: int = 1_000
    outer_momentum_milli: int = 0

    @property
    def fewest(self) -> int:
        """How many contributions the rule needs."""
        return 2 * self.byzantine + 3 if self.name == "multi_krum" else 1


@dataclass(frozen=True)
class Tuning:
    """How to train, beyond steps, batch and learning rate.

    The rate grows over ``warmup`` steps, then follows ``schedule``. A step adds up the gradients of
    ``accumulate`` batches; ``clip`` bounds their norm (0: not). ``noise_offset`` adds one number
    per channel to the noise; ``dropout`` leaves out so many of an adapter's inputs;
    ``rank_stabilised`` scales by alpha / sqrt(rank). ``ema`` is the decay of a moving average that
    is written instead of the last weights (0: none). Pictures in the folder ``prior`` are trained
    on as well, ``prior_weight`` times; those in ``held_out`` only measured, every
    ``validate_every`` steps and at the end. ``checkpointing`` computes activations twice instead of
    keeping them, "auto" where they would not fit.
    """

    optimizer: Literal["adamw", "adamw8bit", "prodigy", "lion"] = "adamw"
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    accumulate: int = 1
    weight_decay: float = 0.01
    clip: float = 1.0
    noise_offset: float = 0.0
    dropout: float = 0.0
    rank_stabilised: bool = False
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
class WeightedFile:
    """A contribution: its id (orders the sum), where it lies, and its integer weight."""

    id: str
    path: str
    weight: int


@dataclass(frozen=True)
class DataOptions:
    """What training makes of a folder of pictures; with the defaults, all of it just as it lies.

    Captions: ``name_captions`` takes the file's name where nothing else is said, ``caption_lines``
    makes each line of a text file a caption of its own, ``trigger`` is put before each.
    ``dropout`` is the chance that a picture comes without its caption at a step, ``shuffle`` mixes
    the tags between commas but for the first ``keep``.
    Pictures: each counts ``repeats`` times, those in a folder ``10_name`` ten times that with
    ``folder_repeats``. ``buckets`` keeps their shapes, in sizes ``bucket_step`` pixels apart (0:
    an eighth of the resolution); without it the middle square is taken. ``crops`` places are cut
    out instead of the middle alone, ``flip`` mirrors every second time. ``masks`` lets the loss
    count where a mask is white, ``unmasked`` times as much elsewhere: "files" are called
    ``NAME-masklabel.png``, "alpha" takes the pictures' own transparency.
    """

    name_captions: bool = False
    caption_lines: bool = False
    trigger: str = ""
    dropout: float = 0.0
    shuffle: bool = False
    keep: int = 0
    repeats: int = 1
    folder_repeats: bool = False
    buckets: bool = False
    bucket_step: int = 0
    crops: int = 1
    flip: bool = False
    masks: Literal["off", "files", "alpha"] = "off"
    unmasked: float = 0.1


@dataclass(frozen=True)
class LoraFile:
    """An adapter file and how strongly to apply it."""

    path: str
    weight: float = 1.0


# --- requests ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """Base of all requests; ``kind`` names them on the wire."""

    kind: ClassVar[str] = ""


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

    Progress: ``{"stage": "download"|"unpack", "step", "steps"}``, a download in MiB. Result:
    ``{"model", "folder", "sha256", "revision", "family", "resolution"}``; the revision is the
    hub's commit or the file's SHA-256.
    """

    kind: ClassVar[str] = "import_model"
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
class CheckData(Request):
    """Looks at a folder of pictures as training with ``options`` would; no model. Arithmetic.

    ``captions`` counts pictures by where their caption is, ``sizes`` and ``buckets`` count them by
    ``WIDTHxHEIGHT`` as they are and as they are trained on, ``tags`` are the commonest parts
    between commas. A ``pass`` over the data has so many pictures; ``encoded`` views and wordings
    have to be computed once. Progress: ``{"stage": "scan", "step"}``.
    Result: ``{"usable", "pictures": [{"file", "caption", "width", "height"}...] (first 200),
    "problems": [{"file", "problem", "remedy", "fatal"}...], "captions", "sizes", "buckets",
    "tags": [[tag, count]...], "duplicates", "several_captions", "longest_caption", "pass",
    "encoded": {"views", "wordings"}}``.
    """

    kind: ClassVar[str] = "check_data"
    folder: str
    resolution: int = 64
    options: DataOptions = DataOptions()


@dataclass(frozen=True)
class PreviewData(Request):
    """Draws the first ``batches`` that training would see, a row for each, and names what is in it.

    Dark parts are masked. The choices are those of :class:`Train` with the same folder, options,
    batch, seed, round and node. Result: ``{"path", "batches": [[{"file", "caption", "size",
    "mirrored"}...]...]}``.
    """

    kind: ClassVar[str] = "preview_data"
    folder: str
    out: str
    resolution: int = 64
    options: DataOptions = DataOptions()
    batch: int = 8
    batches: int = 4
    seed: int = 0
    round: int = 0
    node: str = ""


@dataclass(frozen=True)
class SampleData(Request):
    """Writes generated captioned landscapes. Arithmetic.

    ``participant`` >= 0 draws that participant's share of the built-in non-IID experiment, -1
    scenes of every kind, -2 its held-out pictures. ``split`` says how participants differ: by
    ``kind`` of scene, not at all (``even``), or in proportions from Dirichlet(``beta``). Result:
    ``{"written"}``.
    """

    kind: ClassVar[str] = "sample_data"
    folder: str
    count: int
    style: str = "plain"
    seed: int = 0
    participant: int = -1
    split: Literal["kind", "even", "dirichlet"] = "kind"
    beta: float = 0.5


@dataclass(frozen=True)
class SplitData(Request):
    """Copies a folder's usable pictures and captions into several folders, shuffled by ``seed``.

    ``holdout`` pictures go to ``holdout_folder``. Arithmetic. Result: ``{"counts", "holdout"}``.
    """

    kind: ClassVar[str] = "split_data"
    folder: str
    out: tuple[str, ...]
    seed: int = 0
    holdout: int = 0
    holdout_folder: str = ""


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
    ``{"stage": "validate", "step", "loss"}`` for pictures held out.
    Result: ``{"path", "sha256", "bytes", "samples", "steps", "loss", "seconds", "problems",
    "batch", "precision", "checkpointing", "held_out": [[step, loss]...]}``.
    A ``batch`` of 0 takes what fits into memory.
    Randomness is a pure function of (``seed``, ``round``, ``node``, step). ``resolution`` 0 means
    the model's own; ``min_snr`` is the gamma of min-SNR weighting, 0 for none. ``data`` says what
    is made of the folder; the prior's pictures and those held out are taken as they lie. With a
    ``checkpoint`` file, the same request resumes where a killed or cancelled one stopped.
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
    min_snr: float = 0.0
    mode: str = "fedex"
    proximal: float = 0.0
    personal: str = ""
    tuning: Tuning = Tuning()
    samples: Samples = Samples()
    data: DataOptions = DataOptions()
    export: Literal["factors", "kohya", "diffusers"] = "factors"


@dataclass(frozen=True)
class CheckBlob(Request):
    """Says whether a stranger's file is a valid contribution. Arithmetic.

    Result: ``{"ok", "reason"}``; bad content is a verdict, never a failure.
    """

    kind: ClassVar[str] = "check_blob"
    path: str
    model: str
    spec: AdapterSpec
    max_bytes: int
    mode: str = "fedex"


@dataclass(frozen=True)
class Combine(Request):
    """Combines checked contributions into the round's result. Arithmetic, same bytes everywhere.

    ``seed`` is the room's, for modes that begin anew. Result: ``{"path", "sha256", "bytes",
    "statistics"}``; the statistics are ``{"participants": [{"id", "samples", "bytes", "norm",
    "cosine", "weight", "clipped", "excluded"}...], "residual_share", "previous", "branch_rank",
    "whole_layers", "note"}``, explained at :class:`trainer.aggregate.combination.Combination`.
    """

    kind: ClassVar[str] = "combine"
    inputs: tuple[WeightedFile, ...]
    mode: str
    previous: str
    out: str
    rule: RuleSpec = RuleSpec()
    seed: int = 0


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
class Evaluate(Request):
    """Paired denoising loss of adapters on a folder, with frozen noise and timesteps.

    An empty path stands for the base model. Also says of ``pictures`` which look painterly (1.0),
    by a classifier whose own accuracy is in the result. Result:
    ``{"losses": {path: float}, "pictures": int, "draws"}``, and if pictures were given
    ``{"painterly": {path: float}, "classifier_accuracy"}``, with ``by_picture`` also
    ``{"by_picture": {path: {picture: float}}, "captions": {picture: str}}``; the hash of its
    pixels names a picture.
    """

    kind: ClassVar[str] = "evaluate"
    model: str
    folder: str
    adapters: tuple[str, ...]
    pictures: tuple[str, ...] = ()
    draws: int = 8
    seed: int = 0
    by_picture: bool = False
    cache: str = ""


@dataclass(frozen=True)
class MeasureSet(Request):
    """How far the pictures of a folder are from those of another, in an extractor's features.

    ``folder`` and ``reference`` hold at least 6 PNG or JPEG files each. Result: ``{"kid": {"value",
    "low", "high"}, "frechet": {"name", "value", "biased"}, "precision", "recall", "density",
    "coverage", "pictures", "reference", "extractor": {...}}``.
    """

    kind: ClassVar[str] = "measure_set"
    folder: str
    reference: str
    extractor: str = "scenes"
    resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class DrawnPicture:
    """A picture and the prompt it was drawn from."""

    path: str
    prompt: str


@dataclass(frozen=True)
class JudgeScenes(Request):
    """What drawn landscapes show of the tags in their prompts, by the embedded classifier.

    Result: ``{"pictures", "large", "objects", "style", "by_attribute", "classifier"}``: shares in
    0..1, ``classifier`` being the judge's own accuracy.
    """

    kind: ClassVar[str] = "judge_scenes"
    pictures: tuple[DrawnPicture, ...]
    seed: int = 0


@dataclass(frozen=True)
class ProbeLeak(Request):
    """Whether an adapter tells which pictures it was trained on, attacked on one's own machine.

    ``members`` is the folder it was trained on, ``others`` one of comparable pictures held back;
    ``pictures`` are drawn ones whose nearest training picture is looked for. Result:
    ``{"loss"|"pia": {"auc", "true_positives", "resolution"}, "members", "others",
    "nearest": [{"path", "training", "cosine"}]}``.
    """

    kind: ClassVar[str] = "probe_leak"
    model: str
    adapter: str
    members: str
    others: str
    pictures: tuple[str, ...] = ()
    extractor: str = "scenes"
    draws: int = 16
    seed: int = 0


@dataclass(frozen=True)
class DigitData(Request):
    """Writes one participant's share of scikit-learn's handwritten digits, or the held-out ones.

    ``participant`` -2 is nobody: the held-out digits. Classes are shared out by Dirichlet(``beta``)
    and ``shared`` of a common tenth is added. Result: ``{"written", "classes": [count...]}``.
    """

    kind: ClassVar[str] = "digit_data"
    folder: str
    participant: int
    participants: int = 1
    beta: float = 0.5
    shared: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class JudgeDigits(Request):
    """Which digits drawn pictures (PNG files of a folder) show.

    Result: ``{"pictures", "classes", "coverage", "entropy", "accuracy"}``.
    """

    kind: ClassVar[str] = "judge_digits"
    folder: str


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
class Tamper(Request):
    """Writes what a dishonest participant could hand in instead of ``path``; for experiments.

    ``attack`` is scale, sign_flip, noise or free_rider. Result: ``{"path", "sha256", "bytes"}``.
    """

    kind: ClassVar[str] = "tamper"
    attack: str
    path: str
    previous: str
    out: str
    factor: float = 1.0
    seed: int = 0


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
class CombineAdapters(Request):
    """Combines LoRA files of any dialect into one exact LoRA file. Arithmetic.

    Mixed ranks and alphas are possible, the adapted layers must be the same. ``base`` is the
    adapter that all began with, for rules that look at updates; empty: none. ``id`` of an input
    is its name in the statistics. Result: that of :class:`ExportAdapter`, and ``statistics`` as
    :class:`Combine` gives them.
    """

    kind: ClassVar[str] = "combine_adapters"
    inputs: tuple[WeightedFile, ...]
    model: str
    mode: str
    out: str
    rule: RuleSpec = RuleSpec()
    base: str = ""
    format: Literal["kohya", "diffusers"] = "kohya"


@dataclass(frozen=True)
class InspectAdapter(Request):
    """Says what a LoRA file of any dialect is, without loading it. Arithmetic.

    ``matching`` of its ``modules`` are in ``model``; without one, in the well-known base it fits.
    ``ranks``, ``alphas`` and ``dtypes`` count layers; the alpha ``none`` means alpha = rank.
    ``ignored`` are tensors that are no LoRA. Result: ``{"dialect", "title", "modules", "ranks":
    {rank: count}, "alphas", "dtypes", "bytes", "ignored": [...], "metadata": {...}, "model",
    "matching"}``.
    """

    kind: ClassVar[str] = "inspect_adapter"
    path: str
    model: str = ""


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


# --- commands ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cancel(Request):
    """Ends a running or waiting request at its next step; that request ends in ``Failed``."""

    kind: ClassVar[str] = "cancel"
    request: int


@dataclass(frozen=True)
class Steer(Request):
    """A wish to a running training, granted between two steps; it has no answer of its own.

    ``pause`` saves and waits for ``resume``; ``save`` writes the checkpoint; ``sample`` draws
    ``Train.samples``. Progress of the training says ``{"stage": "paused"|"resumed"|"saved"}`` or
    ``{"stage": "sample", "path", ...}``. The weights come out the same as without.
    """

    kind: ClassVar[str] = "steer"
    request: int
    wish: Wish


@dataclass(frozen=True)
class Stop(Request):
    """Cancels everything and ends the process. End of stdin means the same."""

    kind: ClassVar[str] = "stop"


# --- messages to the parent -------------------------------------------------------------------


@dataclass(frozen=True)
class Message:
    """Base of what a worker says; ``request`` is the id of the request it belongs to."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True)
class Ready(Message):
    """First message of a worker."""

    kind: ClassVar[str] = "ready"
    role: str
    device: str
    pid: int
    version: int = VERSION


@dataclass(frozen=True)
class Progress(Message):
    """How far a request is; the fields depend on its kind."""

    kind: ClassVar[str] = "progress"
    request: int
    data: dict[str, Any]


@dataclass(frozen=True)
class Done(Message):
    """A request's result."""

    kind: ClassVar[str] = "done"
    request: int
    result: dict[str, Any]


@dataclass(frozen=True)
class Failed(Message):
    """Why a request came to nothing. ``code`` is the exit code a command should end with."""

    kind: ClassVar[str] = "failed"
    request: int
    title: str
    cause: str = ""
    remedy: str = ""
    code: int = 1
    cancelled: bool = False


_REQUESTS: dict[str, type[Request]] = {cls.kind: cls for cls in Request.__subclasses__()}
_MESSAGES: dict[str, type[Message]] = {cls.kind: cls for cls in Message.__subclasses__()}

ARITHMETIC: frozenset[type[Request]] = frozenset(
    {
        Describe,
        CheckData,
        SampleData,
        SplitData,
        InitAdapter,
        CheckBlob,
        Combine,
        CombineAdapters,
        RestoreAdapter,
        ExportAdapter,
        InspectAdapter,
        ContactSheet,
    }
)
"""What the torch-free role takes."""


def encode_request(number: int, request: Request) -> bytes:
    """One line for the worker's stdin. ``number`` is chosen by the parent, unique per worker."""
    return _line({"id": number, "kind": request.kind, **asdict(request)})


def decode_request(line: bytes) -> tuple[int, Request]:
    """Raises :class:`WireError` on anything but a well-formed request."""
    data = _object(line)
    number = data.pop("id", None)
    if type(number) is not int:
        raise WireError("a request needs an integer id")
    try:
        return number, _build(_REQUESTS, data)
    except WireError as error:
        error.request = number
        raise


def encode_message(message: Message) -> bytes:
    """One line for the worker's stdout."""
    return _line({"kind": message.kind, **asdict(message)})


def decode_message(line: bytes) -> Message:
    """Raises :class:`WireError` on anything but a well-formed message."""
    message: Message = _build(_MESSAGES, _object(line))
    return message


def _line(data: dict[str, Any]) -> bytes:
    line = json.dumps(data, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise WireError(f"a message of {len(line)} bytes is too long")
    return line


def _object(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise WireError("line too long")
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WireError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise WireError("not an object")
    return data


def _build(kinds: dict[str, Any], data: dict[str, Any]) -> Any:
    kind = kinds.get(str(data.pop("kind", "")))
    if kind is None:
        raise WireError("unknown kind")
    return _dataclass(kind, data)


def _dataclass(cls: Any, data: Any) -> Any:
    if not isinstance(data, dict):
        raise WireError(f"{cls.__name__} must be an object")
    unknown = set(data) - {f.name for f in fields(cls)}
    if unknown:
        raise WireError(f"{cls.__name__} has no field {sorted(unknown)[0]!r}")
    hints = get_type_hints(cls)
    try:
        return cls(**{name: _value(hints[name], value) for name, value in data.items()})
    except TypeError as error:
        raise WireError(str(error)) from error


def _value(hint: Any, value: Any) -> Any:
    if is_dataclass(hint):
        return _dataclass(hint, value)
    args, origin = get_args(hint), get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise WireError("expected a list")
        return tuple(_value(args[0], item) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise WireError("expected an object")
        return {name: _value(args[1], item) for name, item in value.items()}
    if origin is Literal and value not in args:
        raise WireError(f"expected one of {', '.join(args)}, got {value!r}")
    if hint in (int, float, str, bool):
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (hint is not bool and isinstance(value, bool)):
            raise WireError(f"expected {hint.__name__}, got {value!r}")
        return float(value) if hint is float else value
    return value
