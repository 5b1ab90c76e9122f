"""Pictures that differ in a few things: axes written on a command line, and their product.

``seed=1,2,3`` lists values, ``lora=0:1:5`` is five values from 0 to 1, ``prompt=a house|the sea``
keeps the commas of prompts. The axis ``lora`` sets the weight of every adapter, ``lora2`` that of
the second one. ``round=0:3`` compares a room's adapters: each round's has weight 1 in its place,
round 0 is the base model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedtui.errors import UsageError
from trainer.protocol import Shot

NAMES = ("prompt", "seed", "steps", "cfg", "sampler", "round", "lora")
MAX_VALUES = 64
"""On one axis."""
MAX_PICTURES = 1_024
"""In one grid, as many as a contact sheet holds."""

Value = str | int | float


@dataclass(frozen=True)
class Axis:
    """One thing that varies. ``name`` is one of NAMES, or ``lora1``, ``lora2``, …"""

    name: str
    values: tuple[Value, ...]

    def labels(self) -> tuple[str, ...]:
        """What stands above the pictures."""
        if self.name in ("prompt", "sampler"):
            return tuple(map(str, self.values))
        return tuple(f"{self.name} {value:g}" for value in self.values)


@dataclass(frozen=True)
class Grid:
    """Shots in reading order: the first axis runs along a row, the others down the sheet."""

    shots: tuple[Shot, ...]
    columns: tuple[str, ...]
    rows: tuple[str, ...]


def parsed(text: str, adapters: int) -> Axis:
    """``NAME=VALUES`` for a request with so many adapters. Raises :class:`UsageError`."""
    name, equals, values = text.partition("=")
    name = name.strip()
    if equals and name.startswith("lora") and not adapters:
        raise UsageError(
            "there is no adapter to vary",
            f"the axis {name} sets the weight of a --lora",
            "give --lora FILE too",
        )
    if not equals or not _known(name, adapters):
        known = [*NAMES[:-1], *(["lora"] if adapters else [])]
        known += [f"lora{number + 1}" for number in range(adapters)] if adapters > 1 else []
        raise UsageError(
            f"{text!r} is no axis of a grid",
            f"an axis is NAME=VALUES with one of the names {', '.join(known)}",
            "for instance --grid lora=0:1:5 --grid seed=1,2,3",
        )
    found = _values(name, values)
    if not 1 <= len(found) <= MAX_VALUES:
        raise UsageError(f"{text!r} has {len(found)} values", f"1 to {MAX_VALUES} are possible")
    return Axis(name, found)


def laid_out(base: Shot, axes: Sequence[Axis], rounds: Mapping[int, int] | None = None) -> Grid:
    """Every combination of the axes' values; ``rounds`` says which adapter a round's is.

    Raises :class:`UsageError`.
    """
    names = [axis.name for axis in axes]
    twice = next((name for name in names if names.count(name) > 1), None)
    count = math.prod(len(axis.values) for axis in axes)
    if twice or count > MAX_PICTURES:
        raise UsageError(
            "this grid cannot be drawn",
            f"it has {twice!r} twice" if twice else f"{count} pictures; {MAX_PICTURES} at most",
        )
    across, down = axes[0], axes[1:]
    shots = []
    for values in itertools.product(*(axis.values for axis in down)):
        for value in across.values:
            chosen = zip(
                (across.name, *(axis.name for axis in down)), (value, *values), strict=True
            )
            shots.append(_shot(base, dict(chosen), rounds or {}))
    labels = itertools.product(*(axis.labels() for axis in down))
    return Grid(tuple(shots), across.labels(), tuple(", ".join(label) for label in labels))


def asked_rounds(axes: Sequence[Axis]) -> tuple[int, ...]:
    """The rounds whose adapters a grid compares, each once; 0 is the base model and not among
    them."""
    wanted = next((axis.values for axis in axes if axis.name == "round"), ())
    return tuple(dict.fromkeys(int(number) for number in wanted if number))


def _shot(base: Shot, values: Mapping[str, Value], rounds: Mapping[int, int]) -> Shot:
    plain: dict[str, Any] = {
        ("guidance" if name == "cfg" else name): value
        for name, value in values.items()
        if name != "round" and not name.startswith("lora")
    }
    weights = list(base.weights)
    for name, value in sorted(values.items()):
        if name == "round":
            if int(value) in rounds:
                weights[rounds[int(value)]] = 1.0
        elif name == "lora":
            weights = [w if n in rounds.values() else float(value) for n, w in enumerate(weights)]
        elif name.startswith("lora"):
            weights[int(name.removeprefix("lora")) - 1] = float(value)
    return replace(base, **plain, weights=tuple(weights))


def _known(name: str, adapters: int) -> bool:
    number = name.removeprefix("lora")
    if name.startswith("lora") and number:
        return number.isdecimal() and 1 <= int(number) <= adapters
    return name in NAMES and (name != "lora" or adapters > 0)


def _values(name: str, text: str) -> tuple[Value, ...]:
    if name == "prompt":
        return tuple(part.strip() for part in text.split("|") if part.strip())
    if name == "sampler":
        return tuple(part.strip() for part in text.split(",") if part.strip())
    kind = int if name in ("seed", "steps", "round") else float
    try:
        if ":" in text:
            return _spread(text, kind)
        return tuple(kind(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(
            f"{text!r} are no values for {name}", str(error), "write 1,2,3 or START:STOP:COUNT"
        ) from error


def _spread(text: str, kind: type[int] | type[float]) -> tuple[Value, ...]:
    """``START:STOP:COUNT``, both ends included; without a count in steps of one."""
    first, last, *rest = text.split(":")
    start, stop = float(first), float(last)
    if not (math.isfinite(start) and math.isfinite(stop)) or len(rest) > 1:
        raise ValueError("a range is START:STOP:COUNT")
    count = int(rest[0]) if rest else int(abs(stop - start)) + 1
    if not 1 <= count <= MAX_VALUES:
        raise ValueError(f"{count} values; 1 to {MAX_VALUES} are possible")
    step = (stop - start) / (count - 1) if count > 1 else 0.0
    values = [start + number * step for number in range(count)]
    return tuple(round(value) if kind is int else round(value, 6) for value in values)
