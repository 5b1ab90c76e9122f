"""What the studio asks a node to draw. No Textual here: settings in, a request and labels out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from fedtui.tui.limits import PROMPT_CHARS, STUDIO_PICTURES

AXES = ("", "seed", "weight", "round", "cfg", "steps")
"""What the keys for a grid's axes offer, in their order; any other axis can be typed."""
SEEDS = 4
WEIGHTS = "0:1.25:6"
GUIDANCES = "1,3,5,8"
STEPS = "5,10,20,40"
ROUNDS_MOST = 6
WEIGHT_MOST = 2.0
SEEDS_MOST = 2**64
STEPS_MOST = 200
CFG_MOST = 50.0
SIZE_MOST = 2048
LORA = re.compile(r"<lora:([^:>]+)(?::([-+.\d]+))?>")


class WrongSetting(ValueError):
    """A field that makes no sense; the text says which and what it takes."""


@dataclass(frozen=True)
class Slot:
    """An adapter in the rack."""

    name: str
    path: str = ""
    round: int = 0
    weight: float = 1.0
    on: bool = False

    @property
    def identity(self) -> tuple[str, int]:
        """Tells slots apart."""
        return self.path, self.round


@dataclass(frozen=True)
class Wanted:
    """The fields of the screen, as they were typed."""

    prompt: str = ""
    negative: str = ""
    seed: str = "0"
    steps: str = "20"
    cfg: str = "3"
    sampler: str = ""
    size: str = ""
    count: str = "1"
    across: str = ""
    down: str = ""


@dataclass(frozen=True)
class Drawing:
    """A request to the node, and what each of its pictures is called unless it is a grid."""

    arguments: dict[str, Any]
    labels: tuple[str, ...] = ()


def planned(wanted: Wanted, rack: tuple[Slot, ...]) -> Drawing:
    """The request for ``wanted`` with the slots that are on. Raises :class:`WrongSetting`."""
    prompt, pasted = pasted_weights(wanted.prompt.strip()[:PROMPT_CHARS])
    if not prompt:
        raise WrongSetting("The prompt is empty: say what shall be drawn.")
    on = tuple(
        replace(slot, on=True, weight=pasted.get(slot.name, slot.weight))
        for slot in rack
        if slot.on or slot.name in pasted
    )
    seed = whole("seed", wanted.seed, 0, SEEDS_MOST - 1)
    count = whole("count", wanted.count, 1, STUDIO_PICTURES)
    axes = [text.strip() for text in (wanted.across, wanted.down) if text.strip()]
    if axes and count > 1:
        raise WrongSetting("A grid has one picture in each place: set count to 1.")
    seeds = [(seed + i) % SEEDS_MOST for i in range(count)]
    width, height = sized(wanted.size)
    arguments: dict[str, Any] = {
        "prompts": [prompt],
        "seeds": seeds,
        "negative": wanted.negative.strip()[:PROMPT_CHARS],
        "adapters": [{"path": s.path, "round": s.round, "weight": s.weight} for s in on],
        "grid": axes,
        "steps": whole("steps", wanted.steps, 1, STEPS_MOST),
        "cfg": number("guidance", wanted.cfg, 0.0, CFG_MOST),
        "sampler": wanted.sampler.strip(),
        "width": width,
        "height": height,
    }
    return Drawing(arguments, tuple(f"seed {s}" for s in seeds) if count > 1 else ())


def axis(kind: str, wanted: Wanted, rack: tuple[Slot, ...], chosen: int) -> str:
    """An axis to begin with, as :mod:`fedtui.grid` reads it; the weight is that of the slot
    ``chosen``, which must be on. Empty where there is nothing to vary.
    """
    if kind == "seed":
        first = int(wanted.seed) if wanted.seed.strip().isdecimal() else 0
        return "seed=" + ",".join(str((first + i) % SEEDS_MOST) for i in range(SEEDS))
    if kind == "weight":
        on = [slot for slot in rack if slot.on]
        there = chosen < len(rack) and rack[chosen] in on
        return f"lora{on.index(rack[chosen]) + 1}={WEIGHTS}" if there else ""
    if kind == "round":
        numbers = sorted(slot.round for slot in rack if slot.round)
        few = min(ROUNDS_MOST - 1, len(numbers))
        some = {numbers[-1 - i * (len(numbers) - 1) // max(1, few - 1)] for i in range(few)}
        return "round=" + ",".join(map(str, (0, *sorted(some)))) if some else ""
    return {"cfg": f"cfg={GUIDANCES}", "steps": f"steps={STEPS}"}.get(kind, "")


def pasted_weights(prompt: str) -> tuple[str, dict[str, float]]:
    """A prompt without ``<lora:name:0.8>``, and what those said."""
    found: dict[str, float] = {}

    def taken(match: re.Match[str]) -> str:
        try:
            found[match[1].strip()] = max(-WEIGHT_MOST, min(WEIGHT_MOST, float(match[2] or 1)))
        except ValueError:
            return match[0]
        return ""

    cleaned = LORA.sub(taken, prompt)
    return " ".join(cleaned.split()).strip(", "), found


def whole(name: str, text: str, least: int, most: int) -> int:
    """A whole number in its range."""
    try:
        value = int(text.strip())
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise WrongSetting(f"{name} takes a whole number from {least} to {most}.")
    return value


def number(name: str, text: str, least: float, most: float) -> float:
    """A number in its range."""
    try:
        value = float(text.strip().replace(",", "."))
    except ValueError:
        value = least - 1
    if not least <= value <= most:
        raise WrongSetting(f"{name} takes a number from {least:g} to {most:g}.")
    return value


def sized(text: str) -> tuple[int, int]:
    """``128x64`` or one number for a square; nothing means the model's own size."""
    if not text.strip():
        return 0, 0
    parts = text.lower().replace("×", "x").split("x")
    width = whole("size", parts[0], 16, SIZE_MOST)
    height = whole("size", parts[1], 16, SIZE_MOST) if len(parts) == 2 else width
    if len(parts) > 2 or width % 8 or height % 8:
        raise WrongSetting("size takes WIDTHxHEIGHT in pixels, both multiples of 8.")
    return width, height
