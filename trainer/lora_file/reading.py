"""From a file of any dialect to factors of a model's layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from trainer.errors import TrainerError
from trainer.lora_file.architecture import Architecture
from trainer.lora_file.fusing import divided
from trainer.lora_file.known import known
from trainer.lora_file.layers import Factors, LoraAdapter, fitted
from trainer.lora_file.parsing import Layer, Parsed, parse
from trainer.models.base import BaseModel, Shape
from trainer.tensor_file import FormatError, read_tensor

Found = tuple[str, str]
"""A component and the name of a layer in it."""
Places = dict[tuple[str, str], Sequence[Found]]
"""The model's layer of every (dialect, stem), or several that lie one below another in it."""


def read(path: Path, model: BaseModel | Architecture) -> LoraAdapter:
    """Reads an adapter for ``model`` from any dialect.

    Raises :class:`TrainerError` when the file cannot be read, its dialect is unknown, or any of
    its layers is not in the model: zero matching layers would otherwise pass as an adapter that
    does nothing.
    """
    architecture = model if isinstance(model, Architecture) else Architecture.of(model)
    try:
        with path.open("rb") as file:
            return _read(path, file, architecture)
    except FormatError as error:
        raise TrainerError(
            "The adapter cannot be used",
            f"{path}: {error}.",
            f"Give a LoRA file that was made for {architecture.title}.",
        ) from error
    except OSError as error:
        raise TrainerError(
            "The adapter cannot be read",
            f"{path}: {error.strerror}.",
            "Check that it is a file that you may read.",
        ) from error


def _read(path: Path, file: BinaryIO, architecture: Architecture) -> LoraAdapter:
    parsed = parse(path, file)
    places = matched(parsed, architecture)
    if len(places) < len(parsed.layers):
        raise FormatError(_unmatched(parsed, places, architecture))
    shapes = {(component, name): shape for component, name, shape in architecture.each()}
    components: dict[str, dict[str, Factors]] = {}
    for layer in parsed.layers:
        found = places[layer.dialect.name, layer.stem]
        for (component, name), factors in _factors(parsed, file, layer, found, shapes):
            layers = components.setdefault(component, {})
            if name in layers:
                raise FormatError(f"it has the layer {name!r} in two spellings")
            layers[name] = factors
    return LoraAdapter(components, parsed.dialect.name, parsed.metadata, parsed.ignored)


def _factors(
    parsed: Parsed,
    file: BinaryIO,
    layer: Layer,
    places: Sequence[Found],
    shapes: Mapping[Found, Shape],
) -> Iterator[tuple[Found, Factors]]:
    scale = parsed.scale(file, layer, *places[0])
    A, B = read_tensor(file, layer.A), read_tensor(file, layer.B)
    if len(places) > 1:
        rows = [shapes[found][0] for found in places]
        if layer.magnitude is not None:
            raise FormatError(f"the layer {layer.stem[:80]!a} has lengths of rows")
        for found, pair in zip(places, divided(A, B, rows, layer.stem), strict=True):
            if pair is not None:
                yield found, fitted(*pair, scale, shapes[found], found[1])
        return
    found = places[0]
    shape = shapes[found]
    factors = fitted(A, B, scale, shape, found[1])
    if layer.magnitude is not None:
        lengths = read_tensor(file, layer.magnitude).astype(np.float32).reshape(-1)
        if lengths.shape != shape[:1] or not np.isfinite(lengths).all():
            raise FormatError(f"the layer {found[1][:80]!r} has {lengths.size} lengths of rows")
        factors = replace(factors, magnitude=lengths)
    yield found, factors


def matched(parsed: Parsed, architecture: Architecture) -> Places:
    """The model's layers for every (dialect, stem) of the file that has some."""
    places: Places = {}
    for dialect in {layer.dialect for layer in parsed.layers}:
        index: dict[str, Sequence[Found]] = dict(dialect.fused(architecture))
        for found, stems in dialect.stems(architecture).items():
            for stem in stems:
                index.setdefault(stem, (found,))
        for layer in parsed.layers:
            if layer.dialect is dialect and layer.stem in index:
                places[dialect.name, layer.stem] = index[layer.stem]
    return places


def fits(parsed: Parsed, architecture: Architecture) -> int:
    """How many of the file's layers are in the model with weights of their size."""
    places = matched(parsed, architecture)
    shapes = {(component, name): shape for component, name, shape in architecture.each()}
    count = 0
    for layer in parsed.layers:
        found = places.get((layer.dialect.name, layer.stem))
        if found is not None:
            rows = sum(shapes[each][0] for each in found)
            count += layer.A.shape[1:2] == shapes[found[0]][1:2] and layer.B.shape[:1] == (rows,)
    return count


def suggested(parsed: Parsed) -> Architecture | None:
    """The well-known base that every layer of the file fits, if there is one."""
    whole = len(parsed.layers)
    return next((base for base in known() if fits(parsed, base) == whole), None)


def _unmatched(parsed: Parsed, places: Places, architecture: Architecture) -> str:
    """What was found, what was expected, and what the file was probably made for."""
    whole = len(parsed.layers)
    first = next(layer for layer in parsed.layers if (layer.dialect.name, layer.stem) not in places)
    spelled = first.dialect.stems(architecture)
    expected = next((stems[0] for stems in spelled.values()), "") if spelled else ""
    text = (
        f"{len(places)} of its {whole} layers are in {architecture.title}; "
        f"for instance {first.stem[:80]!a} is not"
    )
    if expected:
        text += f", where names like {expected!r} were expected"
    base = suggested(parsed)
    return f"{text}; it was made for {base.title}" if base else text


def alphas(parsed: Parsed, file: BinaryIO) -> Counter[float | None]:
    """How often the file says which alpha; None where it says none."""
    return Counter(parsed.alpha(file, layer, "unet", layer.stem) for layer in parsed.layers)
