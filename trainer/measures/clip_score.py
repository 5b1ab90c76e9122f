"""How well pictures show what their captions say, by a CLIP (Hessel et al., arXiv 2104.08718).

The score of a picture is 100·max(cos(E_picture, E_caption), 0), as torchmetrics has it; Hessel et
al. put 2.5 for 100 and "A photo depicts" before the caption. Scores of different CLIPs do not
compare, so :class:`Clip` names its weights in every result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from trainer.errors import NO_USABLE, TrainerError
from trainer.job import Job
from trainer.measures import picture_files
from trainer.measures.distances import interval
from trainer.models import hub, store
from trainer.models.base import read_config, weight_files

BATCH = 16
SCALE = 100.0
MIN_PICTURES = 2
"""A spread needs two."""
HASH_BLOCK = 1 << 20
"""Bytes of a file that are hashed at once."""
TOKENIZERS = (("tokenizer.json",), ("vocab.json", "merges.txt"))
"""Files of a tokenizer, in either form."""
PROBE = (48, 40)
"""Sides of the picture that a CLIP is tried with when it is loaded."""


@dataclass(frozen=True)
class Scores:
    """CLIP scores (0..100, higher is better) of captioned pictures.

    ``low`` and ``high`` hold the mean with 95 % confidence when the pictures are drawn again,
    ``deviation`` is the standard deviation over pictures. The ends of ``truncated`` captions were
    not read.
    """

    mean: float
    low: float
    high: float
    deviation: float
    pictures: int
    truncated: int
    by_picture: Mapping[str, float]


@dataclass(frozen=True)
class Clip:
    """Both halves of a CLIP and what prepares pictures and captions for them."""

    name: str
    sha256: str
    model: CLIPModel
    tokenizer: CLIPTokenizer
    processor: CLIPImageProcessorPil

    @torch.no_grad()
    def cosines(self, images: Sequence[Image.Image], captions: Sequence[str]) -> torch.Tensor:
        """Of each RGB picture with its caption, (n,) float64."""
        pixels = self.processor(images=list(images), return_tensors="pt")["pixel_values"]
        words = self.tokenizer(
            list(captions),
            padding=True,
            truncation=True,
            max_length=self.tokens,
            return_tensors="pt",
        )
        seen = self.model.get_image_features(pixel_values=pixels).pooler_output.double()
        read = self.model.get_text_features(**words).pooler_output.double()
        return torch.nn.functional.cosine_similarity(seen, read)

    @property
    def tokens(self) -> int:
        """Tokens of a caption that are read, its two ends among them."""
        return int(self.model.config.text_config.max_position_embeddings)

    def truncates(self, caption: str) -> bool:
        """Whether a caption is longer than that."""
        return len(self.tokenizer(caption, verbose=False)["input_ids"]) > self.tokens

    def described(self) -> dict[str, Any]:
        """What a result must say about how it was made."""
        processor = self.processor
        resample = Image.Resampling(processor.resample).name.lower()
        means, deviations = (
            " ".join(f"{value:.4g}" for value in values)
            for values in (processor.image_mean, processor.image_std)
        )
        return {
            "name": self.name,
            "sha256": self.sha256,
            "side": int(self.model.config.vision_config.image_size),
            "resize": f"shortest side, {resample}, middle square",
            "value_range": f"0..1 minus {means} by {deviations}",
        }


def score(clip: Clip, folder: Path, resamples: int, seed: int, job: Job) -> Scores:
    """Every PNG and JPEG of a folder against its caption.

    Raises :class:`TrainerError` when a picture cannot be read or has no caption.
    """
    captions = captioned(folder)
    values: dict[str, float] = {}
    paths = list(captions)
    for first in range(0, len(paths), BATCH):
        job.check()
        job.report({"stage": "CLIP score", "step": first, "steps": len(paths)})
        some = paths[first : first + BATCH]
        cosines = clip.cosines(
            [picture_files.opened(path) for path in some], [captions[p] for p in some]
        )
        for path, cosine in zip(some, cosines.tolist(), strict=True):
            values[path.name] = SCALE * max(cosine, 0.0)
    scores = np.array(list(values.values()))
    low, high = _interval_of_mean(scores, resamples, seed)
    return Scores(
        mean=float(scores.mean()),
        low=low,
        high=high,
        deviation=float(scores.std(ddof=1)),
        pictures=len(scores),
        truncated=sum(map(clip.truncates, captions.values())),
        by_picture=values,
    )


def captioned(folder: Path) -> dict[Path, str]:
    """The pictures of a folder, sorted by name, with the caption of each.

    Raises :class:`TrainerError` when there are too few, or one has none.
    """
    paths = picture_files.listed(folder, MIN_PICTURES)
    captions = dict(zip(paths, picture_files.captions(paths), strict=True))
    silent = [path.name for path, text in captions.items() if not text]
    if silent:
        raise TrainerError(
            "Pictures cannot be held against captions that are not there",
            f"{len(silent)} of {len(paths)} pictures in {folder} have none: {silent[0]}.",
            "Put a .txt file beside each; what fedtui generate draws carries its prompt, unless "
            "--no-metadata left it out.",
            NO_USABLE,
        )
    return captions


def load(name: str, job: Job) -> Clip:
    """A CLIP from a folder that transformers wrote, or from the hub by its name.

    Raises :class:`TrainerError` for anything that is not a whole CLIP.
    """
    folder = _folder(name, job)
    config = folder / "config.json"
    if not config.is_file():
        raise _unusable(folder, "it has no config.json")
    kind = read_config(config).get("model_type")
    if kind != "clip":
        half = ": that is one half of a CLIP" if str(kind).startswith("clip_") else ""
        raise _unusable(folder, f"it holds a model of type {str(kind)[:40]!r}{half}")
    # Without these files transformers makes a tokenizer that knows no word, and says nothing.
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        raise _unusable(
            folder, f"it lacks the tokenizer: {' or '.join(map(' and '.join, TOKENIZERS))}"
        )
    try:
        files = weight_files(folder)
    except TrainerError as error:
        raise _unusable(folder, "it has no weights in safetensors format") from error
    try:
        model, found = CLIPModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
        processor = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever a reader of foreign files stumbles over
        first = str(error).strip().split("\n")[0]
        raise _unusable(folder, first or type(error).__name__) from error
    # transformers fills what a file lacks with random numbers, and only warns of it.
    if absent := sorted(found["missing_keys"]):
        raise _unusable(folder, f"it lacks {len(absent)} weights: {absent[0]}")
    clip = Clip(folder.name, _sha256(files), model.eval(), tokenizer, processor)
    try:
        probed = clip.cosines([Image.new("RGB", PROBE, "gray")], ["a house"])
    except (RuntimeError, ValueError, IndexError) as error:
        raise _unusable(folder, f"its parts do not fit each other: {error}") from error
    if not probed.isfinite().all():
        raise _unusable(folder, "it answers with no numbers")
    return clip


def _folder(name: str, job: Job) -> Path:
    """Where a CLIP lies; fetched first when it is a name on the hub that was not fetched yet."""
    path = Path(name).expanduser()
    if not store.is_hub_name(name):
        if not path.is_dir():
            raise _unusable(path, "there is no such folder")
        return path
    folder = store.place(name)
    if store.record(folder) is None:
        revision = hub.download(name, folder, job, hub.CLIP)
        store.write_record(folder, store.Record(name, revision, _sha256(weight_files(folder))))
    return folder


def _interval_of_mean(
    values: NDArray[np.float64], resamples: int, seed: int
) -> tuple[float, float]:
    draw = np.random.default_rng(seed)
    again = [values[draw.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    mean = float(values.mean())
    return interval(np.array(again)) if again else (mean, mean)


def _sha256(paths: Sequence[Path]) -> str:
    """Of all bytes in a row: for one file its own hash, as the hub names it."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(HASH_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _unusable(folder: Path, cause: str) -> TrainerError:
    return TrainerError(
        "The CLIP cannot be used",
        f"{folder}: {cause}.",
        "Give a folder with both halves of a CLIP as transformers writes it (config.json, "
        "model.safetensors, preprocessor_config.json, the tokenizer's files), or the name of one "
        "on the hub, openai/clip-vit-large-patch14 for instance.",
        NO_USABLE,
    )
