"""The control client, imported beside the first paint instead of before it.

Its HTTP library takes as long to import as the whole interface.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedtui.control.client import ControlClient
    from fedtui.view import NodeView


class LateClient:
    """As much of :class:`~fedtui.control.client.ControlClient` as the interface asks for."""

    def __init__(self, control: Path) -> None:
        self._control = control
        self._client: ControlClient | None = None
        self._importing = asyncio.Lock()

    async def view(self) -> NodeView:
        """See :meth:`~fedtui.control.client.ControlClient.view`."""
        return await (await self._ready()).view()

    async def do(self, name: str, *, within_s: float, **arguments: Any) -> dict[str, Any]:
        """See :meth:`~fedtui.control.client.ControlClient.do`."""
        return await (await self._ready()).do(name, within_s=within_s, **arguments)

    async def stop(self) -> None:
        """See :meth:`~fedtui.control.client.ControlClient.stop`."""
        await (await self._ready()).stop()

    async def close(self) -> None:
        """Closes what was opened."""
        if self._client is not None:
            await self._client.close()

    async def _ready(self) -> ControlClient:
        async with self._importing:
            if self._client is None:
                module = await asyncio.to_thread(import_module, "fedtui.control.client")
                client: ControlClient = module.ControlClient(self._control)
                self._client = client
        return self._client
