"""What the interface knows now, and where it knows it from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from fedtui.view import NodeView


class ViewSource(Protocol):
    """A node as the interface sees it: the control client, or a script in tests."""

    async def view(self) -> NodeView:
        """The newest view.

        Raises:
            Exception: of any kind when there is no node to ask; its text is shown.
        """

    async def do(self, name: str, *, within_s: float, **arguments: Any) -> dict[str, Any]:
        """Runs an operation (:mod:`fedtui.control.operations`) and returns its result.

        Raises:
            Exception: with ``title``, ``cause`` and ``remedy`` where it comes from a node.
        """

    async def stop(self) -> None:
        """Ends the node."""

    async def close(self) -> None:
        """Lets go of the connection."""


class Measured(Protocol):
    """A recording, as far as the interface cares."""

    @property
    def length(self) -> float:
        """In seconds."""


@runtime_checkable
class Playable(Protocol):
    """A source that plays a recording (:class:`fedtui.tape.Player`)."""

    @property
    def tape(self) -> Measured:
        """What is played."""

    @property
    def place(self) -> float:
        """Seconds into the recording."""

    @property
    def speed(self) -> float:
        """Recorded seconds per second; 0 while paused."""

    def pause(self) -> None:
        """Stops or goes on."""

    def skip(self, seconds: float) -> None:
        """Goes on elsewhere."""

    def faster(self, factor: float) -> None:
        """Changes the speed."""


class TapePlace(NamedTuple):
    """Where a recording is, in whole seconds, and how fast it runs."""

    place: int
    length: int
    speed: float


@dataclass(frozen=True)
class Feed:
    """The newest view and, when the node stopped answering, why and for how many seconds."""

    view: NodeView | None = None
    lost: str = ""
    lost_s: int = 0
    tape: TapePlace | None = None
