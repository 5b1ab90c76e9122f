"""What the studio asks a node to draw. No Textual here: settings in, a request and labels out."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from fedtui.tui.limits import PROMPT_CHARS, STUDIO_PICTURES

Vary = Literal["nothing", "seed", "weight", "round"]
VARIES: tuple[Vary, ...] = ("nothing", "seed", "weight", "round")
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
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


@dataclass(frozen=True)
class Drawing:
    """A request to the node and what each of its pictures is called."""

    arguments: dict[str, Any]
    labels: tuple[str, ...]


def planned(wanted: Wanted, rack: tuple[Slot, ...], vary: Vary, chosen: int) -> Drawing:
    """The request for ``wanted`` with the slots that are on; ``chosen`` is the slot whose weight
    varies. Raises :class:`WrongSetting`.
    """
    prompt, pasted = pasted_weights(wanted.prompt.strip()[:PROMPT_CHARS])
    if not prompt:
        raise WrongSetting("The prompt is empty: say what shall be drawn.")
    rack = tuple(
        replace(slot, on=True, weight=pasted[slot.name]) if slot.name in pasted else slot
        for slot in rack
    )
    seed = whole("seed", wanted.seed, 0, SEEDS_MOST - 1)
    count = whole("count", wanted.count, 1, STUDIO_PICTURES)
    if vary == "seed":
        count = max(count, 4)
    seeds = [(seed + i) % SEEDS_MOST for i in range(count)]
    slots, rows, names = varied(rack, vary, chosen)
    width, height = sized(wanted.size)
    labels = [
        ", ".join(part for part in (name, f"seed {s}" if count > 1 else "") if part)
        for name in names
        for s in seeds
    ]
    if len(labels) > STUDIO_PICTURES:
        raise WrongSetting(f"That would be {len(labels)} pictures; {STUDIO_PICTURES} at most.")
    arguments: dict[str, Any] = {
        "prompts": [prompt],
        "seeds": seeds,
        "negative": wanted.negative.strip()[:PROMPT_CHARS],
        "adapters": [{"path": s.path, "round": s.round, "weight": s.weight} for s in slots],
        "weights": rows,
        "steps": whole("steps", wanted.steps, 1, STEPS_MOST),
        "cfg": number("guidance", wanted.cfg, 0.0, CFG_MOST),
        "sampler": wanted.sampler.strip(),
        "width": width,
        "height": height,
    }
    return Drawing(arguments, tuple(labels))


def varied(
    rack: tuple[Slot, ...], vary: Vary, chosen: int
) -> tuple[tuple[Slot, ...], list[list[float]], tuple[str, ...]]:
    """The slots that take part, a row of weights per set of pictures, and the rows' names."""
    if vary == "round":
        slots = tuple(sorted((s for s in rack if s.round), key=lambda s: s.round))
        if not slots:
            raise WrongSetting("No round has an adapter yet, so there is nothing to compare.")
        slots = slots[-(STUDIO_PICTURES - 1) :]
        rows = [[0.0] * len(slots)]
        rows += [[float(i == j) for j in range(len(slots))] for i in range(len(slots))]
        return slots, rows, ("base model", *(slot.name for slot in slots))
    on = tuple(slot for slot in rack if slot.on)
    if vary == "weight":
        target = rack[chosen] if chosen < len(rack) else None
        if target is None:
            raise WrongSetting("Choose the adapter whose weight shall vary.")
        if target not in on:
            on = (*on, target)
        rows = [[w if s == target else s.weight for s in on] for w in WEIGHTS]
        return on, rows, tuple(f"{target.name} {w:g}" for w in WEIGHTS)
    return on, [], ("",)


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
