"""Reads the attributes and the style of a picture; the measuring device of the model card.

One small network with a head for each attribute. It is trained on fresh scenes in both
styles: sharp, softened (blur, noise, JPEG) and as the autoencoder returns them. Its accuracy
on unseen scenes stands beside every figure made with it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from trainer.embedded.autoencoder import rebuilt, trained_autoencoder
from trainer.embedded.drawing import draw
from trainer.embedded.pace import Pace, learning_rate
from trainer.embedded.pictures import as_images, as_tensor
from trainer.embedded.scenes import (
    CELESTIALS,
    GROUNDS,
    OBJECTS,
    RELIEFS,
    STYLES,
    TIMES,
    Scene,
    Style,
    pick,
    sample_scene,
)
from trainer.embedded.state import Log

CHOICES: dict[str, tuple[str, ...]] = {
    "time": TIMES,
    "celestial": CELESTIALS,
    "relief": RELIEFS,
    "ground": GROUNDS,
    "style": STYLES,
}
"""Heads with exactly one answer."""
YES_NO = ("stars", "clouds", *OBJECTS)
"""Heads that are each true or false."""
LARGE = ("time", "celestial", "relief", "ground")
"""The large attributes of the model card."""
HEADS = sum(len(options) for options in CHOICES.values()) + len(YES_NO)
WIDTHS = (24, 48, 96, 128)
BATCH = 48
PEAK_RATE = 3e-3
PAINTED = 1500
"""Painterly pictures drawn beforehand; they take 20 ms each, plain ones 0.4 ms."""
PLAIN = 1000
"""Plain pictures that also go through the autoencoder; the others are drawn afresh."""


class SceneClassifier(nn.Module):
    """Pictures (n, 3, 64, 64) in -1..1 to logits (n, HEADS); other sizes are resampled."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in WIDTHS:
            layers += [nn.Conv2d(before, width, 3, 2, 1), nn.GroupNorm(8, width), nn.SiLU()]
            layers += [nn.Conv2d(width, width, 3, 1, 1), nn.GroupNorm(8, width), nn.SiLU()]
            before = width
        self.features = nn.Sequential(*layers)
        self.rows = nn.Linear(before * 4, 128)
        self.head = nn.Linear(128 + before, HEADS)

    def embedded(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the heads read, (n, 256): the layout by rows, and the strongest of each feature."""
        if pixels.shape[-2:] != (64, 64):
            pixels = functional.interpolate(pixels, (64, 64), mode="area")
        maps = self.features(pixels)  # (n, c, 4, 4)
        rows = functional.silu(self.rows(maps.mean(dim=3).flatten(1)))
        return torch.cat([rows, maps.amax(dim=(2, 3))], dim=1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits in the order of CHOICES, then YES_NO."""
        logits: torch.Tensor = self.head(self.embedded(pixels))
        return logits


Example = tuple[Scene, Style, Image.Image]


@dataclass(frozen=True)
class Reading:
    """What the classifier sees in one picture."""

    time: str
    celestial: str
    relief: str
    ground: str
    style: str
    present: frozenset[str]
    """The yes/no attributes that are there: stars, clouds and objects."""


def labels_of(scenes: Sequence[Scene], styles: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices (n, len(CHOICES)) int64 and truths (n, len(YES_NO)) float32."""
    chosen, truths = [], []
    for scene, style in zip(scenes, styles, strict=True):
        values = {"style": style} | {name: getattr(scene, name) for name in LARGE}
        chosen.append([CHOICES[name].index(values[name]) for name in CHOICES])
        objects = [float(name in scene.objects) for name in OBJECTS]
        truths.append([float(scene.stars), float(scene.clouds), *objects])
    return torch.tensor(chosen), torch.tensor(truths)


def loss_of(logits: torch.Tensor, chosen: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Sum of cross entropies of all heads."""
    total, start = torch.zeros((), device=logits.device), 0
    for column, options in enumerate(CHOICES.values()):
        part = logits[:, start : start + len(options)]
        total = total + functional.cross_entropy(part, chosen[:, column])
        start += len(options)
    return total + functional.binary_cross_entropy_with_logits(logits[:, start:], truths) * 6


def softened(image: Image.Image, rng: Random) -> Image.Image:
    """The picture as it is (40 %), blurred, or squeezed through JPEG."""
    u = rng.random()
    if u < 0.3:
        return image.filter(ImageFilter.GaussianBlur(0.3 + 0.7 * rng.random()))
    if u < 0.6:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=35 + int(55 * rng.random()))
        return Image.open(buffer).convert("RGB")
    return image


def random_scenes(rng: Random, count: int) -> list[Scene]:
    """Scenes with every object, the held-back ones too."""
    return [sample_scene(rng, pool=OBJECTS) for _ in range(count)]


def stock_of(folder: Path, seed: int) -> list[Example]:
    """Painterly pictures as drawn, and both styles as the autoencoder gives them back."""
    rng, vae = Random(seed), trained_autoencoder(folder)
    painted: list[Style] = ["van_gogh"] * PAINTED
    plain: list[Style] = ["plain"] * PLAIN
    drawn: list[Example] = []
    for style in painted + plain:
        scene = random_scenes(rng, 1)[0]
        drawn.append((scene, style, draw(scene, style)))
    passed = as_images(rebuilt(vae, as_tensor([image for _, _, image in drawn])))
    again = [(scene, style, image) for (scene, style, _), image in zip(drawn, passed, strict=True)]
    return drawn[:PAINTED] + again


def train_classifier(
    folder: Path, pace: Pace, seed: int, device: torch.device, log: Log
) -> SceneClassifier:
    """Trains and writes ``folder``/classifier.safetensors (float16)."""
    torch.manual_seed(seed)
    stock = stock_of(folder, seed)
    log(f"classifier: {len(stock)} pictures drawn and passed through the autoencoder")
    pace.started = Pace(1, None).started
    model = SceneClassifier().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    step, mean = 0, 0.0
    while pace.progress(step) < 1:
        rng = Random(seed * 1_000_003 + step)
        fresh: list[Example] = [
            (scene, "plain", draw(scene)) for scene in random_scenes(rng, BATCH // 3)
        ]
        examples = fresh + [pick(rng, stock) for _ in range(BATCH - len(fresh))]
        pixels = as_tensor([softened(image, rng) for _, _, image in examples])
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pixels += torch.randn(pixels.shape, generator=generator) * 0.06 * rng.random()
        chosen, truths = labels_of([e[0] for e in examples], [e[1] for e in examples])
        loss = loss_of(model(pixels.to(device)), chosen.to(device), truths.to(device))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(pace.progress(step), step, PEAK_RATE)
        torch.autograd.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        mean += (loss.item() - mean) * max(0.01, 1 / step)
        if step % 200 == 0:
            log(f"classifier {pace.line(step)} loss {mean:.4f}")
    path = folder / "classifier.safetensors"
    save_file(
        {name: value.half().cpu().contiguous() for name, value in model.state_dict().items()}, path
    )
    path.chmod(0o644)
    log(f"classifier done: {step} steps")
    return load_classifier(path)


def load_classifier(path: Path) -> SceneClassifier:
    """The classifier in float32 on the CPU, ready to read.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    model = SceneClassifier()
    model.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return model.eval()


@torch.no_grad()
def read(model: SceneClassifier, pixels: torch.Tensor) -> list[Reading]:
    """What each picture of (n, 3, height, width) in -1..1 shows."""
    readings = []
    for part in torch.split(pixels, 128):
        for row in model(part.float()):
            answers, start = {}, 0
            for name, options in CHOICES.items():
                answers[name] = options[int(row[start : start + len(options)].argmax())]
                start += len(options)
            present = frozenset(
                name for name, logit in zip(YES_NO, row[start:], strict=True) if logit > 0
            )
            readings.append(Reading(**answers, present=present))
    return readings


def accuracy(
    model: SceneClassifier, scenes: Sequence[Scene], pixels: torch.Tensor, style: Style
) -> dict[str, float]:
    """Share of right answers by attribute, and ``mean`` over all of them.

    An object counts as right when it is seen where it was asked for and not seen where not.
    """
    readings = read(model, pixels)
    result = {}
    for name in CHOICES:
        wanted = [style if name == "style" else getattr(scene, name) for scene in scenes]
        right = [getattr(r, name) == value for r, value in zip(readings, wanted, strict=True)]
        result[name] = sum(right) / len(right)
    for name in YES_NO:
        truths = [name in s.objects if name in OBJECTS else getattr(s, name) for s in scenes]
        right = [(name in r.present) == value for r, value in zip(readings, truths, strict=True)]
        result[name] = sum(right) / len(right)
    result["mean"] = sum(result.values()) / len(result)
    return result


def accuracy_on_scenes(
    model: SceneClassifier, style: Style, count: int, seed: int
) -> dict[str, float]:
    """Accuracy on ``count`` fresh drawn scenes of a style, as they are."""
    scenes = random_scenes(Random(seed), count)
    pixels = as_tensor([draw(scene, style) for scene in scenes])
    return accuracy(model, scenes, pixels, style)
