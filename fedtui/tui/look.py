"""How the interface looks: theme, density, pictures, characters, how screens were left. Kept in
``interface.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from p2p.durable import publish

Pictures = Literal["auto", "quadrant", "half", "dithered", "shades", "kitty", "sixel", "off"]
"""``kitty`` and ``sixel`` are for pictures shown large; the others are drawn as with ``auto``."""
Density = Literal["comfortable", "compact"]
Characters = Literal["unicode", "blocks", "ascii"]
"""``blocks`` draws curves without braille, for fonts that lack it; ``ascii`` everything."""
THEME = "fedtui"


@dataclass(frozen=True)
class Look:
    """What a person chose; ``keys`` maps ids of :mod:`fedtui.tui.keymap` to other keys, ``views``
    names what a screen shows, such as the order of the members; empty is as made."""

    theme: str = THEME
    density: Density = "comfortable"
    pictures: Pictures = "auto"
    characters: Characters = "unicode"
    keys: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, str] = field(default_factory=dict)


CHOICES: Mapping[str, tuple[str, ...]] = {
    "density": get_args(Density),
    "pictures": get_args(Pictures),
    "characters": get_args(Characters),
}


def read(path: Path | None) -> Look:
    """The kept look; whatever is damaged or not known here is as if it had not been chosen."""
    if path is None:
        return Look()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Look()
    if not isinstance(kept, dict):
        return Look()
    known = {each.name for each in fields(Look)}
    return Look(**{name: kept[name] for name in known & set(kept) if _fits(name, kept[name])})


def write(path: Path | None, look: Look) -> None:
    """Keeps a look. Raises OSError when the disk refuses."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    publish(path, (json.dumps(asdict(look), indent=1) + "\n").encode())


def _fits(name: str, value: object) -> bool:
    if name in ("keys", "views"):
        return isinstance(value, dict) and all(
            isinstance(part, str) for pair in value.items() for part in pair
        )
    return isinstance(value, str) and (name not in CHOICES or value in CHOICES[name])
