"""Whether there are rooms on this network, for a machine that belongs to none yet."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from zeroconf import Error, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo

from p2p.discovery import RECORD_VERSION, SERVICE_TYPE, open_mdns
from p2p.limits import (
    DISCOVERY_CLOSE_TIMEOUT,
    MAX_PENDING_RESOLVES,
    MAX_ROOMS_NEARBY,
    RESOLVE_TIMEOUT,
)

TAG: Final = re.compile(r"[0-9a-f]{16}")


async def rooms_nearby(seconds: float, interfaces: Sequence[str] | None = None) -> int:
    """How many rooms announce themselves within ``seconds``, at most ``MAX_ROOMS_NEARBY``.

    Records carry no names, and anybody can write them: the number is a hint for a person who may
    ask for an invite, and nothing more. Rooms are told apart by tags that change every day, so one
    room can count twice around midnight. Ghosts of ended processes count until their records do.

    Raises:
        OSError: there is no interface to listen on.
    """
    names: asyncio.Queue[str] = asyncio.Queue(MAX_PENDING_RESOLVES)
    tags: set[str] = set()

    def appeared(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is not ServiceStateChange.Removed:
            with suppress(asyncio.QueueFull):
                names.put_nowait(name)

    mdns = open_mdns(interfaces)
    try:
        await mdns.zeroconf.async_wait_for_start()
        browser = AsyncServiceBrowser(mdns.zeroconf, SERVICE_TYPE, handlers=[appeared])
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while len(tags) < MAX_ROOMS_NEARBY:
                    tag = await _tag_of(mdns.zeroconf, await names.get())
                    if tag:
                        tags.add(tag)
        await browser.async_cancel()
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCOVERY_CLOSE_TIMEOUT):
                await mdns.async_close()
    return len(tags)


async def _tag_of(zeroconf: Zeroconf, name: str) -> str:
    """What tells a record's room from others; empty for what is no record of ours."""
    try:
        info = AsyncServiceInfo(SERVICE_TYPE, name)
        if not await info.async_request(zeroconf, RESOLVE_TIMEOUT * 1000):
            return ""
        text = info.decoded_properties
    except (Error, OSError, ValueError):
        return ""
    tag = text.get("rt") or ""
    return tag if text.get("v") == RECORD_VERSION and TAG.fullmatch(tag) else ""
