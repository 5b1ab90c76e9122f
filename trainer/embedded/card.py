"""The model card: ``card.json`` for programs and ``README.md`` for people."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import PIL

from trainer.embedded import MODEL_NAME
from trainer.embedded.assemble import total_bytes
from trainer.embedded.autoencoder import DECODER_BATCH
from trainer.embedded.captions import tag_caption
from trainer.embedded.denoiser import training_scenes
from trainer.embedded.drawing import draw
from trainer.embedded.scenes import SCENES_VERSION

BARS = {
    "psnr_db": 32.0,
    "classifier": 0.97,
    "large": 0.95,
    "objects": 0.80,
    "seconds": 1.5,
    "megabytes": 32.0,
}


def scenes_sha256(count: int = 64, seed: int = 1) -> str:
    """SHA-256 (hex) over captions and pixels of the first training scenes.

    Tells whether an installed Pillow and this code still draw what the model learnt.
    """
    digest = hashlib.sha256(str(SCENES_VERSION).encode())
    for scene in training_scenes(count, seed):
        digest.update(tag_caption(scene).encode())
        digest.update(draw(scene).tobytes())
    return digest.hexdigest()


def commit_of(folder: Path) -> str:
    """The commit the code was at, or ``unknown`` outside a checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def write_card(destination: Path, training: dict[str, Any], figures: dict[str, Any]) -> None:
    """Writes card.json and README.md beside the weights."""
    card = {
        "name": MODEL_NAME,
        "licence": "Apache-2.0",
        "commit": commit_of(Path(__file__).parent),
        "scenes_version": SCENES_VERSION,
        "scenes_sha256": scenes_sha256(),
        "pillow": PIL.__version__,
        "training": training,
        "figures": figures,
        "bars": BARS,
    }
    (destination / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    size = total_bytes(destination)
    (destination / "README.md").write_text(readme(card, size), encoding="utf-8")


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def readme(card: dict[str, Any], size: int) -> str:
    """The card for people."""
    figures, training = card["figures"], card["training"]
    tags, sentences = figures["shown_tags"], figures["shown_sentences"]
    method = tags["method"]
    plain, painted = figures["classifier_plain"], figures["classifier_van_gogh"]
    speed, vae, unet = figures["seconds_per_picture"], training["vae"], training["unet"]
    refined = training["decoder"]
    rows = [
        ("reconstruction by the autoencoder, PSNR", f"{figures['psnr_db']['value']:.2f} dB",
         f"at least {BARS['psnr_db']:.0f} dB", f"{figures['psnr_db']['pictures']} unseen scenes"),
        ("large attributes shown, tags", percent(tags["large_mean"]),
         "at least 95 %", f"{method['pictures']} pictures"),
        ("objects shown, tags", percent(tags["objects_mean"]),
         "at least 80 %", f"{method['pictures']} pictures"),
        ("large attributes shown, sentences", percent(sentences["large_mean"]),
         "", f"{sentences['method']['pictures']} pictures"),
        ("objects shown, sentences", percent(sentences["objects_mean"]),
         "", f"{sentences['method']['pictures']} pictures"),
        ("objects shown that nobody asked for, per picture", f"{tags['objects_unasked']:.3f}",
         "", f"{method['pictures']} pictures"),
        ("classifier, mean accuracy on plain scenes", percent(plain["mean"]),
         "at least 97 %", "2000 unseen scenes"),
        ("classifier, mean accuracy on painterly scenes", percent(painted["mean"]),
         "", "500 unseen scenes"),
        ("classifier, style", f"{percent(plain['style'])} / {percent(painted['style'])}",
         "", "plain / painterly"),
        (f"one picture, {speed['steps']} steps", f"{speed['value']:.2f} s",
         "at most 1.5 s", f"{speed['threads']} threads, guidance included"),
        ("all files", f"{size / 1e6:.1f} MB", "at most 32 MB", ""),
    ]  # fmt: skip
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    details = "\n".join(
        f"| {name} | {percent(tags[group][name])} | {percent(sentences[group][name])} |"
        for group in ("large", "objects", "stars_and_clouds")
        for name in tags[group]
    )
    notes = "".join(f" {note}" for note in training["notes"])
    runs = [
        ("autoencoder", vae, 16, f"{vae['pictures']} drawn afresh"),
        ("its decoder again", refined, sum(DECODER_BATCH), f"{refined['pictures']} drawn afresh"),
        ("denoiser and text encoder", unet, unet["batch"], f"{unet['scenes']} scenes"),
    ]
    stages = "\n".join(
        f"| {name} | {run['steps']} | {batch} | {pictures} | {run['seconds'] / 60:.0f} "
        f"| {run['loss']:.5f} |"
        for name, run, batch, pictures in runs
    )
    return f"""# {card["name"]}

A latent diffusion model of captioned landscapes, small enough to live in the package. It uses
the classes and the code path of Stable Diffusion 1.5 (`StableDiffusionPipeline` with
`UNet2DConditionModel`, `CLIPTextModel`, `CLIPTokenizer`, `AutoencoderTiny`, `DDIMScheduler`), so
whatever works on it works on a real checkpoint.

```python
from diffusers import StableDiffusionPipeline
from trainer.embedded import WEIGHTS

pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS)
pipe("a red house by the sea at night", num_inference_steps=20, guidance_scale=3).images[0]
```

**Made from** pictures drawn by code (`trainer/embedded/`), none of them anybody's. 64 x 64
pixels. It knows tags (`night, crescent_moon, mountain, scenery`) and plain sentences about time
of day, sun and moon, stars, clouds, mountains and hills, grass, sea, desert and snow, red and
blue houses, boats, trees, pines and cactuses. It has never seen the painterly style
(`van_gogh`) nor a `lighthouse`: that is what a federation is to teach it. The autoencoder also
saw meaningless coloured shapes and its decoder random brushwork (no scenes, no style), so that
pictures other than the base's are not blurred away.

**Known flaws.** Two suns or moons, or an object twice, in some pictures (the figures below do
not count copies); cactuses at night are soft; other words than those above mean little to it.

**Not for** anything but learning, demonstrations and tests.

## Figures

Measured by `python -m trainer.embedded.pretrain --out DIR --stage card` with DDIM,
{method["steps"]} steps and guidance {method["guidance"]:g}. The classifier beside the weights
says what a generated picture shows.

| what | reached | bar | measured on |
| --- | --- | --- | --- |
{table}

| shown when asked for | tags | sentences |
| --- | --- | --- |
{details}

(stars and clouds: right answer, there or not)

## Training

`python -m trainer.embedded.pretrain --out DIR --stage all`, seed {training["seed"]}, code at
commit `{card["commit"][:12]}`, on {training["device"]}.{notes}

| | steps | batch | pictures | minutes | last mean loss |
| --- | --- | --- | --- | --- | --- |
{stages}

AdamW, learning rate warmed up and lowered to zero by a cosine over the elapsed share of the run,
averaged weights (EMA), bf16 autocast, 10 % empty captions. A run by the clock (`--minutes`) makes
as many steps as the machine can; with the `--steps` of the table it is repeatable up to
floating-point order. Licence: Apache-2.0.
"""
