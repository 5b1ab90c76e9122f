"""What a picture looks like while it is drawn.

The autoencoder is asked where that is cheap: on a fast device, or for a small picture. Elsewhere
latents are mapped to colours linearly, which shows a 512 pixel picture in 64. That map is fitted
once per model by least squares on one picture of soft colours, which costs a sixteenth of encoding
512 pixels; a look is then one small matrix product.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from trainer.models.base import LoadedModel

CHEAP_PIXELS = 128 * 128
"""In a picture that a CPU decodes in some hundredths of a second."""
SIDE = 128
"""Pixels along one side of the picture that the map is fitted on."""
FIELDS = 12
"""Soft patches of colour along one side of it."""
MIN_SHOWN = 64
"""Pixels; smaller previews are enlarged, so that a viewer does not have to."""


class Look:
    """Shows the pictures of one model."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self._colours: LatentColours | None = None

    def picture(self, latents: torch.Tensor, pixels: int) -> Image.Image:
        """What (1, C, h, w) latents of a picture with so many ``pixels`` look like."""
        if self._model.device.type != "cpu" or pixels <= CHEAP_PIXELS:
            return _enlarged(_image(self._model.pixels(latents)[0].float().cpu()))
        if self._colours is None:
            self._colours = LatentColours.fitted(self._model)
        return _enlarged(self._colours.picture(latents))


class LatentColours:
    """A linear map from latents to colours."""

    def __init__(self, weights: torch.Tensor) -> None:
        self._weights = weights

    @classmethod
    def fitted(cls, model: LoadedModel) -> LatentColours:
        """Fits the map of a loaded model; the same at every call."""
        draw = torch.Generator("cpu").manual_seed(0)
        fields = torch.rand((1, 3, FIELDS, FIELDS), generator=draw) * 2.0 - 1.0
        pixels = functional.interpolate(fields, (SIDE, SIDE), mode="bicubic").clamp(-1.0, 1.0)
        moments = model.moments(pixels)
        latents = model.latents(moments, torch.zeros(model.latent_shape(moments)).to(moments))
        colours = functional.interpolate(pixels, latents.shape[-2:], mode="area")
        rows = _rows(latents.float().cpu())
        wanted = colours[0].flatten(1).T
        return cls(torch.linalg.lstsq(rows, wanted).solution)

    def picture(self, latents: torch.Tensor) -> Image.Image:
        """What (1, C, h, w) latents look like, a pixel for each."""
        height, width = latents.shape[-2:]
        colours = _rows(latents.float().cpu()) @ self._weights
        return _image(colours.T.reshape(3, height, width))


def _image(colours: torch.Tensor) -> Image.Image:
    """(3, h, w) colours in -1..1."""
    values = ((colours.clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(values.permute(1, 2, 0).numpy()))


def _enlarged(image: Image.Image) -> Image.Image:
    factor = -(-MIN_SHOWN // min(image.size))
    if factor <= 1:
        return image
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)


def _rows(latents: torch.Tensor) -> torch.Tensor:
    """(h·w, C + 1): a row of channels and a one for every place."""
    flat = latents[0].flatten(1).T
    return torch.cat([flat, torch.ones((len(flat), 1))], dim=1)


def save(image: Image.Image, path: Path) -> None:
    """Replaces the picture at ``path`` at once, so that a reader never sees half of one."""
    draft = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(draft, format="PNG")
    draft.replace(path)
