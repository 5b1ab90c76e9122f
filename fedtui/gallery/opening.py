"""Operations that open and close the page: on this machine only unless a person says otherwise."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from fedtui.control.address import LOOPBACK
from fedtui.control.operations import Operations, Result
from fedtui.errors import UsageError
from fedtui.gallery.listener import GalleryListener
from fedtui.inviting import lobby_addresses
from fedtui.limits import PAGE_HOURS, PAGE_HOURS_MOST
from fedtui.settings import Settings
from fedtui.view import NodeView
from p2p.addresses import Address
from p2p.interfaces import is_loopback
from p2p.tasks import TaskOwner


@dataclass(frozen=True)
class OpenGallery:
    """Serves the pictures as a page. ``network``: to everybody who has the link, not only here."""

    network: bool = False
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    hours: float = PAGE_HOURS


@dataclass(frozen=True)
class CloseGallery:
    """Ends the page; its link never works again."""


@dataclass(frozen=True)
class GalleryState:
    """Whether there is a page, and its link."""


@dataclass(frozen=True)
class _Page:
    listener: GalleryListener
    network: bool
    links: tuple[str, ...]
    until: float


class GalleryPage:
    """Adds its operations to a node's, and owns the one page a node may have."""

    def __init__(
        self,
        settings: Settings,
        *,
        view: Callable[[], NodeView],
        emit: Callable[..., None],
    ) -> None:
        self._settings = settings
        self._view = view
        self._emit = emit
        self._page: _Page | None = None
        self._changing = asyncio.Lock()
        self._tasks = TaskOwner("gallery")

    def offer(self, operations: Operations) -> None:
        """Makes the operations known."""
        operations.add("open_gallery", OpenGallery, self.open)
        operations.add("close_gallery", CloseGallery, self.close)
        operations.add("gallery_state", GalleryState, self.state)

    async def stop(self) -> None:
        """Ends the page with the node."""
        await self._tasks.cancel()
        async with self._changing:
            await self._close()

    async def open(self, asked: OpenGallery) -> Result:
        """Result: as :meth:`state`. An open page is closed first: it gets a new secret address.

        Raises :class:`UsageError` and :class:`NetworkError`.
        """
        if not (math.isfinite(asked.hours) and 0 < asked.hours <= PAGE_HOURS_MOST):
            raise UsageError(
                f"a page cannot be open for {asked.hours:g} hours",
                f"more than 0 and at most {PAGE_HOURS_MOST:g} are possible",
            )
        async with self._changing:
            await self._close()
            listener = GalleryListener(self._view)
            host = self._settings.host if asked.network else LOOPBACK
            await listener.start(host, asked.port)
            here = Address(LOOPBACK, listener.port)
            there = lobby_addresses(self._settings, listener.port) if asked.network else ()
            links = tuple(f"http://{place}/{listener.token}/" for place in there or (here,))
            seconds, network = asked.hours * 3600, not all(is_loopback(p.host) for p in there)
            self._page = _Page(listener, network, links, time.time() + seconds)
            self._tasks.spawn(self._expire(self._page, seconds), "expiry")
            # Never the link: events are kept, recorded and sent along with questions.
            self._emit("gallery.opened", network=network, port=listener.port)
        return await self.state(GalleryState())

    async def close(self, asked: CloseGallery) -> Result:
        """Result: ``{"closed"}``, false when there was no page."""
        del asked
        async with self._changing:
            return {"closed": await self._close()}

    async def state(self, asked: GalleryState) -> Result:
        """Result: ``{"open", "network", "links", "until"}``; ``until`` is Unix time."""
        del asked
        page = self._page
        if page is None:
            return {"open": False, "network": False, "links": [], "until": 0.0}
        told: dict[str, Any] = {"open": True, "network": page.network, "until": page.until}
        return told | {"links": list(page.links)}

    async def _expire(self, page: _Page, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with self._changing:
            if self._page is page:
                await self._close()

    async def _close(self) -> bool:
        page, self._page = self._page, None
        if page is None:
            return False
        await page.listener.stop()
        self._emit("gallery.closed")
        return True
