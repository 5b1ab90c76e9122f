"""What the interface knows now, and where it knows it from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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


@dataclass(frozen=True)
class Feed:
    """The newest view and, when the node stopped answering, why and for how many seconds."""

    view: NodeView | None = None
    lost: str = ""
    lost_s: int = 0
