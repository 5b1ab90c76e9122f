"""What a person decides who makes a room at the screen; ``fedtui room create`` knows more."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RoomPlan:
    """What a founder chose here; ``needed`` participants must be there for a round. Empty ``model``
    and ``prompt`` leave them to the program; with ``on_request`` rounds wait for a person."""

    rounds: int = 3
    steps: int = 40
    needed: int = 2
    on_request: bool = False
    model: str = ""
    prompt: str = ""
