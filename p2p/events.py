"""The way out for what a node tells of itself."""

from __future__ import annotations

from typing import Protocol


class Emit(Protocol):
    """Takes one event of the node's event stream; returns at once."""

    def __call__(self, type: str, /, **fields: object) -> None: ...
