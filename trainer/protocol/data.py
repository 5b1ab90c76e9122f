"""Folders of pictures: what training makes of them, and requests that look at or make them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from trainer.protocol.conversation import Request

METADATA = "metadata.jsonl"
"""One JSON object a line: ``{"file_name": "a.png", "text": "a red house"}``; text may be a list."""
TABLES = ("metadata.csv", "captions.csv")
"""A header with columns for the file and the text; a file may have several rows."""
SIDECARS = (".txt", ".caption")
"""Endings of a text file beside its picture; the first that is there is read."""
LEFT_OUT = ".fedtui-left-out.json"
"""A list of file names, relative to the folder: pictures that are there and not trained on."""
MAX_LEFT_OUT_BYTES = 4 << 20
MAX_CAPTION_BYTES = 64 << 10
MAX_CAPTION_LENGTH = 2_000
"""Characters kept of a caption; CLIP reads about 300."""


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
class CheckData(Request):
    """Looks at a folder of pictures as training with ``options`` would. Arithmetic.

    Of a ``model`` only its settings are read: which sides its pictures can have, and which
    resolution is meant by 0.
    ``captions`` counts pictures by where their caption is, ``sizes`` and ``buckets`` count them by
    ``WIDTHxHEIGHT`` as they are and as they are trained on, ``tags`` are the commonest parts
    between commas. A ``pass`` over the data has so many pictures; ``encoded`` views and wordings
    have to be computed once. ``digest`` names the pictures with their captions, whatever the names
    and order of files. Progress: ``{"stage": "scan", "step"}``.
    Result: ``{"usable", "digest", "pictures": [{"file", "caption", "width", "height"}...] (the
    first 200), "problems": [{"file", "problem", "remedy", "fatal"}...], "captions", "sizes",
    "buckets", "tags": [[tag, count]...], "duplicates", "several_captions", "longest_caption",
    "pass", "encoded": {"views", "wordings"}, "left_out": [{"file", "caption", "width", "height",
    "same_as"}...] (the first 200 that :data:`LEFT_OUT` names, and those that show the same),
    "left_out_count", "sides": {"resolution", "by": "shorter side" or "area", "smaller", "bins":
    [[from, to, count]...]}}``; ``smaller`` pictures have to be enlarged, a bin counts sides in
    pixels or, by area, those of squares as large; 0 stands for an open end.
    """

    kind: ClassVar[str] = "check_data"
    folder: str
    resolution: int = 64
    options: DataOptions = DataOptions()
    model: str = ""


@dataclass(frozen=True)
class PreviewData(Request):
    """Draws the first ``batches`` that training would see, a row for each, and names what is in it.

    Dark parts are masked. The choices are those of :class:`Train` with the same folder, options,
    model, batch, seed, round and node. Result: ``{"path", "batches": [[{"file", "caption", "size",
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
    model: str = ""


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
class LandscapeData(Request):
    """Like :class:`DigitData` with the built-in landscapes; classes are time of day and ground."""

    kind: ClassVar[str] = "landscape_data"
    folder: str
    participant: int
    participants: int = 1
    beta: float = 0.5
    shared: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class GatherPictures(Request):
    """Copies the PNG files of several folders into a new one, ``00-NAME.png`` and so on.

    Result: ``{"written"}``.
    """

    kind: ClassVar[str] = "gather_pictures"
    folders: tuple[str, ...]
    folder: str
